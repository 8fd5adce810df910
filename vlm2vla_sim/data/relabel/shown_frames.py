"""Which frames of a trajectory a model is shown: those at events, because what happens between them is in the log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from vlm2vla_sim.data.episode import LabelledTrajectory, Phase

CLOSE = 2
"""Frames: an event that is nearer to a frame that is shown already is not shown again."""


def event_frames(by_rules: LabelledTrajectory, most: int) -> list[int]:
    """At most `most` frames, ascending: first and last, gripper changes, turns, then the middle of the longest gaps.

    by_rules: the trajectory with the labels of rules, whose phases end where the gripper acts or the motion turns.
    """
    last = len(by_rules.trajectory) - 1
    if most < 2:
        return [0][:most]
    shown = [0, last]
    grips, turns = _events(by_rules.phases)
    for frames in (grips, turns):
        while len(shown) < most and (left := [frame for frame in frames if _distance(frame, shown) > CLOSE]):
            # The one that is furthest from what is shown; of equal ones the earliest.
            shown.append(max(left, key=lambda frame: (_distance(frame, shown), -frame)))
    while len(shown) < most and (middle := _middle_of_longest_gap(shown)) is not None:
        shown.append(middle)
    return sorted(set(shown))


def _events(phases: Sequence[Phase]) -> tuple[list[int], list[int]]:
    """The frames after the gripper has acted, and the other ends of phases."""
    grips, turns = [], []
    opening: float | None = None
    for phase in phases:
        first, end = float(phase.chunk.deltas[0, 6]), float(phase.chunk.deltas[-1, 6])
        changes = (first if opening is None else opening) != end
        (grips if changes else turns).append(phase.stop)
        opening = end
    return grips, turns


def _distance(frame: int, shown: Sequence[int]) -> int:
    return min(abs(frame - other) for other in shown)


def _middle_of_longest_gap(shown: Sequence[int]) -> int | None:
    frames = sorted(shown)
    start, stop = max(itertools.pairwise(frames), key=lambda gap: gap[1] - gap[0])
    return (start + stop) // 2 if stop - start > 1 else None
