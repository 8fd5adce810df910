"""When a gripper closed and opened, and what it had in it: the events by which a trajectory is taken apart.

A demonstration has no mark where one subtask ends. What every grasp and every release leaves behind is a change of the
gripper, and whether it closed on something: without the latter a missed grasp would be labelled a grasp.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import SettingError

STILL = 0.002
"""[m] a step below this is no motion."""
STILL_TURN = np.radians(1)
"""[rad]"""
TAIL = 0.004
"""[m] what is left to go at the end of a trajectory, when it is taken for over."""


@dataclass(frozen=True)
class GripRules:
    """What counts as closing, opening, and holding."""

    flicker_s: float = 0.3
    """[s] a change that is taken back sooner is none."""
    dwell_s: float = 0.6
    """[s] the gripper is given to open or close before the next motion begins; three steps at 5 Hz."""
    empty: float = 0.06
    """A closed gripper whose measured opening [0..1] is not above this has nothing in it."""
    carried_cm: float = 3.0
    """What is let go nearer than this to where it was taken, seen from above, was never held: a missed grasp."""

    def __post_init__(self) -> None:
        for name in ("flicker_s", "dwell_s", "empty", "carried_cm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise SettingError(f"{name} is {getattr(self, name)}; expected 0 or more.")


@dataclass(frozen=True)
class GripperInterval:
    """Motion with the gripper as it is, then, but for the last stretch, a change of the gripper."""

    start: int
    act: int
    """The frame whose action first says the new opening; `stop` where it does not change."""
    stop: int
    """One past the last frame: the gripper has acted."""
    is_open: bool
    """While moving."""
    acts: bool
    """Whether the gripper changes at `act`."""
    held_before: bool
    held_after: bool
    """Whether something is in the gripper while moving, and at the end."""
    pauses: bool
    """Whether the arm was told to stand still before the gripper changed."""


def find_gripper_intervals(trajectory: Trajectory, rules: GripRules) -> list[GripperInterval]:
    """`trajectory`, divided where the gripper changes; what is still to be waited for at its end is left out."""
    told_open = _steady(trajectory.actions[:, 6] > 0.5, flicker=rules.flicker_s * trajectory.fps)
    moving = _moving(trajectory)
    is_open = bool(trajectory.states[0, 6] > 0.5) if len(trajectory) > 1 else bool(told_open[0])
    held = not is_open and bool(trajectory.states[0, 6] > rules.empty)
    dwell = round(rules.dwell_s * trajectory.fps)
    stretches, start = [], 0
    for act in _changes(told_open, is_open):
        stop = act + 1
        while stop < len(trajectory) and stop < act + dwell and told_open[stop] == told_open[act] and not moving[stop]:
            stop += 1
        after = not told_open[act] and bool(trajectory.states[min(stop, len(trajectory) - 1), 6] > rules.empty)
        pauses = act > start and not moving[act - 1]
        stretches.append(GripperInterval(start, act, stop, is_open, True, held, after, pauses))
        start, is_open, held = stop, bool(told_open[act]), after
    end = _end_of_motion(trajectory, start)
    if end > start:
        stretches.append(GripperInterval(start, end, end, is_open, False, held, held, False))
    return _without_misses(stretches, trajectory, rules.carried_cm / 100)


def _without_misses(stretches: list[GripperInterval], trajectory: Trajectory, carried: float) -> list[GripperInterval]:
    """`stretches`, in which the gripper holds nothing that it did not bring anywhere."""
    found = list(stretches)
    for index, stretch in enumerate(stretches):
        if not (index and stretch.held_before and stretch.acts):
            continue
        way = trajectory.states[stretch.start : stretch.act + 1, :2] - trajectory.states[stretch.start, :2]
        if np.linalg.norm(way, axis=1).max() < carried:
            found[index] = dataclasses.replace(found[index], held_before=False)
            found[index - 1] = dataclasses.replace(found[index - 1], held_after=False)
    return found


def _steady(told_open: np.ndarray, *, flicker: float) -> np.ndarray:
    """`told_open` (T,) bool without runs shorter than `flicker` frames, the first and the last excepted."""
    runs = np.split(told_open, np.flatnonzero(np.diff(told_open)) + 1)
    for index in range(1, len(runs) - 1):
        if len(runs[index]) < flicker:
            runs[index] = np.full(len(runs[index]), runs[index - 1][-1])
    return np.concatenate(runs)


def _changes(told_open: np.ndarray, is_open: bool) -> list[int]:
    before = np.concatenate([[is_open], told_open[:-1]])
    return np.flatnonzero(told_open != before).tolist()


def _moving(trajectory: Trajectory) -> np.ndarray:
    """(T,) bool: whether the action tells the arm to move."""
    moves = np.linalg.norm(trajectory.actions[:, :3], axis=1) > STILL
    return moves | (np.linalg.norm(trajectory.actions[:, 3:6], axis=1) > STILL_TURN)


def _end_of_motion(trajectory: Trajectory, start: int) -> int:
    """The frame from which on nothing happens any more, or `start`."""
    left = np.linalg.norm(trajectory.states[:, :3] - trajectory.states[-1, :3], axis=1) > TAIL
    busy = np.flatnonzero(left | _moving(trajectory))
    return max(start, int(busy[-1]) + 1 if len(busy) else 0)
