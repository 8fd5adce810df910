"""Subtasks and plans for recorded motion, in the words of `language.plan_words`.

The same motion is "move down to the carrot" or "lower the carrot to the plate", as the gripper is empty or not. Words
that only name directions would leave a model nothing to look for in the picture.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.segments import Segment, kind_of
from vlm2vla_sim.language import plan_words
from vlm2vla_sim.language.instructions import ParsedInstruction

ORIENTATION = 0.01
"""[m] a phase that moves less is a turn."""


def subtask_of(errand: ParsedInstruction, stretches: list[GripperInterval], index: int) -> str:
    """The subtask that the `index`-th stretch belongs to; the instruction where the gripper never acts."""
    stretch = stretches[index]
    if not any(other.acts for other in stretches):
        return errand.instruction
    if stretch.held_before:
        return errand.put
    released = any(earlier.held_before for earlier in stretches[:index])
    to_come = any(later.held_after for later in stretches[index:])
    return errand.put if released and not to_come else errand.grasp


def plan_of(errand: ParsedInstruction, piece: Segment, total: np.ndarray) -> str:
    """The plan in words. total: (>= 6,) what the rows of the phase add up to."""
    stretch, thing = piece.stretch, errand.the_thing
    goal = f"the {errand.goal}" if errand.goal else "its goal"
    kind = kind_of(total[:3]) if np.linalg.norm(total[:3]) >= ORIENTATION else "none"
    where = plan_words.directions(total[:3])
    turning = plan_words.turns(total[3:6])
    if stretch.held_before:
        if piece.acts:
            return plan_words.lower(thing, goal) if kind == "down" else _then(f"move {where}", "open", kind)
        return plan_words.lift(thing) if kind == "up" else _with(turning, plan_words.carry(thing, where, goal), kind)
    if piece.acts and stretch.is_open:
        return plan_words.descend(thing) if kind == "down" else _then(f"move {where}", "close", kind)
    if piece.acts:
        return _then(f"move {where}", "open", kind)
    if not stretch.is_open:
        return _with(turning, f"move {where}, with the gripper closed", kind)
    if kind == "up":
        return plan_words.leave() if not stretch.acts else "move up, with the gripper open"
    if not stretch.acts:
        return _with(turning, f"move {where}, with the gripper open", kind)
    return _with(turning, plan_words.approach(where, thing), kind)


def _then(move: str, act: str, kind: str) -> str:
    return f"{act} the gripper" if kind == "none" else f"{move}, then {act} the gripper"


def _with(turning: str, move: str, kind: str) -> str:
    if not turning:
        return move
    return turning if kind == "none" else f"{turning}, then {move}"
