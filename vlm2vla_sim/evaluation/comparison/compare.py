"""Is the candidate worse than the baseline, where, and could this comparison have shown it?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import NotComparableError, SettingError, unknown_name
from vlm2vla_sim.evaluation.comparison import cells as cells_of
from vlm2vla_sim.evaluation.comparison.cells import Cell, Verdict, verdict
from vlm2vla_sim.evaluation.comparison.groups import Group, groups_of, level_groups
from vlm2vla_sim.evaluation.comparison.pairing import Pairing, pair, scene_of, scored, won
from vlm2vla_sim.evaluation.comparison.sides import MAX_STEPS, Side, differences, other_limit, other_profile
from vlm2vla_sim.evaluation.rates import CONFIDENCE
from vlm2vla_sim.evaluation.stop_record import StopRecord
from vlm2vla_sim.types import EpisodeResult

RULES = ("success_at_end", "success_once", "success_released", "success_settled")
"""The success that is compared: fields of `EpisodeResult`."""
NOT_COUNTED = "after the stop, or in a round that is not complete"
"""Why a pair of a run that may stop early is left out."""
Pair = tuple[EpisodeResult, EpisodeResult]


@dataclass(frozen=True)
class Comparison:
    """A candidate against the baseline."""

    baseline: Side
    candidate: Side
    rule: str
    pairing: Pairing
    margin: float
    cells: tuple[Cell, ...]
    """The tasks in the order of the baseline; with a suite the factors, if there are several; then all together."""
    left_out: dict[str, int]
    """Episodes that do not count, by reason."""
    allowed: tuple[str, ...]
    """Conditions that differ and were allowed to."""
    repeated_scenes: bool
    """Whether a scene was run with several seeds or in several conditions: those episodes are correlated. Paired tests
    are then over scenes; those of a run that may stop early, and of unpaired runs, take them as independent."""
    confidence: float = CONFIDENCE
    stopping: StopRecord | None = None
    """The rule by which a side may stop early: p-values and intervals then hold whenever that was."""
    levels: tuple[Cell, ...] = ()
    """With a suite: each level of each factor. They show where a difference is; the verdict does not test them."""

    @property
    def overall(self) -> Cell:
        """All tasks together."""
        return self.cells[-1]

    @property
    def tests_scenes(self) -> bool:
        """Whether scenes that were run several times are accounted for."""
        return self.repeated_scenes and self.stopping is None and self.pairing is not Pairing.NONE

    @property
    def verdict(self) -> Verdict:
        """See `Verdict`."""
        return verdict(self.cells, self.margin)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "baseline": {"name": self.baseline.name, "policy": self.baseline.policy},
            "candidate": {"name": self.candidate.name, "policy": self.candidate.policy},
            "rule": self.rule,
            "pairing": self.pairing.value,
            "margin": self.margin,
            "confidence": self.confidence,
            "verdict": self.verdict.value,
            "worse": [cell.name for cell in self.cells if cell.is_worse],
            "better": [cell.name for cell in self.cells if cell.is_better],
            "left_out": self.left_out,
            "allowed": list(self.allowed),
            "repeated_scenes": self.repeated_scenes,
            "stopping": self.stopping and self.stopping.to_json(),
            "cells": [cell.to_json() for cell in self.cells],
            "levels": [cell.to_json() for cell in self.levels],
        }


def compare(
    baseline: Side,
    candidates: Sequence[Side],
    *,
    rule: str = "success_at_end",
    margin: float = 0.15,
    confidence: float = CONFIDENCE,
    allow: Sequence[str] = (),
) -> list[Comparison]:
    """Every candidate against the baseline; the tests of all are corrected together.

    A run that may have stopped early is compared over its rounds up to the stop, with the test by betting.

    Args:
        baseline: the policy that a candidate may not be worse than.
        candidates: the others.
        rule: which success counts, one of `RULES`.
        margin: the largest drop of the overall rate that counts as not worse, 0 .. 1.
        confidence: of the intervals, and 1 minus the level of the tests.
        allow: names of conditions that may differ, "versions" for all versions.

    Raises:
        NotComparableError: a condition differs that is not allowed to, no task is shared, or a run that may have
            stopped early is not paired or is compared together with others.
    """
    if rule not in RULES:
        raise unknown_name("success rule", rule, RULES)
    check_level(margin, confidence)
    if len(candidates) > 1:
        for side in (baseline, *candidates):
            if side.stopping is not None:
                raise NotComparableError(
                    f"{side.name} may have stopped early, which is decided against one baseline: compare two runs at a "
                    "time."
                )
    found = [_compare(baseline, side, rule, margin, confidence, tuple(allow)) for side in candidates]
    if any(comparison.stopping is not None for comparison in found):
        return found
    adjusted = iter(cells_of.adjusted_together([cell for comparison in found for cell in comparison.cells]))
    return [
        dataclasses.replace(comparison, cells=tuple(next(adjusted) for _ in comparison.cells)) for comparison in found
    ]


def check_level(margin: float, confidence: float) -> None:
    """SettingError for a margin or a confidence that is none."""
    if not 0 < margin <= 1:
        raise SettingError(f"The margin is {100 * margin:g} points; expected more than 0 and at most 100.")
    if not 0.5 <= confidence < 1:
        raise SettingError(f"The confidence is {confidence:g}; expected 0.5 or more and less than 1, such as 0.95.")


def discordant(found: Comparison) -> list[Pair]:
    """The pairs of which one side only succeeded, (baseline, candidate); none where the sides are not paired."""
    first, second = (scored(side.episodes, found.rule, "", {}) for side in (found.baseline, found.candidate))
    pairs = [] if found.pairing is Pairing.NONE else pair(first, second, {})[1]
    if found.stopping is not None:
        pairs = _counted(found.baseline, found.candidate, pairs, found.rule, {})
    return [(a, b) for a, b in pairs if won(a, found.rule) != won(b, found.rule)]


def _compare(
    baseline: Side, candidate: Side, rule: str, margin: float, confidence: float, allow: tuple[str, ...]
) -> Comparison:
    different = differences(baseline.conditions, candidate.conditions, allow)
    if different:
        raise NotComparableError(_unlike(baseline, candidate, "; ".join(different)))
    tolerated = differences(baseline.conditions, candidate.conditions)
    left_out: dict[str, int] = {}
    first, second = (scored(side.episodes, rule, side.name, left_out) for side in (baseline, candidate))
    seeded = baseline.seeded and candidate.seeded
    pairing, pairs = pair(first, second, left_out) if seeded else (Pairing.NONE, [])
    if "profile" not in allow and (other := other_profile(pairs)):
        raise NotComparableError(_unlike(baseline, candidate, other))
    if MAX_STEPS not in allow and (other := other_limit(pairs)):
        raise NotComparableError(_unlike(baseline, candidate, other))
    groups, of_levels = groups_of(first, second), level_groups(first, second)
    if not groups:
        raise NotComparableError(f"{baseline.name} and {candidate.name} share no task with a scored episode.")
    stopping = candidate.stopping or baseline.stopping
    if stopping is not None:
        if pairing is Pairing.NONE:
            raise NotComparableError(
                f"{baseline.name} and {candidate.name} share no episode, and one of them may have stopped early: that "
                "is accounted for in pairs only. Run both on the same episodes."
            )
        pairs = _counted(baseline, candidate, pairs, rule, left_out)
        cells = sequential_cells(pairs, groups, rule, confidence)
        levels = [cells_of.sequential(one.name, _won(pairs, one, rule), confidence) for one in of_levels]
    elif pairing is Pairing.NONE:
        sides = _in_common(first, second, left_out)
        cells, levels = ([_unpaired(one, *sides, rule, confidence) for one in of] for of in (groups, of_levels))
    else:
        cells, levels = (
            [cells_of.paired(one.name, _won(pairs, one, rule), confidence, _scenes(pairs, one)) for one in of]
            for of in (groups, of_levels)
        )
    cells, levels = tuple(cells), tuple(levels)
    if any(cell.baseline.n == 0 for cell in cells):
        raise NotComparableError(f"{baseline.name} and {candidate.name} share no scored episode of a task.")
    scenes = [scene_of(episode) for episode in first]
    repeated = len(set(scenes)) < len(scenes)
    return Comparison(
        baseline,
        candidate,
        rule,
        pairing,
        margin,
        cells,
        left_out,
        tuple(tolerated),
        repeated,
        confidence,
        stopping,
        levels,
    )


def _unlike(baseline: Side, candidate: Side, different: str) -> str:
    return (
        f"{baseline.name} and {candidate.name} were not run under the same conditions: {different}. Run them alike, or "
        "name what may differ (--allow NAME)."
    )


def sequential_cells(pairs: Sequence[Pair], groups: Sequence[Group], rule: str, confidence: float) -> list[Cell]:
    """The cells of the pairs of complete rounds, by the test that may be looked at whenever one likes."""
    found = [cells_of.sequential(one.name, _won(pairs, one, rule), confidence) for one in groups]
    return cells_of.adjusted_sequential(found)


def _in_common(
    first: Sequence[EpisodeResult], second: Sequence[EpisodeResult], left_out: dict[str, int]
) -> tuple[list[EpisodeResult], list[EpisodeResult]]:
    """The episodes of tasks and conditions that both sides have."""
    shared = {e.key[:2] for e in first} & {e.key[:2] for e in second}
    alone = sum(bool(e.condition) and e.key[:2] not in shared for e in (*first, *second))
    if alone:
        left_out["of a condition of one side only"] = alone
    return [e for e in first if e.key[:2] in shared], [e for e in second if e.key[:2] in shared]


def _unpaired(
    group: Group, first: Sequence[EpisodeResult], second: Sequence[EpisodeResult], rule: str, confidence: float
) -> Cell:
    wins = [[won(episode, rule) for episode in side if group.holds(episode)] for side in (first, second)]
    return cells_of.unpaired(group.name, wins[0], wins[1], confidence)


def _counted(baseline: Side, candidate: Side, pairs: Sequence[Pair], rule: str, left_out: dict[str, int]) -> list[Pair]:
    """The pairs that count where a side may have stopped early."""
    for side in (baseline, candidate):
        if side.stopping is None:
            continue
        by_episode = {b.key: (a, b) for a, b in pairs}
        done = {e.key for e in side.episodes}
        kept = [by_episode[episode] for episode in side.stopping.counted(done, by_episode)]
        if len(kept) < len(pairs):
            left_out[NOT_COUNTED] = left_out.get(NOT_COUNTED, 0) + len(pairs) - len(kept)
        pairs = kept
    return list(pairs)


def _scenes(pairs: Sequence[Pair], group: Group) -> list[tuple[str, int | str]]:
    return [scene_of(a) for a, _ in pairs if group.holds(a)]


def _won(pairs: Sequence[Pair], group: Group, rule: str) -> list[tuple[bool, bool]]:
    return [(won(a, rule), won(b, rule)) for a, b in pairs if group.holds(a)]
