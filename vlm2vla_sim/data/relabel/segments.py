"""Divides a trajectory into segments: the motion that becomes one phase.

A phase that covers a whole episode cannot be corrected on the way, and one of a centimetre carries no information. A
segment ends where a policy should observe again: where the gripper acts, where the direction changes between vertical
and horizontal, or where the arm reverses.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.path import GripperPath, RowThresholds, row_boundaries
from vlm2vla_sim.language.formats.grid import MAX_ROWS
from vlm2vla_sim.language.label_prompt import Span

DETOUR = 0.02
"""[m] horizontal moves shorter than this do not count as a reversal: the arm is settling."""


@dataclass(frozen=True)
class Segment:
    """Rows of one kind of motion, and possibly a gripper change at their end."""

    frames: tuple[int, ...]
    """The boundaries of the rows."""
    stop: int
    """One past the last frame of the phase."""
    interval: GripperInterval
    """The interval that contains the segment."""
    acts: bool
    """Whether the gripper changes at the end."""


def segments_of(path: GripperPath, interval: GripperInterval, thresholds: RowThresholds) -> list[Segment]:
    """Divide an interval where the motion changes between up, down and across, reverses, or gets too long."""
    frames = [interval.start]
    if interval.stop > interval.start:
        frames = row_boundaries(path, interval.start, interval.stop, thresholds)
    groups: list[list[int]] = []
    kinds: list[str] = []
    before: np.ndarray | None = None
    for start, stop in itertools.pairwise(frames):
        move = path.positions[stop] - path.positions[start]
        kind, reverses = motion_kind(move), _reverses(before, move)
        before = move
        # Every row may become two (a turn and a move), and a pause and the gripper row are added.
        if kinds and kind == kinds[-1] and not reverses and len(groups[-1]) < MAX_ROWS // 2 - 2:
            groups[-1].append(stop)
        else:
            groups.append([start, stop])
            kinds.append(kind)
    if not groups:
        groups = [[interval.start]]
    last = len(groups) - 1
    return [
        Segment(tuple(group), interval.stop if n == last else group[-1], interval, acts=interval.acts and n == last)
        for n, group in enumerate(groups)
    ]


def _reverses(before: np.ndarray | None, move: np.ndarray) -> bool:
    """Whether `move`, (3,) [m], goes back horizontally relative to the move before it."""
    if before is None or min(np.linalg.norm(before[:2]), np.linalg.norm(move[:2])) < DETOUR:
        return False
    return bool(before[:2] @ move[:2] < 0)


def motion_kind(move: np.ndarray) -> str:
    """The kind of a move, (3,) [m]: "up", "down" or "across"."""
    if abs(move[2]) <= np.hypot(move[0], move[1]):
        return "across"
    return "up" if move[2] > 0 else "down"


def segment_within(
    path: GripperPath, interval: GripperInterval, span: Span, thresholds: RowThresholds
) -> Segment | None:
    """The part of `interval` that lies in `span`; None if they do not overlap."""
    start, stop = max(interval.start, span.start), min(interval.stop, span.stop)
    if stop <= start:
        return None
    acts = interval.acts and span.start <= interval.act < span.stop
    if interval.acts and interval.act < span.start:
        # The gripper has acted earlier: the rest of the interval is motion with the new opening.
        interval = dataclasses.replace(interval, is_open=not interval.is_open)
    return Segment(tuple(row_boundaries(path, start, stop, thresholds)), stop, interval, acts)
