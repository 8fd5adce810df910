"""The distributions of a data set as bar charts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from vlm2vla_sim.data.inspect_page.survey import Survey
from vlm2vla_sim.evaluation.report.charts import bars

MOST = 12
"""Bars of one chart; the rest is counted."""


def distributions(survey: Survey) -> str:
    """Charts of verbs, objects, rows per plan, lengths and corrections."""
    entries = survey.entries
    kinds = [kind for entry in entries for kind in entry.kinds]
    charts = [
        _names("Verbs of the instructions", (verb for entry in entries for verb in entry.verbs)),
        _names("Objects of the instructions", (name for entry in entries for name in entry.objects)),
        _names("Verbs of the subtasks", (verb for entry in entries for verb in entry.subtask_verbs)),
        _names("Kinds of phases", kinds) if kinds else "",
        _numbers("Rows per plan", [count for entry in entries for count in entry.rows]),
        _numbers("Phases per trajectory", survey.values("phases")),
        _numbers("Duration [s]", survey.values("duration")),
        _numbers("Length of the path [cm]", survey.values("path")),
        _numbers("Corrections per trajectory", survey.values("corrections")),
    ]
    return "".join(charts)


def _names(caption: str, names: Iterable[str]) -> str:
    counts = Counter(names)
    rows = counts.most_common(MOST)
    if len(counts) > MOST + 1:
        others = len(counts) - MOST
        rows.append((f"{others} others", counts.total() - sum(count for _, count in rows)))
    else:
        rows = counts.most_common()
    return bars(rows, f"{caption} ({len(counts)} different)")


def _numbers(caption: str, values: Sequence[float]) -> str:
    """A histogram with about `MOST` bars, whose widths are 1, 2 or 5 times a power of ten; empty ones are merged."""
    if not values:
        return ""
    array = np.array(values, np.float64)
    whole = bool((array == array.round()).all())
    width = _width(float(array.max() - array.min()) / MOST, whole)
    counts = Counter(np.floor(array / width + 1e-9).astype(int).tolist())
    first, last = min(counts), max(counts)
    rows = []
    for empty, group in itertools.groupby(range(first, last + 1), key=lambda number: not counts[number]):
        numbers = list(group)
        runs = [(numbers[0], numbers[-1])] if empty else [(number, number) for number in numbers]
        rows += [(_range(low * width, (high + 1) * width, whole), counts[low]) for low, high in runs]
    return bars(rows, f"{caption}, median {np.median(array):.3g}")


def _width(least: float, whole: bool) -> float:
    if whole and least < 1:
        return 1.0
    power = 10.0 ** np.floor(np.log10(max(least, 1e-6)))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9)))


def _range(low: float, high: float, whole: bool) -> str:
    """The values from `low` up to `high`, which is not among them."""
    last = high - 1 if whole else high
    return f"{low:.4g}" if last == low else f"{low:.4g} to {last:.4g}"
