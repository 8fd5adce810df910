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
from vlm2vla_sim.data.relabel.noise import noise_of
from vlm2vla_sim.errors import SettingError

STILL = 0.002
"""[m] a control step below this counts as no motion."""
STILL_TURN = np.radians(1)
"""[rad] a rotation below this counts as no motion."""
REPEATED = 0.04
"""[m] a grasp within this horizontal distance of where the gripper has just let go repeats the one before."""
TURNED = np.radians(20)
"""[rad] fingers that have turned by this much, with something between them, have held it."""
DESCENT = 0.03
"""[m] a gripper that has come down by this much has gone down to something."""
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
    """A closed gripper whose measured opening [0..1] is at most this holds nothing, or a cloth."""
    pinched: float = 0.015
    """A gripper that is open by more than this, and not more than `empty`, holds a cloth if it has closed low and then
    goes `pinched_cm` away or up. One that is open by less holds nothing."""
    carried_cm: float = 1.5
    """[cm] an object that is released within this horizontal distance of the grasp, not turned, and not lifted by
    `lifted_cm` and set down again, counts as never held: a missed grasp."""
    lifted_cm: float = 3.0
    """[cm] see `carried_cm`."""
    pinched_cm: float = 3.0
    """[cm] see `pinched`."""

    def __post_init__(self) -> None:
        for name in ("flicker_s", "dwell_s", "empty", "pinched", "carried_cm", "lifted_cm", "pinched_cm"):
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
    again: bool = False
    """Whether it ends with a grasp that repeats one: after a miss, or where the gripper has just let go."""
    in_air: bool = False
    """Whether it ends by closing in the air: with closed fingers the gripper then goes down, to push."""


def find_gripper_intervals(trajectory: Trajectory, rules: GripperRules) -> list[GripperInterval]:
    """Divide `trajectory` where the gripper changes; waiting at the end of the trajectory is left out."""
    commanded_open = _without_flicker(trajectory.actions[:, 6] > 0.5, flicker=rules.flicker_s * trajectory.fps)
    moving = _moving(trajectory)
    is_open = bool(trajectory.states[0, 6] > 0.5) if len(trajectory) > 1 else bool(commanded_open[0])
    held = not is_open and bool(trajectory.states[0, 6] > rules.pinched)
    dwell = round(rules.dwell_s * trajectory.fps)
    intervals, start = [], 0
    for act in _changes(commanded_open, is_open):
        command, stop, last = commanded_open[act], act + 1, min(len(trajectory), act + dwell)
        while stop < last and commanded_open[stop] == command and not moving[stop]:
            stop += 1
        after = not command and bool(trajectory.states[min(stop, len(trajectory) - 1), 6] > rules.pinched)
        pauses = act > start and not moving[act - 1]
        intervals.append(GripperInterval(start, act, stop, is_open, True, held, after, pauses))
        start, is_open, held = stop, bool(command), after
    end = _end_of_motion(trajectory, start)
    if end > start:
        intervals.append(GripperInterval(start, end, end, is_open, False, held, held, False))
    return _with_attempts(_without_missed_grasps(intervals, trajectory, rules), trajectory)


def _without_missed_grasps(
    intervals: list[GripperInterval], trajectory: Trajectory, rules: GripperRules
) -> list[GripperInterval]:
    """`intervals`, in which what shows no sign of having been carried counts as not held."""
    found = list(intervals)
    for index, interval in enumerate(intervals):
        grasps_later = any(other.acts and other.is_open for other in intervals[index + 1 :])
        if interval.held_before and not _was_held(interval, trajectory, rules, first=not index, again=grasps_later):
            found[index] = dataclasses.replace(interval, held_before=False, held_after=False)
            if index:
                found[index - 1] = dataclasses.replace(found[index - 1], held_after=False)
    return found


def _was_held(
    interval: GripperInterval, trajectory: Trajectory, rules: GripperRules, *, first: bool, again: bool
) -> bool:
    """Whether something was in the gripper during `interval`, in which it is closed and not to the end of its way.

    first: whether the episode begins with it. again: whether the gripper grasps later.
    """
    states = trajectory.states[interval.start : max(interval.act, interval.start + 1) + 1]
    way = states[:, :3] - states[0, :3]
    aside, highest = np.linalg.norm(way[:, :2], axis=1).max(), way[:, 2].max()
    if np.median(states[:, 6]) <= rules.empty:
        # A cloth, or fingers that do not close to the end: those go down after they have closed, to push.
        moved = max(aside, highest) >= rules.pinched_cm / 100
        return bool(moved and way[:, 2].min() >= -rules.lifted_cm / 100 and not first)
    if first or not interval.acts or aside >= rules.carried_cm / 100 or _turned(states[:, 3:6]) >= TURNED:
        return True
    # Up and down again is a lift; up, and open there, is one unless the gripper then tries again.
    set_down = way[-1, 2] <= highest / 2
    return bool(highest >= rules.lifted_cm / 100 and (set_down or not again))


def _turned(angles: np.ndarray) -> float:
    """[rad] the largest change of one of `angles`, (n, 3), from the first frames to the last."""
    angles = np.unwrap(angles.astype(np.float64), axis=0)
    return float(np.abs(np.median(angles[-3:], axis=0) - np.median(angles[:3], axis=0)).max())


def _with_attempts(intervals: list[GripperInterval], trajectory: Trajectory) -> list[GripperInterval]:
    """`intervals` with `again` and `in_air`."""
    found: list[GripperInterval] = []
    missed, let_go = False, None
    for index, interval in enumerate(intervals):
        place = trajectory.states[min(interval.act, len(trajectory) - 1), :2]
        if interval.acts and interval.is_open:
            after = intervals[index + 1] if index + 1 < len(intervals) else interval
            heights = trajectory.states[interval.stop : after.stop + 1, 2]
            goes_down = len(heights) > 1 and heights.min() <= heights[0] - DESCENT
            in_air = bool(goes_down and not interval.held_after)
            near = let_go is not None and np.linalg.norm(place - let_go) <= REPEATED
            interval = dataclasses.replace(interval, again=bool(missed or near) and not in_air, in_air=in_air)
            missed = not (interval.held_after or in_air)
        elif interval.acts:
            let_go = place if interval.held_before else let_go
        found.append(interval)
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
    last = np.median(trajectory.states[-3:, :3], axis=0)
    tail = max(TAIL, 3.5 * noise_of(trajectory.states[:, :3]))
    remaining = np.linalg.norm(trajectory.states[:, :3] - last, axis=1) > tail
    busy = np.flatnonzero(remaining | _moving(trajectory))
    return max(start, int(busy[-1]) + 1 if len(busy) else 0)
