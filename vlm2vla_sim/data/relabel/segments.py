"""Divides a trajectory into segments: the motion that becomes one phase.

A phase that covers a whole episode cannot be corrected on the way, and one of a centimetre carries no information. A
segment ends where a policy should observe again: where the gripper acts, where the kind of motion changes, where the
direction changes between vertical and horizontal, or where the arm reverses.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.relabel import kinds
from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.path import GripperPath, RowThresholds, row_boundaries
from vlm2vla_sim.data.relabel.recorded import RecordedMotion
from vlm2vla_sim.data.relabel.stretches import Stretch
from vlm2vla_sim.language.formats.grid import MAX_ROWS
from vlm2vla_sim.language.label_prompt import Span

DETOUR = 0.02
"""[m] horizontal moves shorter than this do not count as a reversal: the arm is settling."""
SMALL = 0.008
"""[m] a smaller row has no direction of its own."""
FEW = MAX_ROWS // 2 - 2
"""Rows of a segment: every row may become two (a turn and a move), and a pause and the gripper row are added."""


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
    kind: str = ""
    """One of `kinds.KINDS`."""


def segments_of(
    recorded: RecordedMotion, index: int, stretches: Sequence[Stretch], thresholds: RowThresholds
) -> list[Segment]:
    """The segments of the `index`-th interval, which is divided into `stretches`."""
    interval = recorded.intervals[index]
    found: list[Segment] = []
    for stretch in stretches:
        acts = interval.acts and stretch is stretches[-1]
        if stretch.kind:
            groups = _in_parts(_rows(recorded.path, stretch, thresholds), stretch.kind)
        else:
            groups = _by_direction(recorded.path, _rows(recorded.path, stretch, thresholds))
        for number, group in enumerate(groups):
            last = number == len(groups) - 1
            stop = stretch.stop if last else group[-1]
            found.append(Segment(tuple(group), stop, interval, acts and last, stretch.kind))
    named = [
        one if one.kind else dataclasses.replace(one, kind=_kind(recorded, index, found, number))
        for number, one in enumerate(found)
    ]
    if named[-1].kind == kinds.PAUSE and index == len(recorded.intervals) - 1:
        named.pop()  # waiting at the end
    return [part for one in named for part in _with_release(one)]


def _rows(path: GripperPath, stretch: Stretch, thresholds: RowThresholds) -> list[int]:
    if stretch.stop <= stretch.start:
        return [stretch.start]
    return row_boundaries(path, stretch.start, stretch.stop, thresholds)


def _in_parts(frames: list[int], kind: str) -> list[list[int]]:
    """The rows of a whole motion, in as many groups as a chunk of rows requires; a pause is one row."""
    if kind == kinds.PAUSE:
        return [[frames[0], frames[-1]]]
    return [frames[at : at + FEW + 1] for at in range(0, max(1, len(frames) - 1), FEW)]


def _by_direction(path: GripperPath, frames: list[int]) -> list[list[int]]:
    """The rows in groups that go up, down or across, do not reverse, and are not too many."""
    groups: list[list[int]] = []
    directions: list[str] = []
    before: np.ndarray | None = None
    for start, stop in itertools.pairwise(frames):
        move = path.positions[stop] - path.positions[start]
        # A row that is too small to have a direction goes with those before it, or after it.
        direction = motion_kind(move) if np.linalg.norm(move) > max(SMALL, 4 * path.noise) else ""
        reverses = bool(direction) and _reverses(before, move)
        before = move if direction else before
        same = bool(directions) and (not direction or directions[-1] in ("", direction)) and not reverses
        if same and len(groups[-1]) <= FEW:
            groups[-1].append(stop)
            directions[-1] = directions[-1] or direction
        else:
            groups.append([start, stop])
            directions.append(direction)
    return groups or [[frames[0]]]


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


def _kind(recorded: RecordedMotion, index: int, segments: list[Segment], number: int) -> str:
    """The kind of a segment that is divided by direction."""
    segment, interval = segments[number], recorded.intervals[index]
    move = recorded.positions[segment.frames[-1]] - recorded.positions[segment.frames[0]]
    if interval.held_before:
        return _kind_held(recorded, segments, number, move)
    if segment.acts:
        if not interval.is_open:
            return kinds.RELEASE
        return kinds.REACH if interval.in_air else kinds.REGRASP if interval.again else kinds.GRASP
    touched = any(other.kind in kinds.IN_CONTACT for other in segments[:number])
    let_go = index > 0 and recorded.intervals[index - 1].held_before
    comes_back = interval.acts and interval.is_open
    more = any(other.kind in kinds.IN_CONTACT for other in segments[number:])
    if (touched or let_go) and not more and (not comes_back or (number == 0 and motion_kind(move) == "up")):
        return kinds.RETREAT
    return kinds.REACH


def _kind_held(recorded: RecordedMotion, segments: list[Segment], number: int, move: np.ndarray) -> str:
    """The kind of a segment in which something is held."""
    segment = segments[number]
    heights = recorded.positions[:, 2] - recorded.positions[segment.interval.start, 2]
    lifted = recorded.rules.lifted_cm / 100
    direction = motion_kind(move) if np.linalg.norm(move) >= max(0.005, 3 * recorded.path.noise) else ""
    if segment.acts and not direction:
        return kinds.RELEASE
    later = heights[segment.frames[-1] : segment.interval.stop + 1]
    final = bool(later.max(initial=0.0) <= heights[segment.frames[-1]] + lifted)
    touches = any(other.kind in kinds.IN_CONTACT for other in segments[number:])
    if direction == "down" and (segment.acts or (final and not touches)):
        return kinds.PLACE
    if direction == "up" and heights[segment.frames[0]] < lifted:
        return kinds.LIFT
    return kinds.CARRY


def _with_release(segment: Segment) -> list[Segment]:
    """`segment`; one that carries and then lets go becomes two."""
    if not (segment.acts and segment.kind in (kinds.CARRY, kinds.LIFT)):
        return [segment]
    at = min(max(segment.interval.act, segment.frames[-2] + 1), segment.stop - 1)
    if at <= segment.frames[0]:
        return [segment]
    frames = (*segment.frames[:-1], at)
    return [
        dataclasses.replace(segment, frames=frames, stop=at, acts=False),
        dataclasses.replace(segment, frames=(at, segment.stop), kind=kinds.RELEASE),
    ]


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
