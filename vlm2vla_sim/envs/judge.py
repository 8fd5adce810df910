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
    grasped: bool
    consecutive_grasp: bool
    moved_correct_object: bool
    moved_wrong_object: bool
    """The target or another object was moved, and further than the source."""


UNKNOWN: dict[str, bool | None] = dict.fromkeys(field.name for field in dataclasses.fields(SuccessFlags))
"""The flags where the scene is not known."""


class Judge:
    """Computes the flags of one episode, from the settled scene and then the scene after every step."""

    def __init__(self, task: Task, settled: SceneState) -> None:
        self._task = task
        self._start = settled
        # Signed, as in SIMPLER (put_on_in_scene.py:333-340): the settled rotation times the declared lengths.
        self._source_box = quaternion_to_matrix(settled.source.pose.quaternion) @ settled.source.extents
        self._target_box = quaternion_to_matrix(settled.target.pose.quaternion) @ settled.target.extents
        self._recent = deque([settled], maxlen=REST_STEPS + 1)
        self._grasped = False
        self._held_steps = 0
        self._held_long = False

    def judge(self, scene: SceneState) -> SuccessFlags:
        """The flags for `scene`; call once per control step, in order."""
        self._recent.append(scene)
        self._grasped |= scene.grasped
        self._held_steps = self._held_steps + 1 if scene.grasped else 0
        self._held_long |= self._held_steps >= CONSECUTIVE
        on_target = self._is_on_target(scene) if scene.on_target is None else scene.on_target
        source_moved = self._moved(self._start.source, scene.source)
        # All other objects of the scene, as in put_on_in_scene.py:57-70.
        other_moved = max(map(self._moved, (self._start.target, *self._start.others), (scene.target, *scene.others)))
        return SuccessFlags(
            success=on_target,
            released=on_target and not scene.grasped,
            settled=is_settled(self._recent, success=on_target),
            on_target=on_target,
            grasped=self._grasped,
            consecutive_grasp=self._held_long,
            moved_correct_object=source_moved > MOVED and source_moved > other_moved,
            moved_wrong_object=other_moved > MOVED and other_moved > source_moved,
        )

    def _is_on_target(self, scene: SceneState) -> bool:
        offset = scene.source.pose.position - scene.target.pose.position
        reach = np.linalg.norm(self._target_box[:2] / 2) + XY_SLACK
        gap = offset[2] - self._target_box[2] / 2 - self._source_box[2] / 2
        near = bool(np.linalg.norm(offset[:2]) <= reach)
        resting = bool(offset[2] > 0 and gap <= self._task.height_slack)
        alone = not scene.touching or not self._task.only_target_contact
        return near and resting and alone

    @staticmethod
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
