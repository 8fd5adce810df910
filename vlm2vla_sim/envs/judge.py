"""Success and partial credit, computed from poses and contacts exactly as the original SIMPLER computes them.

Every backend is scored by this rule: with the rule of its own engine (ManiSkill 3 changed SIMPLER's) the same motion
would score differently. Source: simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:43-141.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.goals import LIFTED, ON, Goal, is_lifted, seen_for
from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.types import Body, SceneState

XY_SLACK = 0.003
"""[m] added to the target's half diagonal. put_on_in_scene.py:95"""
MOVED = 0.03
"""[m] in the x-y plane from which an object counts as moved. put_on_in_scene.py:62-70"""
CONSECUTIVE = 5
"""Control steps in a row from which a grasp counts as held. put_on_in_scene.py:77"""

REST_STEPS = 2
"""Control steps (0.4 s) for which both objects have been still when the source counts as settled. This and the two
below are ours: SIMPLER has no such rule."""
REST_DISTANCE = 0.001
"""[m] an object may move meanwhile; one that falls from 1 mm above its support moves as far in 15 ms."""
REST_TURN = np.radians(1.0)
"""[rad] an object may turn meanwhile."""


@dataclass(frozen=True)
class SuccessFlags:
    """Flags of one step. `grasped` and `consecutive_grasp` stay True for the rest of the episode, as in SIMPLER."""

    success: bool
    """SIMPLER's success of this step."""
    released: bool
    """Success, and the gripper does not hold the object, which may still be in the air: a stricter rule of ours."""
    settled: bool | None
    """Released, at rest and carried by the target alone: see `is_settled`."""
    on_target: bool
    """Every goal of lying somewhere is reached."""
    grasped: bool
    consecutive_grasp: bool
    moved_correct_object: bool
    moved_wrong_object: bool
    """The target or another object that no goal moves was moved, and further than the source."""


UNKNOWN: dict[str, bool | None] = dict.fromkeys(field.name for field in dataclasses.fields(SuccessFlags))
"""The flags where the scene is not known."""


class Judge:
    """Computes the flags of one episode, from the settled scene and then the scene after every step.

    With several goals the task is solved while all of them are reached. One whose object a later goal moves again
    ("put the carrot on the plate, then lift it") stays reached. If the goals are ordered, one that is reached before
    its time counts only when it is reached anew. `released` and `settled` concern what is to lie somewhere; `grasped`,
    `consecutive_grasp` and `moved_correct_object` hold if they do for the object of any goal.
    """

    def __init__(self, task: Task, settled: SceneState) -> None:
        self._start, self._ordered = settled, task.ordered
        moved = [goal.moved for goal in task.all_goals]
        self._parts = [
            _GoalJudge(goal, settled, again=goal.moved in moved[number + 1 :])
            for number, goal in enumerate(task.all_goals)
        ]
        self._further = frozenset(moved) - {task.source.name, ""}

    @property
    def reached(self) -> tuple[bool, ...]:
        """Of each goal, in order, whether it is reached."""
        return tuple(part.reached for part in self._parts)

    def judge(self, scene: SceneState) -> SuccessFlags:
        """The flags for `scene`; call once per control step, in order."""
        earlier = True
        for part in self._parts:
            part.update(scene, early=self._ordered and not earlier)
            earlier = earlier and part.been_reached
        right, wrong = self._farthest(scene)
        on = [part for part in self._parts if part.goal.kind == ON]
        lying = [part for part in on if not part.again]
        success = all(self.reached)
        settled = [part.is_settled() for part in lying]
        return SuccessFlags(
            success=success,
            released=success and not any(part.held for part in lying),
            settled=None if None in settled else success and all(settled),
            on_target=all(part.reached for part in on or self._parts),
            grasped=any(part.grasped for part in self._parts),
            consecutive_grasp=any(part.held_long for part in self._parts),
            moved_correct_object=right > MOVED and right > wrong,
            moved_wrong_object=wrong > MOVED and wrong > right,
        )

    def _farthest(self, scene: SceneState) -> tuple[float, float]:
        """[m] How far an object of a goal was moved at most, and any other one."""
        # All other objects of the scene, as in put_on_in_scene.py:57-70.
        before, now = (self._start.target, *self._start.others), (scene.target, *scene.others)
        pairs = [(one.name, _moved(one, other)) for one, other in zip(before, now, strict=True)]
        further = [distance for name, distance in pairs if name in self._further]
        wrong = [distance for name, distance in pairs if name not in self._further]
        return max([_moved(self._start.source, scene.source), *further]), max(wrong, default=0.0)


class _GoalJudge:
    """Follows one goal. again: whether a later goal moves its object again."""

    def __init__(self, goal: Goal, settled: SceneState, *, again: bool) -> None:
        self.goal, self.again = goal, again
        self._start = start = seen_for(settled, goal)
        # Signed, as in SIMPLER (put_on_in_scene.py:333-340): the settled rotation times the declared lengths.
        self._source_box = quaternion_to_matrix(start.source.pose.quaternion) @ start.source.extents
        self._target_box = quaternion_to_matrix(start.target.pose.quaternion) @ start.target.extents
        self._recent = deque([start], maxlen=REST_STEPS + 1)
        self._held_steps = 0
        self._early = False
        self.grasped = self.held_long = self.been_reached = self.reached = False

    @property
    def held(self) -> bool:
        """Whether the gripper holds the object now."""
        return self._recent[-1].grasped

    def update(self, scene: SceneState, *, early: bool) -> None:
        """The next control step. early: the goal is not to be reached yet."""
        now = seen_for(scene, self.goal)
        self._recent.append(now)
        self.grasped |= now.grasped
        self._held_steps = self._held_steps + 1 if now.grasped else 0
        self.held_long |= self._held_steps >= CONSECUTIVE
        holds = is_lifted(now, self._start) if self.goal.kind == LIFTED else self._is_on_target(now)
        self._early = holds and (early or self._early)
        counts = holds and not self._early
        self.been_reached |= counts
        self.reached = counts or (self.again and self.been_reached)

    def is_settled(self) -> bool | None:
        """See the function of that name."""
        return is_settled(self._recent, success=self.reached)

    def _is_on_target(self, scene: SceneState) -> bool:
        if scene.on_target is not None:
            return scene.on_target
        offset = scene.source.pose.position - scene.target.pose.position
        reach = np.linalg.norm(self._target_box[:2] / 2) + XY_SLACK
        gap = offset[2] - self._target_box[2] / 2 - self._source_box[2] / 2
        near = bool(np.linalg.norm(offset[:2]) <= reach)
        resting = bool(offset[2] > 0 and gap <= self.goal.height_slack)
        alone = not scene.touching or not self.goal.only_target_contact
        return near and resting and alone


def _moved(before: Body, now: Body) -> float:
    return float(np.linalg.norm((now.pose.position - before.pose.position)[:2]))


def start_flags(scene: SceneState) -> dict[str, bool | None]:
    """The flags after a reset, when no step was made: all False, or None where they will be unknown."""
    known = scene.touches_target is not None and scene.touches_robot is not None
    return {field.name: False for field in dataclasses.fields(SuccessFlags)} | {"settled": False if known else None}


def is_settled(scenes: Sequence[SceneState], *, success: bool) -> bool | None:
    """Whether the source lies on the target: success, released, at rest, and carried by the target alone.

    Carried by the target alone means that it touches the target, or a part of a container, and neither the robot nor
    anything else, also in tasks in which SIMPLER lets it touch the table.

    Args:
        scenes: after the control steps up to now, in order; the last `REST_STEPS` + 1 are read.
        success: whether the task is solved in the last of them.

    Returns:
        None where the backend does not report what the source touches (`SceneState.touches_target`, `touches_robot`).
    """
    now = scenes[-1]
    if now.touches_target is None or now.touches_robot is None:
        return None
    alone = not now.touches_robot and not now.touching
    return success and not now.grasped and now.touches_target and alone and is_at_rest(scenes)


def is_at_rest(scenes: Sequence[SceneState]) -> bool:
    """Whether source and target have been still for `REST_STEPS` control steps; False after fewer."""
    if len(scenes) <= REST_STEPS:
        return False
    now, earlier = scenes[-1], [scenes[-k] for k in range(2, REST_STEPS + 2)]
    return all(_is_still(one.source, now.source) and _is_still(one.target, now.target) for one in earlier)


def _is_still(before: Body, now: Body) -> bool:
    first, second = before.pose, now.pose
    lengths = np.linalg.norm(first.quaternion) * np.linalg.norm(second.quaternion)
    cosine = min(abs(float(first.quaternion @ second.quaternion)) / float(lengths), 1.0)
    distance = float(np.linalg.norm(second.position - first.position))
    return distance <= REST_DISTANCE and 2 * np.arccos(cosine) <= REST_TURN
