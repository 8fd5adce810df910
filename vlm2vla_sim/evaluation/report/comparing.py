"""The comparisons of a report: every further run against the first, and the pairs of which one side only succeeded."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import NotComparableError
from vlm2vla_sim.evaluation.comparison.cells import OVERALL, Cell
from vlm2vla_sim.evaluation.comparison.compare import Comparison, compare, discordant
from vlm2vla_sim.evaluation.comparison.sides import read_side
from vlm2vla_sim.evaluation.outcome_lines import REPEATED_SCENES, TESTED_BY_SCENE
from vlm2vla_sim.evaluation.report import charts
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.evaluation.report.runs import ReportRun

POINTS = ("-100", "-50", "0", "+50", "+100")
TONES = {"worse": "bad", "not worse": "good"}


@dataclass(frozen=True)
class Compared:
    """What the report says of one candidate."""

    candidate: int
    """Index of its run; the baseline's is 0."""
    found: Comparison | None
    """None where the two cannot be compared."""
    problem: str = ""
    """Why not."""


def compare_runs(runs: Sequence[ReportRun], *, rule: str, margin: float, allow: Sequence[str]) -> list[Compared]:
    """Every run after the first against the first; p is corrected for all that can be compared.

    rule, margin, allow: as for `evaluation.comparison.compare.compare`.
    """
    if len(runs) < 2:
        return []
    problems: dict[int, str] = {}
    sides: dict[int, Any] = {}
    for number, run in enumerate(runs):
        try:
            sides[number] = read_side(run.given)
            if number and 0 in sides:
                compare(sides[0], [sides[number]], rule=rule, margin=margin, allow=allow)
        except NotComparableError as error:
            problems[number] = str(error)
    usable = [n for n in range(1, len(runs)) if n not in problems and 0 not in problems]
    tested = compare(sides[0], [sides[n] for n in usable], rule=rule, margin=margin, allow=allow) if usable else []
    made = dict(zip(usable, tested, strict=True))
    return [Compared(n, made.get(n), problems.get(0, problems.get(n, ""))) for n in range(1, len(runs))]


def section(compared: Sequence[Compared], runs: Sequence[ReportRun], numbers: Mapping[str, int]) -> str:
    """The comparisons as HTML. numbers: an episode's line -> its number in the report."""
    return "".join(_one(one, runs, numbers) for one in compared)


def _one(one: Compared, runs: Sequence[ReportRun], numbers: Mapping[str, int]) -> str:
    baseline, candidate = runs[0], runs[one.candidate]
    title = f"<h3>{text(candidate.label)} against {text(baseline.label)}</h3>"
    found = one.found
    if found is None:
        return f'{title}<p class="verdict">Not comparable. {text(one.problem)}</p>'
    rows = [
        _row(cell, _numbers(cell), "bad" if cell.is_worse else "good" if cell.is_better else "") for cell in found.cells
    ]
    paired = f"paired by {found.pairing.value}" if found.overall.only_baseline is not None else "not paired"
    sides, level = f"{candidate.label} minus {baseline.label}", f"{100 * found.confidence:g} %"
    caption = f"{found.rule} in points, {sides}, with {level} intervals; {paired}"
    return (
        f'{title}<p class="verdict {TONES.get(found.verdict.value, "")}">{_verdict(found)}</p>'
        f"{charts.forest(rows, POINTS, caption, middle=True)}{_levels(found)}{_remarks(found)}{_pairs(found, numbers)}"
    )


def _row(cell: Cell, numbers: str, kind: str = "") -> charts.Row:
    value, low, high = ((1 + end) / 2 for end in (cell.difference, cell.low, cell.high))
    return charts.Row(text(_name(cell)), value, low, high, numbers, cell.name == OVERALL, kind)


def _levels(found: Comparison) -> str:
    """A forest plot of the levels of a suite's factors; empty outside a suite."""
    if not found.levels:
        return ""
    rows = [_row(cell, _difference(cell)) for cell in found.levels]
    caption = "The same by factor and level, which are not tested one by one"
    return charts.forest(rows, POINTS, caption, middle=True)


def _name(cell: Cell) -> str:
    return "all tasks" if cell.name == OVERALL else cell.name


def _numbers(cell: Cell) -> str:
    return _difference(cell, f", p {cell.p_adjusted:.2g}")


def _difference(cell: Cell, more: str = "") -> str:
    both = f"{cell.baseline.k}/{cell.baseline.n} → {cell.candidate.k}/{cell.candidate.n}"
    difference = f"<b>{100 * cell.difference:+.1f}</b> ({100 * cell.low:+.1f} to {100 * cell.high:+.1f})"
    return f"{difference} <small>{both}{more}</small>"


def _verdict(found: Comparison) -> str:
    worse = ", ".join(_name(cell) for cell in found.cells if cell.is_worse)
    better = ", ".join(_name(cell) for cell in found.cells if cell.is_better)
    margin = f"{100 * found.margin:g} points"
    said = {
        "worse": f"Worse: {text(worse)}.",
        "not worse": f"Not worse by {margin} or more.",
        "underpowered": f"Underpowered: nothing is significantly worse, but a drop of {margin} is not excluded.",
    }[found.verdict.value]
    power = found.overall.detectable
    could = (
        ""
        if found.stopping is not None
        else "No drop would be found here with a probability of 80 %."
        if power is None
        else f"A true overall drop of {100 * power:.0f} points would be found with a probability of 80 %."
    )
    return f"{said}{f' Better: {text(better)}.' if better else ''} {could}"


def _remarks(found: Comparison) -> str:
    remarks = [
        "p is McNemar's exact, or Fisher's without pairs, after Holm's correction."
        if found.stopping is None
        else "The run may have stopped early: intervals and p (a betting confidence sequence) hold at any time."
    ]
    if found.left_out:
        remarks.append("Left out: " + ", ".join(f"{count} {why}" for why, count in found.left_out.items()) + ".")
    if found.allowed:
        remarks.append(f"Different, as allowed: {'; '.join(found.allowed)}.")
    if found.repeated_scenes:
        remarks.append(TESTED_BY_SCENE if found.tests_scenes else REPEATED_SCENES)
    return f'<p class="remark">{text(" ".join(remarks))}</p>'


def _pairs(found: Comparison, numbers: Mapping[str, int]) -> str:
    if found.overall.only_baseline is None:
        return '<p class="remark">No pairs to show side by side: the runs share no episode.</p>'
    lost, won = [], []
    for first, second in discordant(found):
        pair = (
            f"{first.condition} {first.task}".strip(),
            first.episode_id,
            numbers[first.to_json()],
            numbers[second.to_json()],
        )
        (lost if getattr(first, found.rule) else won).append(pair)
    parts = "".join(
        f"<h4>{html.escape(name)}: {len(pairs)}</h4><p>{''.join(_buttons(pairs)) or 'none'}</p>"
        for name, pairs in (("Only the first run succeeded", lost), ("Only the second run succeeded", won))
    )
    return f'<div class="pairs">{parts}</div>'


def _buttons(pairs: Sequence[tuple[str, int, int, int]]) -> Iterator[str]:
    for name, number, first, second in pairs:
        yield f'<button class="pair plain" data-pair="{first} {second}">{text(name)} {number}</button> '
