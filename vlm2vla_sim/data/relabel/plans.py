"""Subtask and plan text for recorded motion, worded by `language.plan_words`.

The same motion is "move down to the carrot" with an empty gripper and "lower the carrot to the plate" with a full one.
Plans that name only directions would give a model nothing to look for in the image.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.segments import Segment, motion_kind
from vlm2vla_sim.language import plan_words
from vlm2vla_sim.language.instructions import ParsedInstruction

ORIENTATION = 0.01
"""[m] a phase that moves less than this is described by its rotation."""


def subtask_for(parsed: ParsedInstruction, intervals: list[GripperInterval], index: int) -> str:
    """The subtask of the `index`-th interval; the whole instruction if the gripper never acts."""
    interval = intervals[index]
    if not any(other.acts for other in intervals):
        return parsed.instruction
    if interval.held_before:
        return parsed.put
    released = any(earlier.held_before for earlier in intervals[:index])
    grasps_later = any(later.held_after for later in intervals[index:])
    return parsed.put if released and not grasps_later else parsed.grasp


def plan_for(parsed: ParsedInstruction, segment: Segment, total: np.ndarray) -> str:
    """The plan of a segment. total: (>= 6,) the sum of its rows, [m] and [rad]."""
    interval, thing = segment.interval, parsed.object_phrase
    goal = f"the {parsed.goal}" if parsed.goal else "its goal"
    kind = motion_kind(total[:3]) if np.linalg.norm(total[:3]) >= ORIENTATION else "none"
    directions = plan_words.directions(total[:3])
    turning = plan_words.turns(total[3:6])
    if interval.held_before:
        if segment.acts:
            return plan_words.lower(thing, goal) if kind == "down" else _then(f"move {directions}", "open", kind)
        if kind == "up":
            return plan_words.lift(thing)
        return _after_turn(turning, plan_words.carry(thing, directions, goal), kind)
    if segment.acts and interval.is_open:
        return plan_words.descend(thing) if kind == "down" else _then(f"move {directions}", "close", kind)
    if segment.acts:
        return _then(f"move {directions}", "open", kind)
    if not interval.is_open:
        return _after_turn(turning, f"move {directions}, with the gripper closed", kind)
    if kind == "up":
        return plan_words.leave() if not interval.acts else "move up, with the gripper open"
    if not interval.acts:
        return _after_turn(turning, f"move {directions}, with the gripper open", kind)
    return _after_turn(turning, plan_words.approach(directions, thing), kind)


def _then(move: str, act: str, kind: str) -> str:
    return f"{act} the gripper" if kind == "none" else f"{move}, then {act} the gripper"


def _after_turn(turning: str, move: str, kind: str) -> str:
    if not turning:
        return move
    return turning if kind == "none" else f"{turning}, then {move}"
