"""ManiSkill 3's scenes as they are: with our layouts, and for tasks that ManiSkill does not have.

MS3 is mani_skill 3.0.1 `mani_skill/`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval import base_env

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.simpler.assets import actor_name
from vlm2vla_sim.envs.tasks import Layout, Task


def own_scene_class(task: Task) -> type[base_env.BaseBridgeEnv]:
    """A ManiSkill scene for a task that SIMPLER does not have, made of SIMPLER's scene and objects."""
    own = (task.source, task.target)

    class OwnScene(base_env.BaseBridgeEnv):
        scene_setting = task.scene.maniskill
        objects_excluded_from_greenscreening = [actor_name(task, s) for s in own if s.fixed is None]  # noqa: RUF012

        def __init__(self, **kwargs: Any) -> None:
            # `Original` starts the objects from the layout; these are not read.
            start = torch.zeros((1, 2, 3)), torch.tensor([[[1.0, 0.0, 0.0, 0.0]] * 2])
            super().__init__([actor_name(task, spec) for spec in own], *start, **kwargs)

        def _load_scene(self, options: dict[str, Any]) -> None:
            for spec in own:  # ManiSkill wants to know the size of each, though `Original` does not
                half = np.array(spec.extents) / 2
                box = {"bbox": {"min": (-half).tolist(), "max": half.tolist()}, "scales": [1.0]}
                self.model_db[actor_name(task, spec)] = box | self.model_db.get(actor_name(task, spec), {})
            super()._load_scene(options)

        def get_language_instruction(self, **_: Any) -> list[str]:
            return [task.instruction] * self.num_envs

    return OwnScene


class AsShipped(base_env.BaseBridgeEnv):
    """ManiSkill's own physics, settling and success; only the layout comes from the task.

    On SIMPLER's grid the layouts are the same, at ManiSkill's heights: an episode is ManiSkill's own of that number.
    For the sink ManiSkill has eight recorded orientations of the source at each of the eight places, 64 episodes. The
    nearest to the layout's yaw is taken and turned by the difference, which is zero on SIMPLER's 24 episodes: number k
    is ManiSkill's 8 * (k // 3) + (1, 2, 0)[k % 3].
    """

    task: Task

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        layout: Layout = options.get("layout", self.task.layouts[0])
        shipped = self.xyz_configs, self.quat_configs
        heights = shipped[0][0, :, 2].tolist()
        places = [[*layout.source_xy, heights[0]], [*layout.target_xy, heights[1]]]
        turns = [self._source_turn(layout.source_yaw), about_z(layout.target_yaw)]
        self.xyz_configs = torch.tensor(np.array([places]), dtype=torch.float32)
        self.quat_configs = torch.tensor(np.array([turns]), dtype=torch.float32)
        try:
            super()._initialize_episode(env_idx, {"episode_id": torch.tensor([0])})
        finally:
            self.xyz_configs, self.quat_configs = shipped

    def _source_turn(self, yaw: float) -> np.ndarray:
        if len(self.quat_configs) != 8:
            return about_z(yaw)
        # MS3 put_on_in_scene.py:110-121 calls the eight orientations -45, 0, 45, ... 270 degrees.
        step = int(np.rint(yaw / (np.pi / 4)))
        return frames.multiply(about_z(yaw - step * np.pi / 4), self.quat_configs[(step + 1) % 8, 0].numpy())


def about_z(yaw: float) -> np.ndarray:
    """(4,) the rotation by `yaw` [rad] about the vertical, as w, x, y, z."""
    return frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
