"""Which recorded motion belongs together: the pieces of a trajectory that become phases.

A decision that says a whole episode at once cannot be corrected on the way, and one that says a centimetre is as good
as none. A piece ends where a person would look again: where the gripper acts, where up becomes across, where the arm
turns back.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.path import Cuts, Path, cut
from vlm2vla_sim.language.formats.grid import MAX_ROWS
from vlm2vla_sim.language.label_prompt import Span

DETOUR = 0.02
"""[m] seen from above: what is shorter is no change of direction, but the arm settling."""


@dataclass(frozen=True)
class Segment:
    """What becomes a phase: rows of one kind of motion, and perhaps a change of the gripper."""

    frames: tuple[int, ...]
    """The rows lie between these."""
    stop: int
    stretch: GripperInterval
    acts: bool


def segments_of(path: Path, stretch: GripperInterval, cuts: Cuts) -> list[Segment]:
    """A stretch, divided where the motion changes between up, down and across, or turns back, or gets too long."""
    frames = cut(path, stretch.start, stretch.stop, cuts) if stretch.stop > stretch.start else [stretch.start]
    groups: list[list[int]] = []
    kinds: list[str] = []
    before: np.ndarray | None = None
    for start, stop in itertools.pairwise(frames):
        move = path.positions[stop] - path.positions[start]
        kind, returns = kind_of(move), _turns_back(before, move)
        before = move
        # Every row may become two (a turn, a move), and a pause and the gripper come on top.
        if kinds and kind == kinds[-1] and not returns and len(groups[-1]) < MAX_ROWS // 2 - 2:
            groups[-1].append(stop)
        else:
            groups.append([start, stop])
            kinds.append(kind)
    if not groups:
        groups = [[stretch.start]]
    last = len(groups) - 1
    return [
        Segment(tuple(group), stretch.stop if n == last else group[-1], stretch, acts=stretch.acts and n == last)
        for n, group in enumerate(groups)
    ]


def _turns_back(before: np.ndarray | None, move: np.ndarray) -> bool:
    if before is None or min(np.linalg.norm(before[:2]), np.linalg.norm(move[:2])) < DETOUR:
        return False
    return bool(before[:2] @ move[:2] < 0)


def kind_of(move: np.ndarray) -> str:
    """Whether a move, (3,) [m], goes "up", "down" or "across"."""
    if abs(move[2]) <= np.hypot(move[0], move[1]):
        return "across"
    return "up" if move[2] > 0 else "down"


def part_of(path: Path, stretch: GripperInterval, span: Span, cuts: Cuts) -> Segment | None:
    """What of `stretch` lies in `span`."""
    start, stop = max(stretch.start, span.start), min(stretch.stop, span.stop)
    if stop <= start:
        return None
    acts = stretch.acts and span.start <= stretch.act < span.stop
    if stretch.acts and stretch.act < span.start:
        # The gripper has acted before: what is left of the stretch is motion with the new opening.
        stretch = dataclasses.replace(stretch, is_open=not stretch.is_open)
    return Segment(tuple(cut(path, start, stop, cuts)), stop, stretch, acts)
