"""Success and partial credit, computed from poses and contacts exactly as the original SIMPLER computes them.

Every backend is scored by this rule: with the rule of its own engine (ManiSkill 3 changed SIMPLER's) the same motion
would score differently. Source: simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:43-141.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.types import SceneState

XY_SLACK = 0.003
"""[m] added to the target's half diagonal. put_on_in_scene.py:95"""
MOVED = 0.03
"""[m] in the x-y plane from which an object counts as moved. put_on_in_scene.py:62-70"""
CONSECUTIVE = 5
"""Control steps in a row from which a grasp counts as held. put_on_in_scene.py:77"""


@dataclass(frozen=True)
class SuccessFlags:
    """Flags of one step. `grasped` and `consecutive_grasp` stay True for the rest of the episode, as in SIMPLER."""

    success: bool
    """SIMPLER's success of this step."""
    released: bool
    """Success, and the gripper does not hold the object: a stricter rule of ours."""
    on_target: bool
    grasped: bool
    consecutive_grasp: bool
    moved_correct_object: bool
    moved_wrong_object: bool


class Judge:
    """Computes the flags of one episode, from the settled scene and then the scene after every step."""

    def __init__(self, task: Task, settled: SceneState) -> None:
        self._task = task
        self._start = settled
        # Signed, as in SIMPLER (put_on_in_scene.py:333-340): the settled rotation times the declared lengths.
        self._source_box = quaternion_to_matrix(settled.source.pose.quaternion) @ settled.source.extents
        self._target_box = quaternion_to_matrix(settled.target.pose.quaternion) @ settled.target.extents
        self._grasped = False
        self._held_steps = 0
        self._held_long = False

    def judge(self, scene: SceneState) -> SuccessFlags:
        """The flags for `scene`; call once per control step, in order."""
        self._grasped |= scene.grasped
        self._held_steps = self._held_steps + 1 if scene.grasped else 0
        self._held_long |= self._held_steps >= CONSECUTIVE
        on_target = self._is_on_target(scene) if scene.on_target is None else scene.on_target
        source_moved = self._moved(self._start.source.pose.position, scene.source.pose.position)
        target_moved = self._moved(self._start.target.pose.position, scene.target.pose.position)
        return SuccessFlags(
            success=on_target,
            released=on_target and not scene.grasped,
            on_target=on_target,
            grasped=self._grasped,
            consecutive_grasp=self._held_long,
            moved_correct_object=source_moved > MOVED and source_moved > target_moved,
            moved_wrong_object=target_moved > MOVED and target_moved > source_moved,
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
    def _moved(before: np.ndarray, now: np.ndarray) -> float:
        return float(np.linalg.norm(now[:2] - before[:2]))
