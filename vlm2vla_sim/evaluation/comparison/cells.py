"""The comparison of one task, or of all tasks together, and the verdict over them."""

from __future__ import annotations

import bisect
import dataclasses
import enum
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.evaluation.comparison import betting, statistics
from vlm2vla_sim.evaluation.rates import CONFIDENCE, Rate

OVERALL = "overall"


class Verdict(enum.StrEnum):
    """The answer to "is the candidate worse?"."""

    NOT_WORSE = "not worse"
    """No task is significantly worse, and the overall difference is above minus the margin."""
    WORSE = "worse"
    """Overall or in a task, the candidate's rate is significantly lower (Holm's correction over all tests)."""
    UNDERPOWERED = "underpowered"
    """Neither: the comparison has too few episodes for the margin."""


@dataclass(frozen=True)
class Cell:
    """The comparison of one task, or of all."""

    name: str
    baseline: Rate
    candidate: Rate
    only_baseline: int | None
    """Pairs in which only the baseline succeeded; None where the episodes are not paired. So below."""
    only_candidate: int | None
    difference: float
    """Candidate minus baseline, -1 .. 1."""
    low: float
    high: float
    """The ends of its interval, with the confidence of the comparison."""
    p: float
    """Two-sided: McNemar's exact test for pairs (the sign-flip test over scenes where some were run several times),
    Fisher's exact test else; the test by betting where a run may stop early."""
    p_adjusted: float = 1.0
    """Holm's, over the tasks and the overall test of every candidate. Where a run may stop early, over the tasks only,
    and the overall test stands alone."""
    detectable: float | None = None
    """The smallest true drop that this test finds with a probability of 80 %; None if even the largest is missed, and
    where a run may stop early."""
    confidence: float = CONFIDENCE

    @property
    def is_worse(self) -> bool:
        """Whether the candidate's rate is significantly lower."""
        return self.p_adjusted <= 1 - self.confidence and self.difference < 0

    @property
    def is_better(self) -> bool:
        """Whether the candidate's rate is significantly higher."""
        return self.p_adjusted <= 1 - self.confidence and self.difference > 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "baseline": self.baseline.to_json(), "candidate": self.candidate.to_json()}


def verdict(cells: Sequence[Cell], margin: float) -> Verdict:
    """The verdict over the cells of a comparison, of which the last is that of all tasks."""
    if any(cell.is_worse for cell in cells):
        return Verdict.WORSE
    return Verdict.NOT_WORSE if cells[-1].low > -margin else Verdict.UNDERPOWERED


def paired(
    name: str, pairs: Sequence[tuple[bool, bool]], confidence: float = CONFIDENCE, scenes: Sequence[Hashable] = ()
) -> Cell:
    """The cell of pairs of (baseline succeeded, candidate succeeded), all of which were planned.

    scenes: of each pair; by default all are different. Where some are not, the test is over scenes, and interval and
    power are those of the effective number of pairs.
    """
    n = len(pairs)
    if not n:
        return Cell(name, Rate(0, 0), Rate(0, 0), 0, 0, 0.0, -1.0, 1.0, 1.0, confidence=confidence)
    both, only_first, only_second, neither = _count(pairs)
    differences = [(scene, b - a) for scene, (a, b) in zip(scenes or range(n), pairs, strict=True)]
    sums = Counter[Hashable]()
    for scene, difference in differences:
        sums[scene] += difference
    repeated = len(sums) < n
    effect = statistics.design_effect(differences) if repeated else 1.0
    low, high = statistics.paired_interval(
        both / effect, only_first / effect, only_second / effect, neither / effect, confidence
    )
    discordance, effective = (only_first + only_second) / n, max(1, round(n / effect))

    def power(drop: float) -> float:
        return statistics.paired_power(effective, drop, max(drop, discordance), 1 - confidence)

    return Cell(
        name,
        Rate(both + only_first, n),
        Rate(both + only_second, n),
        only_first,
        only_second,
        (only_second - only_first) / n,
        low,
        high,
        statistics.sign_flip_exact(sums.values()) if repeated else statistics.mcnemar_exact(only_first, only_second),
        detectable=_detectable(power, 1.0),
        confidence=confidence,
    )


def sequential(name: str, pairs: Sequence[tuple[bool, bool]], confidence: float = CONFIDENCE) -> Cell:
    """The cell of pairs as they were when a run was stopped, or looked at; valid whenever that was."""
    n = len(pairs)
    both, only_first, only_second, neither = _count(pairs)
    counts = betting.Differences(only_second, both + neither, only_first)
    low, high = betting.confidence_sequence(counts, confidence)
    return Cell(
        name,
        Rate(both + only_first, n),
        Rate(both + only_second, n),
        only_first,
        only_second,
        (only_second - only_first) / n if n else 0.0,
        low,
        high,
        betting.anytime_p(counts),
        confidence=confidence,
    )


def unpaired(name: str, first: Sequence[bool], second: Sequence[bool], confidence: float = CONFIDENCE) -> Cell:
    """The cell of independent episodes of the baseline and of the candidate."""
    a, b = Rate(sum(first), len(first)), Rate(sum(second), len(second))
    if not a.n or not b.n:
        return Cell(name, Rate(0, 0), Rate(0, 0), None, None, 0.0, -1.0, 1.0, 1.0, confidence=confidence)
    low, high = statistics.unpaired_interval(a.k, a.n, b.k, b.n, confidence)
    rate = a.k / a.n
    return Cell(
        name,
        a,
        b,
        None,
        None,
        b.k / b.n - rate,
        low,
        high,
        statistics.fisher_exact(a.k, a.n, b.k, b.n),
        detectable=_detectable(lambda drop: statistics.unpaired_power(a.n, b.n, rate, drop, 1 - confidence), rate),
        confidence=confidence,
    )


def adjusted_together(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with Holm's correction over all of them."""
    adjusted = statistics.holm([cell.p for cell in cells])
    return [dataclasses.replace(cell, p_adjusted=p) for cell, p in zip(cells, adjusted, strict=True)]


def adjusted_sequential(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a run that may stop early: Holm's correction over the tasks; the overall test stands alone.

    "Worse" is said wrongly with a probability of half of 1 - confidence overall, and of as much among the tasks.
    """
    if len(cells) == 1:
        return adjusted_together(cells)
    return [*adjusted_together(cells[:-1]), dataclasses.replace(cells[-1], p_adjusted=cells[-1].p)]


def _count(pairs: Sequence[tuple[bool, bool]]) -> tuple[int, int, int, int]:
    """Pairs in which both, only the first, only the second, and neither side succeeded."""
    both, neither = sum(a and b for a, b in pairs), sum(not a and not b for a, b in pairs)
    return both, sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs), neither


def _detectable(power: Callable[[float], float], largest: float) -> float | None:
    """The smallest drop, in whole points, that is found with a probability of `statistics.POWER`."""
    # A larger drop is found with a higher probability.
    points = range(1, round(100 * largest) + 1)
    at = bisect.bisect_left(points, True, key=lambda p: power(min(p / 100, largest)) >= statistics.POWER)
    return points[at] / 100 if at < len(points) else None
