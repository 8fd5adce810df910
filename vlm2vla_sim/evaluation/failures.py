"""Why an episode failed: one label, from what happened and not from a model's opinion.

`classify` is a pure function of a record that `event_log` keeps: the state after every control step, and what was asked
and answered at every decision. The first rule that holds gives the label:

1. `parse_errors`: at least `UNREADABLE` of the decisions could not be read.
2. `verifier_never`: since the last subtask that it passed, the verifier said "try again" `TOO_LATE` times or more
   although the subtask was done.
3. If the source was lifted, what ended the last time it was carried after it was lifted. `dropped`: it left the gripper
   while that was told to be closed. `toppled_after_release`: it was let go over the target, or was judged to be on it
   then or later, and is not on it at the end. `dropped` also: it was let go elsewhere, more than `DROP` above both its
   start and the height at which it would lie on the target. Lower: `wrong_target`, it was let go over another object
   than the target, or `placed_outside`.
   `not_released`: it is over the target, still held. One that is still held elsewhere goes on to rule 7.
4. `wrong_object`: another object than the source was moved, by more than 3 cm and further than the source
   (`judge.SuccessFlags.moved_wrong_object` at the last step), or lifted.
5. `verifier_too_early`: the verifier passed a subtask of grasping or releasing that was not done.
6. `workspace`: in at least `BORDER` of the steps the arm was stopped at the border of its workspace.
   `missed_grasp`: the gripper was told to close within `NEAR` of the source, and does not hold it at the end.
7. `verifier_too_early`: the verifier ended the episode. `gave_up`: the policy ended it by itself.
   `never_approached`: the gripper never came within `NEAR` of the source. `out_of_steps`: none of these.

In a task of several goals, source and target are those of the first goal that is not reached at the end, and objects of
its other goals are not wrong. "Over the target" means that the source's centre of mass is above the target's declared
box, seen from above. The thresholds are ours: no benchmark has published any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LABELS = {
    "parse_errors": "parse errors",
    "never_approached": "never approached",
    "missed_grasp": "missed grasp",
    "wrong_object": "wrong object",
    "dropped": "dropped",
    "placed_outside": "placed outside",
    "wrong_target": "placed on another object",
    "toppled_after_release": "toppled after release",
    "not_released": "not released",
    "verifier_too_early": "verifier said done too early",
    "verifier_never": "verifier never said done",
    "workspace": "stopped at the workspace",
    "gave_up": "gave up",
    "out_of_steps": "out of steps",
}
"""Label -> what people read, in the order of an episode."""

NEAR = 0.05
"""[m] from the gripper's TCP to the source's declared box, within which it was approached: the longest control step
(`motion.MAX_STEP`). In the 96 episodes of the grids it is 10 cm or more at the start."""
LIFTED = 0.02
"""[m] the source's centre of mass above its height at the start, from which it counts as lifted: more than tilting
raises it."""
IN_FINGERS = 0.02
"""[m] from the TCP to the source's box, within which a lifted source between closed fingers counts as carried while no
grasp is reported: contacts of a carried object come and go."""
DROP = 0.03
"""[m] too high, from which a source that is let go outside the target was dropped, not placed."""
UNREADABLE = 0.5
"""Of the decisions."""
BORDER = 0.25
"""Of the control steps."""
TOO_LATE = 2
"""Answers "try again" about a subtask that was done."""

STOPPED, DONE = "stopped", "done"
"""How a policy ended an episode: by itself, or because its verifier said that the last subtask is done."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The state after the reset, or after a control step."""

    distance: float
    """[m] from the TCP to the source's declared box; 0 inside it."""
    height: float
    """[m] of the source's centre of mass, above its height after the reset."""
    over_target: bool
    grasped: bool
    """`SceneState.grasped`."""
    told_closed: bool
    """The gripper was last told to close."""
    at_border: bool = False
    """The action was limited, and the arm's target is at the border of the workspace."""
    moved_wrong: bool = False
    """`judge.SuccessFlags.moved_wrong_object`."""
    on_target: bool = False
    """The goal is reached."""
    over_other: bool = False
    """The source is over another object than the target."""
    lifted_other: bool = False
    """An object that the task does not move is held, `LIFTED` or more above its height at the start."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision."""

    readable: bool
    """Whether its action text could be read."""
    passed: bool | None = None
    """Whether the verifier, asked before it, said that the subtask before was done; None: it was not asked."""
    was_done: bool | None = None
    """Whether that subtask was done, by the simulator's truth; None: not asked, or a subtask whose truth is not
    defined, as on the way between grasping and releasing."""


@dataclass(frozen=True)
class EpisodeEvents:
    """What happened in an episode whose scene is known."""

    moments: Sequence[Moment]
    """At least one: the first is that after the reset."""
    asked: Sequence[Asked] = ()
    goal_height: float = 0.0
    """[m] of the source's centre of mass when it lies on the target, above its height after the reset."""
    ended: str = ""
    """`STOPPED` or `DONE`; empty for an episode that used all its steps."""


@dataclass(frozen=True)
class _Carry:
    """A stretch of moments in which the source was carried."""

    last: int
    """Index of its last moment."""
    lifted: bool


def classify(events: EpisodeEvents) -> str:
    """The label of an episode that failed; see the module for the rules."""
    asked, moments = events.asked, events.moments
    if asked and sum(not decision.readable for decision in asked) >= UNREADABLE * len(asked):
        return "parse_errors"
    if _said_again(asked) >= TOO_LATE:
        return "verifier_never"
    lifted = [carry for carry in _carries(moments) if carry.lifted]
    if lifted:
        return _carried(events, lifted[-1].last) or _ending(events)
    if moments[-1].moved_wrong or any(moment.lifted_other for moment in moments):
        return "wrong_object"
    if any(decision.passed and decision.was_done is False for decision in asked):
        return "verifier_too_early"
    if sum(moment.at_border for moment in moments[1:]) >= BORDER * max(len(moments) - 1, 1):
        return "workspace"
    closed_near = any(moment.told_closed and moment.distance <= NEAR for moment in moments)
    return "missed_grasp" if closed_near and not moments[-1].grasped else _ending(events)


def _said_again(asked: Sequence[Asked]) -> int:
    """How often the verifier wrongly said "try again" since the last subtask that it passed."""
    count = 0
    for decision in asked:
        count = 0 if decision.passed else count + (decision.passed is False and decision.was_done is True)
    return count


def _carries(moments: Sequence[Moment]) -> list[_Carry]:
    found: list[_Carry] = []
    carried = lifted = False
    for number, moment in enumerate(moments):
        between = moment.told_closed and moment.distance <= IN_FINGERS and moment.height >= LIFTED
        now = moment.grasped or (carried and between)
        if carried and not now:
            found.append(_Carry(number - 1, lifted))
            lifted = False
        carried, lifted = now, lifted or (now and moment.height >= LIFTED)
    return [*found, _Carry(len(moments) - 1, lifted)] if carried else found


def _carried(events: EpisodeEvents, last: int) -> str:
    """How carrying ended at moment `last`; empty for a source that is still held away from the target."""
    moments, held = events.moments, events.moments[last]
    if last == len(moments) - 1:
        return "not_released" if held.over_target else ""
    if moments[last + 1].told_closed:
        return "dropped"
    if held.over_target or any(moment.on_target for moment in moments[last:]):
        return "toppled_after_release"
    if held.height > max(events.goal_height, 0.0) + DROP:
        return "dropped"
    return "wrong_target" if held.over_other else "placed_outside"


def _ending(events: EpisodeEvents) -> str:
    if events.ended:
        return "verifier_too_early" if events.ended == DONE else "gave_up"
    never = min(moment.distance for moment in events.moments) > NEAR
    return "never_approached" if never else "out_of_steps"
