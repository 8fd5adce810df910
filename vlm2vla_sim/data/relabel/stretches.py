"""Divides an interval between two changes of the gripper into stretches.

They are pauses, motions that are one whole whatever their directions (a wipe, an arc, a turn), and what is left, which
is divided by direction (`segments`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.relabel.contact import LOW, STROKE, kind_in_contact, low_runs, strokes, there_and_back
from vlm2vla_sim.data.relabel.gripper import DESCENT, GripperInterval
from vlm2vla_sim.data.relabel.kinds import FOLD, IN_CONTACT, PAUSE, POUR, SWEEP, TURN, WIPE
from vlm2vla_sim.data.relabel.path import GripperPath
from vlm2vla_sim.data.relabel.recorded import RecordedMotion, runs
from vlm2vla_sim.data.relabel.settled import OFF

UPRIGHT = np.radians(8)
"""[rad] a gripper that is tilted less than this is not tilted."""
SLOW = 0.05
"""[m/s] a gripper that moves slower than this turns in place."""


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `stop`, of a kind; an empty kind is to be divided by direction."""

    start: int
    stop: int
    kind: str = ""


def stretches_of(recorded: RecordedMotion, index: int, *, empty: float) -> list[Stretch]:
    """The stretches of the `index`-th interval, in order and without gaps; at least one.

    empty: as `GripperRules.empty`.
    """
    interval = recorded.intervals[index]
    end = interval.act if interval.acts else interval.stop
    found: list[Stretch] = []
    at = interval.start
    for first, last in [*_pauses(recorded, interval.start, end), (end, end)]:
        if first > at:
            found += _moving(recorded, index, at, first, empty)
        if last > first:
            found.append(Stretch(first, last, PAUSE))
        at = last
    if interval.acts:
        # The gripper acts at the end of the last motion, if that is divided by direction, or else by itself.
        start = found.pop().start if found and not found[-1].kind else end
        found.append(Stretch(start, interval.stop))
    return found or [Stretch(interval.start, interval.stop)]


def still_while_acting(path: GripperPath, intervals: Sequence[GripperInterval]) -> GripperPath:
    """A noisy `path` at rest where the arm is told to be, while the fingers open or close; an exact one as it is."""
    if not path.noise:
        return path
    positions = path.positions.copy()
    for interval in intervals:
        if interval.acts and interval.stop > interval.act + 1:
            part = slice(interval.act + 1, interval.stop + 1)
            positions[part] = np.median(positions[part], axis=0)
    return dataclasses.replace(path, positions=positions)


def levelled(recorded: RecordedMotion, stretches: Sequence[Sequence[Stretch]], *, step: float) -> GripperPath:
    """The path, at one height in each motion in contact: the surface is level, and the gripper arrives at it late.

    stretches: of each interval. step: [m] resolution of the text. The height is that of the target, where it is known,
    because a moving arm hangs above it. Fingers that push aim a quarter of a step lower: rounded up by half of it they
    would pass over what is flat, rounded down they press.
    """
    path = recorded.path
    positions, aims = path.positions.copy(), path.aims.copy()
    end = max((one.stop for found in stretches for one in found), default=0)
    for interval, one in ((i, one) for i, found in zip(recorded.intervals, stretches, strict=True) for one in found):
        part = slice(one.start, one.stop + (one.stop < end))  # nothing comes after the end that would make up for it
        if one.kind in IN_CONTACT and np.ptp(positions[part, 2]) <= 2 * LOW + 4 * path.noise:
            level = positions[part, 2] = np.median(positions[part, 2])
            if path.targets is not None and abs(told := np.median(path.targets[part, 2]) - level) <= OFF:
                level += told
            aims[part, 2] = level - (0.0 if interval.held_before else step / 4)
    return dataclasses.replace(path, positions=positions, aims=aims)


def _pauses(recorded: RecordedMotion, start: int, stop: int) -> list[tuple[int, int]]:
    """The (first, last) frames between which nothing moves for long enough."""
    width = round(recorded.rules.pause_s * recorded.fps) + 1
    if stop - start + 1 < width or width < 2:
        return []
    path = recorded.path
    still = np.ones(stop - start + 2 - width, bool)
    for values, most in (
        (path.positions, max(0.006, 3 * path.noise)),
        (path.turned, max(np.radians(4), 2 * path.tremble)),
    ):
        windows = np.lib.stride_tricks.sliding_window_view(values[start : stop + 1], width, axis=0)
        still &= np.ptp(windows, axis=-1).max(axis=-1) <= most
    return [(start + first, start + last + width - 1) for first, last in runs(still)]


def _moving(recorded: RecordedMotion, index: int, start: int, stop: int, empty: float) -> list[Stretch]:
    """The stretches of a part of an interval without pauses."""
    interval = recorded.intervals[index]
    if not interval.held_before:
        return _filled(start, stop, _pushes(recorded, index, start, stop))
    if _folds(recorded, interval, empty):
        return [Stretch(start, stop, FOLD)]
    turned = _carve(_pours(recorded, start, stop), start, stop, lambda a, b: _turns(recorded, a, b))
    return _filled(start, stop, _carve(turned, start, stop, lambda a, b: _drags(recorded, interval, a, b)))


def _carve(found: list[Stretch], start: int, stop: int, look: Callable[[int, int], list[Stretch]]) -> list[Stretch]:
    """`found`, and what `look` finds in the gaps between them."""
    more = [part for one in _filled(start, stop, found) if not one.kind for part in look(one.start, one.stop)]
    return sorted([*found, *more], key=lambda one: one.start)


def _filled(start: int, stop: int, found: list[Stretch]) -> list[Stretch]:
    """`found` with stretches without a kind in the gaps."""
    whole, at = [], start
    for one in found:
        if one.start > at:
            whole.append(Stretch(at, one.start))
        whole.append(one)
        at = one.stop
    return [*whole, Stretch(at, stop)] if stop > at else whole


def _pushes(recorded: RecordedMotion, index: int, start: int, stop: int) -> list[Stretch]:
    """Where an empty gripper moves along in contact."""
    interval, rules = recorded.intervals[index], recorded.rules
    heights = recorded.positions[:, 2]
    grasps = interval.acts and interval.is_open
    named = any(kind in IN_CONTACT for kind in recorded.hints)
    never_grasps = not any(other.held_after or other.held_before for other in recorded.intervals)
    found = []
    for first, last in low_runs(recorded, start, stop, shortest=rules.contact_cm / 100):
        came_down = heights[interval.start : first + 1].max() - heights[first : last + 1].min() >= DESCENT
        if not came_down and not (named and never_grasps):
            continue  # on its way, or leaving what it has let go
        rises = heights[last : stop + 1].max() - heights[first : last + 1].min() >= DESCENT
        if grasps and not rises:
            continue  # on its way to a grasp
        turns_back = there_and_back(recorded, first, last)
        if turns_back is not None and not {SWEEP, WIPE} & set(recorded.hints):
            last = turns_back
        found.append(Stretch(first, last, kind_in_contact(recorded, first, last, held=False)))
    return found


def _folds(recorded: RecordedMotion, interval: GripperInterval, empty: float) -> bool:
    """Whether the held cloth of `interval` is folded: over to another place, and down again."""
    if FOLD in recorded.hints:
        return True
    if recorded.hints or not (interval.acts and recorded.is_pinched(interval, empty=empty)):
        return False
    if len(strokes(recorded, interval.start, interval.act)) > 3:
        return False
    way = recorded.positions[interval.start : interval.act + 1] - recorded.positions[interval.start]
    highest = way[:, 2].max()
    return bool(np.linalg.norm(way[-1, :2]) >= 0.04 and highest >= 0.02 and way[-1, 2] <= highest / 2)


def _pours(recorded: RecordedMotion, start: int, stop: int) -> list[Stretch]:
    """Tilting there, and back; a tilt that stays is a turn."""
    tilt = recorded.tilt(start, stop)
    named = POUR in recorded.hints
    least = np.radians(recorded.rules.tilted_degrees) * (0.7 if named else 1.0)
    upright = UPRIGHT + recorded.path.tremble
    for first, last in runs(tilt > upright):
        most = first + int(np.argmax(tilt[first : last + 1]))
        if tilt[most] < least:
            continue
        first, back = start + max(first - 1, 0), last + 1 < len(tilt)
        if not back:
            kind = POUR if named else TURN
            return [Stretch(first, start + most if tilt[last] > 0.8 * tilt[most] else start + last, kind)]
        end = start + last + 1
        return [Stretch(first, start + most, POUR), Stretch(start + most, end, POUR), *_pours(recorded, end, stop)]
    return []


def _turns(recorded: RecordedMotion, start: int, stop: int) -> list[Stretch]:
    """Turning about the vertical in place."""
    half = max(1, round(0.4 * recorded.fps))
    frames = np.arange(start, stop + 1)
    before, after = np.maximum(frames - half, start), np.minimum(frames + half, stop)
    way = np.linalg.norm(recorded.positions[after] - recorded.positions[before], axis=1)
    slow = way <= SLOW * (after - before) / recorded.fps + 2 * recorded.path.noise
    found = []
    least = np.radians(recorded.rules.turned_degrees)
    for first, last in runs(slow):
        yaw = recorded.yaw[start + first : start + last + 1]
        turned = yaw[-1] - yaw[0]
        if abs(turned) < least:
            continue
        part = (yaw - yaw[0]) / turned
        begins = int(np.flatnonzero(part <= 0.08)[-1])
        ends = int(np.flatnonzero(part >= 0.92)[0])
        found.append(Stretch(start + first + begins, start + first + max(ends, begins + 1), TURN))
    return found


def _drags(recorded: RecordedMotion, interval: GripperInterval, start: int, stop: int) -> list[Stretch]:
    """Where what is held moves along a surface: it was never lifted, or has come down again."""
    if not recorded.is_lifted(interval):
        return _dragged(recorded, start, stop)
    heights = recorded.positions[:, 2]
    lifted = recorded.rules.lifted_cm / 100
    up = np.flatnonzero(heights[interval.start : stop + 1] - heights[interval.start] >= lifted)
    begin = max(start, interval.start + int(up[0])) if len(up) else stop
    if stop - begin < 2:
        return []
    named = any(kind in IN_CONTACT for kind in recorded.hints)
    found = []
    for first, last in low_runs(recorded, begin, stop, shortest=2 * STROKE):
        came_down = heights[interval.start : first + 1].max() - heights[first : last + 1].min() >= DESCENT
        to_and_fro = len(strokes(recorded, first, last)) > 3
        if came_down and (to_and_fro or named):
            found.append(Stretch(first, last, kind_in_contact(recorded, first, last, held=True)))
    return found


def _dragged(recorded: RecordedMotion, start: int, stop: int) -> list[Stretch]:
    way = np.linalg.norm(recorded.positions[start : stop + 1, :2] - recorded.positions[start, :2], axis=1)
    if way.max() < 0.02:
        return []
    return [Stretch(start, stop, kind_in_contact(recorded, start, stop, held=True))]
