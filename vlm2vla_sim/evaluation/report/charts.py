"""Charts of a report as HTML and small SVGs: they need no script, print, and can be read as tables."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlm2vla_sim.evaluation.rates import Rate, wilson_interval

SHADES = 10
"""Steps of the colours of a heat map."""


@dataclass(frozen=True)
class Row:
    """A line of a forest plot; all values in 0 .. 1 of the plot's width, None without a value."""

    name: str
    """HTML."""
    value: float | None
    low: float | None
    high: float | None
    text: str
    total: bool = False
    """Whether it sums up the rows above."""
    kind: str = ""
    """Class of the mark, which gives it its colour."""


def text(words: object) -> str:
    """Words of a run as HTML, apart from the direction of the text around them; a name may break after "_"."""
    return f"<bdi>{html.escape(str(words)).replace('_', '_<wbr>')}</bdi>"


def rate_row(name: str, rate: Rate, *, total: bool = False, kind: str = "") -> Row:
    """A success rate with its interval. name: HTML."""
    if not rate.n:
        return Row(name, None, None, None, "not known", total, kind)
    low, high = wilson_interval(rate.k, rate.n)
    return Row(name, rate.k / rate.n, low, high, f"<b>{rate.k}/{rate.n}</b> {rate.percent()}", total, kind)


def forest(rows: Iterable[Row], ticks: Sequence[str], caption: str, *, middle: bool = False) -> str:
    """A forest plot: a table of names, points with their intervals, and the same in numbers.

    ticks: what stands below the axis, evenly spread. middle: draw a line at the middle of the axis.
    """
    marks = "".join(f"<span>{html.escape(tick)}</span>" for tick in ticks)
    body = "".join(_forest_row(row, len(ticks), middle) for row in rows)
    return (
        f'<table class="forest"><caption>{html.escape(caption)}</caption><tbody>{body}</tbody>'
        f'<tfoot><tr><th></th><td class="plot"><div class="ticks">{marks}</div></td><td></td></tr></tfoot></table>'
    )


def _forest_row(row: Row, ticks: int, middle: bool) -> str:
    grid = "".join(f'<path class="grid" d="M{100 * n / (ticks - 1):.2f} 0v20"/>' for n in range(ticks))
    if middle:
        grid += '<path class="zero" d="M50 0v20"/>'
    mark = ""
    if row.value is not None and row.low is not None and row.high is not None:
        low, high, at = 100 * row.low, 100 * row.high, 100 * row.value
        mark = f'<path class="range" d="M{low:.2f} 10H{high:.2f}"/><path class="point" d="M{at:.2f} 10h0"/>'
    classes = " ".join(filter(None, ("total" if row.total else "", row.kind)))
    return (
        f'<tr class="{classes}"><th scope="row">{row.name}</th><td class="plot"><svg viewBox="0 0 100 20" '
        f'preserveAspectRatio="none" aria-hidden="true">{grid}{mark}</svg></td><td class="number">{row.text}</td></tr>'
    )


def bars(rows: Sequence[tuple[str, int]], caption: str) -> str:
    """A bar chart of counts, each with its share of all. rows: a name (text) and its count."""
    total, most = sum(count for _, count in rows), max((count for _, count in rows), default=0)
    body = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="plot"><svg viewBox="0 0 100 10" preserveAspectRatio="none" '
        f'aria-hidden="true">{f"""<path class="bar" d="M0 5H{100 * count / most:.2f}"/>""" if count else ""}</svg></td>'
        f'<td class="number"><b>{count}</b> {100 * count / total:.0f} %</td></tr>'
        for name, count in rows
    )
    return f'<table class="bars"><caption>{html.escape(caption)}</caption><tbody>{body}</tbody></table>'


def heat(
    heading: Sequence[str], rows: Iterable[tuple[str, Sequence[Rate]]], caption: str, *, none: str = "not known"
) -> str:
    """A heat map of rates: low ones orange, high ones blue, each with its numbers.

    heading, names of rows: HTML. none: what stands in place of a rate of no episode.
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in heading)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(_heat_cell(rate, none) for rate in rates)}</tr>'
        for name, rates in rows
    )
    return (
        f'<div class="scroll"><table class="heat"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _heat_cell(rate: Rate, none: str) -> str:
    if not rate.n:
        return f'<td class="none">{none}</td>'
    shade = round(SHADES * rate.k / rate.n)
    return f'<td class="h{shade}"><b>{100 * rate.k / rate.n:.0f} %</b> <span>{rate.k}/{rate.n}</span></td>'


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], caption: str, kind: str = "") -> str:
    """A table of HTML cells, the first of each row being its name."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heading)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return (
        f'<div class="scroll"><table class="{kind or "plain"}"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
