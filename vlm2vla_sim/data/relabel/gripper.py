"""Finds when the gripper closed and opened and whether it held an object, which divides a trajectory into intervals.

A demonstration does not mark where a subtask ends, but every grasp and release changes the gripper. Whether the gripper
closed on an object matters as well: otherwise a missed grasp would be labelled as a grasp.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import SettingError

STILL = 0.002
"""[m] a control step below this counts as no motion."""
STILL_TURN = np.radians(1)
"""[rad] a rotation below this counts as no motion."""
TAIL = 0.004
"""[m] remaining distance at which a trajectory is taken to have ended."""


@dataclass(frozen=True)
class GripperRules:
    """Thresholds for closing, opening and holding."""

    flicker_s: float = 0.3
    """[s] a gripper command that is reversed sooner than this is ignored."""
    dwell_s: float = 0.6
    """[s] time the gripper is given to act before the next motion begins; three steps at 5 Hz."""
    empty: float = 0.06
    """A closed gripper whose measured opening [0..1] is at most this holds nothing."""
    carried_cm: float = 3.0
    """[cm] an object released within this horizontal distance of the grasp counts as never held: a missed grasp."""

    def __post_init__(self) -> None:
        for name in ("flicker_s", "dwell_s", "empty", "carried_cm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise SettingError(f"{name} is {getattr(self, name)}; expected 0 or more.")


@dataclass(frozen=True)
class GripperInterval:
    """Motion with an unchanged gripper, followed by a gripper change; the last interval may have none."""

    start: int
    act: int
    """The first frame whose action commands the new opening; equal to `stop` without a change."""
    stop: int
    """One past the last frame; the gripper has acted."""
    is_open: bool
    """Whether the gripper is open during the motion."""
    acts: bool
    """Whether the gripper changes at `act`."""
    held_before: bool
    """Whether an object is in the gripper during the motion."""
    held_after: bool
    """Whether an object is in the gripper at the end."""
    pauses: bool
    """Whether the arm was commanded to stand still before the gripper changed."""


def find_gripper_intervals(trajectory: Trajectory, rules: GripperRules) -> list[GripperInterval]:
    """Divide `trajectory` where the gripper changes; waiting at the end of the trajectory is left out."""
    commanded_open = _without_flicker(trajectory.actions[:, 6] > 0.5, flicker=rules.flicker_s * trajectory.fps)
    moving = _moving(trajectory)
    is_open = bool(trajectory.states[0, 6] > 0.5) if len(trajectory) > 1 else bool(commanded_open[0])
    held = not is_open and bool(trajectory.states[0, 6] > rules.empty)
    dwell = round(rules.dwell_s * trajectory.fps)
    intervals, start = [], 0
    for act in _changes(commanded_open, is_open):
        command, stop, last = commanded_open[act], act + 1, min(len(trajectory), act + dwell)
        while stop < last and commanded_open[stop] == command and not moving[stop]:
            stop += 1
        after = not command and bool(trajectory.states[min(stop, len(trajectory) - 1), 6] > rules.empty)
        pauses = act > start and not moving[act - 1]
        intervals.append(GripperInterval(start, act, stop, is_open, True, held, after, pauses))
        start, is_open, held = stop, bool(command), after
    end = _end_of_motion(trajectory, start)
    if end > start:
        intervals.append(GripperInterval(start, end, end, is_open, False, held, held, False))
    return _without_missed_grasps(intervals, trajectory, rules.carried_cm / 100)


def _without_missed_grasps(
    intervals: list[GripperInterval], trajectory: Trajectory, carried: float
) -> list[GripperInterval]:
    """`intervals`, in which an object that was not carried at least `carried` [m] counts as not held."""
    found = list(intervals)
    for index, interval in enumerate(intervals):
        if not (index and interval.held_before and interval.acts):
            continue
        offsets = trajectory.states[interval.start : interval.act + 1, :2] - trajectory.states[interval.start, :2]
        if np.linalg.norm(offsets, axis=1).max() < carried:
            found[index] = dataclasses.replace(found[index], held_before=False)
            found[index - 1] = dataclasses.replace(found[index - 1], held_after=False)
    return found


def _without_flicker(commanded_open: np.ndarray, *, flicker: float) -> np.ndarray:
    """`commanded_open` (T,) bool without runs shorter than `flicker` frames, except the first and last run."""
    runs = np.split(commanded_open, np.flatnonzero(np.diff(commanded_open)) + 1)
    for index in range(1, len(runs) - 1):
        if len(runs[index]) < flicker:
            runs[index] = np.full(len(runs[index]), runs[index - 1][-1])
    return np.concatenate(runs)


def _changes(commanded_open: np.ndarray, is_open: bool) -> list[int]:
    before = np.concatenate([[is_open], commanded_open[:-1]])
    return np.flatnonzero(commanded_open != before).tolist()


def _moving(trajectory: Trajectory) -> np.ndarray:
    """(T,) bool: whether the action commands the arm to move."""
    moves = np.linalg.norm(trajectory.actions[:, :3], axis=1) > STILL
    return moves | (np.linalg.norm(trajectory.actions[:, 3:6], axis=1) > STILL_TURN)


def _end_of_motion(trajectory: Trajectory, start: int) -> int:
    """The frame from which on the arm stands still until the end; at least `start`."""
    remaining = np.linalg.norm(trajectory.states[:, :3] - trajectory.states[-1, :3], axis=1) > TAIL
    busy = np.flatnonzero(remaining | _moving(trajectory))
    return max(start, int(busy[-1]) + 1 if len(busy) else 0)
