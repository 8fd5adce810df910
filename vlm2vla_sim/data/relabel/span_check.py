"""Checks the phases that a model found against the recorded motion, so that words and numbers do not contradict.

A model that sees six images may say left for right, or end a phase before the gripper acts. Each contradiction becomes
a sentence that says what was measured, with which the model can repair its answer.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np

from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.data.relabel.gripper import GripperInterval, GripperRules, find_gripper_intervals
from vlm2vla_sim.errors import AnswerError
from vlm2vla_sim.language.label_prompt import Span
from vlm2vla_sim.language.plan_reader import Direction, SaidMotion, direction_name, read_motion

MADE = 0.005
"""[m] a direction that a plan names was moved at least this far at some time."""
LARGE = 0.03
"""[m] a phase that moves this far in one direction names it, if no other direction is larger."""
SMALL, LONG = 0.02, 1.0
"""[m], [s] the directions of a phase that moves less and is shorter are not judged: the arm trembles as much."""
MAINLY = 0.6
"""Of the largest extent of a path, how much of it a motion has to leave behind to be one in a direction: wiping does
not."""
AFTER = 0.025
"""[m] how far the arm may move in a phase after the gripper has acted."""
MOST_REASONS = 4
"""How many contradictions one answer is told."""

_CLOSE = r"close[sd]?|closing"
_GRIPPER_IS = re.compile(
    rf"\b(?:(?P<opens>open(?:s|ed|ing)?)|{_CLOSE})\s+(?:the\s+|its\s+)?(?:gripper|fingers|jaws|claw)\b"
    r"|\b(?:gripper|fingers|jaws|claw)\s+(?:(?:is|are|still|stays?|remains?|kept|fully)\s+){0,2}"
    rf"(?:(?P<is_open>open(?:s|ed)?)|{_CLOSE})\b"
)


def check_spans(trajectory: Trajectory, spans: Sequence[Span], rules: GripperRules) -> None:
    """AnswerError with the reasons if `spans`, contiguous and complete, contradict the motion of `trajectory`."""
    intervals = find_gripper_intervals(trajectory, rules)
    reasons = [*_split_subtasks(spans, intervals)]
    for number, span in enumerate(spans, start=1):
        where = f"Phase {number} (steps {span.start} to {span.stop})"
        reasons += [f"{where}: {why}" for why in _reasons(trajectory, span, intervals)]
    if reasons:
        more = len(reasons) - MOST_REASONS
        rest = [f"And {more} more like these."] if more > 0 else []
        raise AnswerError(" ".join([*reasons[:MOST_REASONS], *rest]))


def _split_subtasks(spans: Sequence[Span], intervals: Sequence[GripperInterval]) -> Iterator[str]:
    """Subtasks that are left and taken up again although the gripper did nothing meanwhile: that is no new attempt."""
    left: dict[str, int] = {}
    for before, span in itertools.pairwise(spans):
        if span.subtask == before.subtask:
            continue
        left[before.subtask] = before.stop
        since = left.get(span.subtask)
        if since is not None and not any(one.acts and since <= one.act < span.start for one in intervals):
            yield (
                f"The subtask {span.subtask!r} comes twice, with another one between in which the gripper does not "
                "change; expected its phases to follow one another."
            )


def _reasons(trajectory: Trajectory, span: Span, intervals: Sequence[GripperInterval]) -> Iterator[str]:
    said = read_motion(span.plan)
    end = min(span.stop, len(trajectory) - 1)
    path = trajectory.states[span.start : end + 1, :3].astype(np.float64)
    acting = [one for one in intervals if one.acts and span.start <= one.act < span.stop]
    yield from _gripper_reasons(trajectory, span, said, acting)
    if np.abs(path[-1] - path[0]).max() >= SMALL or (span.stop - span.start) / trajectory.fps >= LONG:
        yield from _direction_reasons(path, span.plan, said)


def _gripper_reasons(
    trajectory: Trajectory, span: Span, said: SaidMotion, acting: Sequence[GripperInterval]
) -> Iterator[str]:
    opens = bool(trajectory.actions[span.stop - 1, 6] > 0.5)
    if len(acting) > 1:
        steps = " and ".join(str(one.act) for one in acting)
        yield f"the gripper changes at the steps {steps}; expected a phase to end at each change."
        return
    told = _said_of_gripper(span.plan.lower())
    if acting:
        (one,) = acting
        opens = not one.is_open
        does = f"the gripper {'opens' if opens else 'closes'} at step {one.act}"
        positions = trajectory.states[:, :3]
        done, end = (min(frame, len(trajectory) - 1) for frame in (one.stop, span.stop))
        after = float(np.linalg.norm(positions[end] - positions[done]))
        if after > AFTER:
            yield f"{does}, and then the arm moves {100 * after:.0f} cm; expected the phase to end at step {one.stop}."
        told = said.gripper if told is None else told
        if told is None:
            yield f"{does}, which its plan does not say."
        elif told != opens:
            yield f"its plan says {'open' if told else 'close'}, but {does}."
    elif told is not None and told != opens:
        yield f"its plan says that the gripper is {_state(bool(told))}, but it is {_state(opens)} at the end."


def _state(is_open: bool) -> str:
    return "open" if is_open else "closed"


def _said_of_gripper(plan: str) -> int | None:
    """1 open, 0 closed, where the plan speaks of the gripper by name: a drawer opens as well."""
    found = list(_GRIPPER_IS.finditer(plan))
    return int(bool(found[-1]["opens"] or found[-1]["is_open"])) if found else None


def _direction_reasons(path: np.ndarray, plan: str, said: SaidMotion) -> Iterator[str]:
    """path: (n, 3) [m], the measured positions."""
    net = path[-1] - path[0]
    lacking = [direction for direction in said.directions if _travel(path, direction) < MADE]
    moved = _describe(net)
    if lacking:
        yield f"its plan says {' and '.join(map(direction_name, lacking))}, but the gripper {moved}."
        return
    axis = int(np.abs(net).argmax())
    main = (axis, 1 if net[axis] > 0 else -1)
    # "right over the plate" may be a direction or mean directly over it, so the bare word counts as having been said.
    named = main in said.directions or axis in said.both or re.search(rf"\b{direction_name(main)}\b", plan.lower())
    if abs(net[axis]) >= max(LARGE, MAINLY * np.ptp(path, axis=0).max()) and not named:
        yield f"its plan does not say {direction_name(main)}, but the gripper {moved}."


def _travel(path: np.ndarray, direction: Direction) -> float:
    """[m] the furthest that the path goes in a direction, from wherever it begins to."""
    axis, sign = direction
    along = sign * path[:, axis]
    return float((along - np.minimum.accumulate(along)).max())


def _describe(net: np.ndarray) -> str:
    named = [
        f"{100 * abs(value):.0f} cm {direction_name((axis, 1 if value > 0 else -1))}"
        for axis, value in enumerate(net.tolist())
        if abs(value) >= MADE
    ]
    return f"moves {', '.join(named)}" if named else "does not move"
