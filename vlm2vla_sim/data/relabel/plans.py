"""Subtask and plan text for recorded motion, worded by `language.plan_words`.

The same motion is "move down to the carrot" with an empty gripper and "lower the carrot to the plate" with a full one.
Plans that name only directions would give a model nothing to look for in the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm2vla_sim.data.relabel import kinds
from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.segments import Segment, motion_kind
from vlm2vla_sim.language import plan_words
from vlm2vla_sim.language.steps import Step, Steps

ORIENTATION = 0.01
"""[m] a phase that moves less than this is described by its rotation."""


def step_for(steps: Steps, intervals: Sequence[GripperInterval], index: int) -> Step | None:
    """The step of the instruction that the `index`-th interval belongs to; None where it is not sure which it is.

    What comes before an object is held belongs to its step, and what comes after the last one to the last step.
    """
    holds = sum(interval.held_before for interval in intervals)
    earlier = sum(interval.held_before for interval in intervals[:index])
    return steps.of_hold(min(earlier, max(holds - 1, 0)), holds)


def subtask_for(steps: Steps, intervals: Sequence[GripperInterval], index: int, whole: bool) -> str:
    """The subtask of the `index`-th interval.

    It is the whole instruction, in the person's own words, if nothing is ever held, if `whole`, or if the instruction
    does not tell what is moved.

    whole: whether the interval has a motion that is neither a pick nor a place, such as a push.
    """
    step = step_for(steps, intervals, index)
    interval = intervals[index]
    acts = any(other.acts and not other.in_air for other in intervals[: index + 1] if other.is_open)
    if step is None or whole or not any(other.acts for other in intervals):
        return steps.instruction
    if not acts and not any(other.acts and other.is_open and not other.in_air for other in intervals[index:]):
        return steps.instruction  # fingers that only close to push
    if interval.held_before:
        return step.put
    released = any(earlier.held_before for earlier in intervals[:index])
    grasps_later = any(later.held_after for later in intervals[index:])
    return step.put if released and not grasps_later else step.grasp


def plan_for(steps: Steps, step: Step | None, segment: Segment, rows: Sequence[np.ndarray]) -> str:
    """The plan of a segment, which belongs to `step`. rows: each (7,) as `ActionChunk.deltas`; at least one."""
    step = step or Step()
    total = np.sum(rows, axis=0)
    if segment.kind in kinds.WHOLE | {kinds.PAUSE}:
        return _whole(steps.instruction, step, segment, total, rows)
    interval, thing, goal = segment.interval, step.object_phrase, step.goal_phrase
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
        again = " again" if segment.kind == kinds.REGRASP else ""
        if kind == "down" and not interval.in_air:
            return plan_words.descend(f"{thing}{again}")
        return _then(f"move {directions}", "close", kind) + again
    if segment.acts:
        return _then(f"move {directions}", "open", kind)
    if not interval.is_open:
        return _after_turn(turning, f"move {directions}, with the gripper closed", kind)
    if kind == "up":
        return plan_words.leave() if not interval.acts else "move up, with the gripper open"
    if not interval.acts or segment.kind == kinds.RETREAT:
        return _after_turn(turning, f"move {directions}, with the gripper open", kind)
    return _after_turn(turning, plan_words.approach(directions, thing), kind)


def _whole(instruction: str, step: Step, segment: Segment, total: np.ndarray, rows: Sequence[np.ndarray]) -> str:
    """The plan of a motion that is one whole."""
    thing, kind = step.object_phrase, segment.kind
    if kind == kinds.PAUSE:
        return f"wait, with the gripper {'open' if segment.interval.is_open else 'closed'}"
    turning = plan_words.turns(total[3:6])
    if kind in (kinds.TURN, kinds.POUR):
        verb = "turn" if kind == kinds.TURN else "pour"
        return f"{verb}: {turning} with {thing}" if turning else f"{verb} {thing} {plan_words.directions(total[:3])}"
    if kind in (kinds.SWEEP, kinds.WIPE):
        return f"{kind} {plan_words.to_and_fro(np.array(rows)[:, :3])}"
    where = plan_words.directions(total[:3])
    if kind == kinds.ARC:
        verb = kinds.verb_of(instruction, kind) or "move"
        return f"{verb} {thing} along an arc, {where}"
    return f"{kind} {thing} {where}"


def _then(move: str, act: str, kind: str) -> str:
    return f"{act} the gripper" if kind == "none" else f"{move}, then {act} the gripper"


def _after_turn(turning: str, move: str, kind: str) -> str:
    if not turning:
        return move
    return turning if kind == "none" else f"{turning}, then {move}"
