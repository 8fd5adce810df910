"""Is the candidate worse than the baseline, where, and could this comparison have shown it?"""

from __future__ import annotations

import bisect
import dataclasses
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import NotComparableError, SettingError, unknown_name
from vlm2vla_sim.evaluation.comparison import statistics
from vlm2vla_sim.evaluation.comparison.sides import Side, differences
from vlm2vla_sim.evaluation.rates import CONFIDENCE, Rate
from vlm2vla_sim.types import EpisodeResult, Outcome

RULES = ("success_at_end", "success_once", "success_released", "success_settled")
"""The success that is compared: fields of `EpisodeResult`."""
OVERALL = "overall"


class Verdict(enum.StrEnum):
    """The answer to "is the candidate worse?"."""

    NOT_WORSE = "not worse"
    """No task is significantly worse, and the overall difference is above minus the margin."""
    WORSE = "worse"
    """Overall or in a task, the candidate's rate is significantly lower (Holm's correction over all tests)."""
    UNDERPOWERED = "underpowered"
    """Neither: the comparison has too few episodes for the margin."""


class Pairing(enum.StrEnum):
    """How the episodes of two sides were matched."""

    EPISODE = "task, episode and seed"
    SCENE = "task and scene"
    """The same layouts of the grid, with other seeds: what a policy samples differs, the scene does not."""
    NONE = "none"
    """The sides share no episode; they are taken as independent samples."""


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
    """The ends of its 95 % interval."""
    p: float
    """Two-sided: McNemar's exact test for pairs, Fisher's exact test else."""
    p_adjusted: float = 1.0
    """Holm's, over the tasks and the overall test of every candidate."""
    detectable: float | None = None
    """The smallest true drop that this test finds with a probability of 80 %; None if even the largest is missed."""

    @property
    def is_worse(self) -> bool:
        """Whether the candidate's rate is significantly lower."""
        return self.p_adjusted <= 1 - CONFIDENCE and self.difference < 0

    @property
    def is_better(self) -> bool:
        """Whether the candidate's rate is significantly higher."""
        return self.p_adjusted <= 1 - CONFIDENCE and self.difference > 0


@dataclass(frozen=True)
class Comparison:
    """A candidate against the baseline."""

    baseline: Side
    candidate: Side
    rule: str
    pairing: Pairing
    margin: float
    cells: tuple[Cell, ...]
    """The tasks in the order of the baseline, then all together."""
    left_out: dict[str, int]
    """Episodes that do not count, by reason."""
    allowed: tuple[str, ...]
    """Conditions that differ and were allowed to."""
    repeated_scenes: bool
    """Whether a scene was run with several seeds: those episodes are correlated, and the tests take them as
    independent."""

    @property
    def overall(self) -> Cell:
        """All tasks together."""
        return self.cells[-1]

    @property
    def verdict(self) -> Verdict:
        """See `Verdict`."""
        if any(cell.is_worse for cell in self.cells):
            return Verdict.WORSE
        return Verdict.NOT_WORSE if self.overall.low > -self.margin else Verdict.UNDERPOWERED

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "baseline": {"name": self.baseline.name, "policy": self.baseline.policy},
            "candidate": {"name": self.candidate.name, "policy": self.candidate.policy},
            "rule": self.rule,
            "pairing": self.pairing.value,
            "margin": self.margin,
            "verdict": self.verdict.value,
            "worse": [cell.name for cell in self.cells if cell.is_worse],
            "better": [cell.name for cell in self.cells if cell.is_better],
            "left_out": self.left_out,
            "allowed": list(self.allowed),
            "repeated_scenes": self.repeated_scenes,
            "cells": [_cell_to_json(cell) for cell in self.cells],
        }


def compare(
    baseline: Side,
    candidates: Sequence[Side],
    *,
    rule: str = "success_at_end",
    margin: float = 0.15,
    allow: Sequence[str] = (),
) -> list[Comparison]:
    """Every candidate against the baseline; the tests of all are corrected together.

    Args:
        baseline: the policy that a candidate may not be worse than.
        candidates: the others.
        rule: which success counts, one of `RULES`.
        margin: the largest drop of the overall rate that counts as not worse, 0 .. 1.
        allow: names of conditions that may differ, "versions" for all versions.

    Raises:
        NotComparableError: a condition differs that is not allowed to, or no task is shared.
    """
    if rule not in RULES:
        raise unknown_name("success rule", rule, RULES)
    if not 0 < margin <= 1:
        raise SettingError(f"The margin is {margin}; expected more than 0 and at most 1.")
    found = [_compare(baseline, candidate, rule, margin, tuple(allow)) for candidate in candidates]
    adjusted = iter(statistics.holm([cell.p for comparison in found for cell in comparison.cells]))
    return [
        dataclasses.replace(
            comparison,
            cells=tuple(dataclasses.replace(cell, p_adjusted=next(adjusted)) for cell in comparison.cells),
        )
        for comparison in found
    ]


def _compare(baseline: Side, candidate: Side, rule: str, margin: float, allow: tuple[str, ...]) -> Comparison:
    different = differences(baseline.conditions, candidate.conditions, allow)
    if different:
        raise NotComparableError(
            f"{baseline.name} and {candidate.name} were not run under the same conditions: {'; '.join(different)}. Run "
            "them alike, or name what may differ (--allow NAME)."
        )
    tolerated = differences(baseline.conditions, candidate.conditions)
    left_out: dict[str, int] = {}
    first, second = _scored(baseline, rule, left_out), _scored(candidate, rule, left_out)
    pairing, pairs = _pair(first, second, left_out)
    tasks = [task for task in dict.fromkeys(e.task for e in first) if any(e.task == task for e in second)]
    if not tasks:
        raise NotComparableError(f"{baseline.name} and {candidate.name} share no task with a scored episode.")
    cells: list[Cell] = []
    for name in [*tasks, OVERALL] if len(tasks) > 1 else tasks:
        chosen = tasks if name == OVERALL else [name]
        if pairing is Pairing.NONE:
            sides = [[_won(e, rule) for e in side if e.task in chosen] for side in (first, second)]
            cells.append(_unpaired(name, *sides))
        else:
            cells.append(_paired(name, [(_won(a, rule), _won(b, rule)) for a, b in pairs if a.task in chosen]))
    if any(cell.baseline.n == 0 for cell in cells):
        raise NotComparableError(f"{baseline.name} and {candidate.name} share no scored episode of a task.")
    scenes = [_key(e, Pairing.SCENE) for e in first if e.layouts == "grid"]
    repeated = len(set(scenes)) < len(scenes)
    return Comparison(baseline, candidate, rule, pairing, margin, tuple(cells), left_out, tuple(tolerated), repeated)


def discordant(found: Comparison) -> list[tuple[EpisodeResult, EpisodeResult]]:
    """The pairs of which one side only succeeded, (baseline, candidate); none where the sides are not paired."""
    first, second = (_scored(side, found.rule, {}) for side in (found.baseline, found.candidate))
    return [(a, b) for a, b in _pair(first, second, {})[1] if _won(a, found.rule) != _won(b, found.rule)]


def _won(episode: EpisodeResult, rule: str) -> bool:
    return bool(getattr(episode, rule))


def _scored(side: Side, rule: str, left_out: dict[str, int]) -> list[EpisodeResult]:
    """The episodes whose success under the rule is known."""
    kept = []
    for episode in side.episodes:
        if episode.outcome not in (Outcome.SUCCESS, Outcome.FAILURE):
            reason = f"outcome {episode.outcome.value} ({side.name})"
        elif getattr(episode, rule, None) is None:
            reason = f"{rule} unknown ({side.name})"
        else:
            kept.append(episode)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return kept


def _pair(
    first: Sequence[EpisodeResult], second: Sequence[EpisodeResult], left_out: dict[str, int]
) -> tuple[Pairing, list[tuple[EpisodeResult, EpisodeResult]]]:
    for pairing in (Pairing.EPISODE, Pairing.SCENE):
        if pairing is Pairing.SCENE and any(e.layouts != "grid" for e in (*first, *second)):
            continue  # with random layouts, another seed is another scene
        keys = [{_key(e, pairing): e for e in side} for side in (first, second)]
        if len(keys[0]) < len(first) or len(keys[1]) < len(second):
            continue  # several episodes of one scene: which of them belong together is arbitrary
        shared = [key for key in keys[0] if key in keys[1]]
        if shared:
            for count in (len(first) - len(shared), len(second) - len(shared)):
                if count:
                    left_out["without a partner"] = left_out.get("without a partner", 0) + count
            return pairing, [(keys[0][key], keys[1][key]) for key in shared]
    return Pairing.NONE, []


def _key(episode: EpisodeResult, pairing: Pairing) -> tuple[Any, ...]:
    scene = (episode.task, episode.episode_id)
    return (*scene, episode.seed) if pairing is Pairing.EPISODE else scene


def _paired(name: str, pairs: Sequence[tuple[bool, bool]]) -> Cell:
    n = len(pairs)
    if not n:
        return Cell(name, Rate(0, 0), Rate(0, 0), 0, 0, 0.0, -1.0, 1.0, 1.0)
    both, neither = sum(a and b for a, b in pairs), sum(not a and not b for a, b in pairs)
    only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    low, high = statistics.paired_interval(both, only_first, only_second, neither)
    discordance = (only_first + only_second) / n

    def power(drop: float) -> float:
        return statistics.paired_power(n, drop, max(drop, discordance))

    return Cell(
        name,
        Rate(both + only_first, n),
        Rate(both + only_second, n),
        only_first,
        only_second,
        (only_second - only_first) / n,
        low,
        high,
        statistics.mcnemar_exact(only_first, only_second),
        detectable=_detectable(power, 1.0),
    )


def _unpaired(name: str, first: Sequence[bool], second: Sequence[bool]) -> Cell:
    a, b = Rate(sum(first), len(first)), Rate(sum(second), len(second))
    if not a.n or not b.n:
        return Cell(name, Rate(0, 0), Rate(0, 0), None, None, 0.0, -1.0, 1.0, 1.0)
    low, high = statistics.unpaired_interval(a.k, a.n, b.k, b.n)
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
        detectable=_detectable(lambda drop: statistics.unpaired_power(a.n, b.n, rate, drop), rate),
    )


def _detectable(power: Callable[[float], float], largest: float) -> float | None:
    """The smallest drop, in whole points, that is found with a probability of `statistics.POWER`."""
    # A larger drop is found with a higher probability.
    points = range(1, round(100 * largest) + 1)
    at = bisect.bisect_left(points, True, key=lambda p: power(min(p / 100, largest)) >= statistics.POWER)
    return points[at] / 100 if at < len(points) else None


def _cell_to_json(cell: Cell) -> dict[str, Any]:
    values = {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell)}
    return {**values, "baseline": cell.baseline.to_json(), "candidate": cell.candidate.to_json()}
