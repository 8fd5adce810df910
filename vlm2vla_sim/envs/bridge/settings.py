"""Checked settings of the backend "bridge"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.robots.base import Robot, Workspace
from vlm2vla_sim.types import Pose

Corner = tuple[float, float, float]
MAX_PERIOD = 5.0
"""[s]"""


@dataclass(frozen=True, eq=False)
class BridgeSettings:
    """Options of `backend.BridgeBackend`, which explains them; SettingError when a number is out of range."""

    robot: Robot
    park_pose: Pose
    workspace: Workspace
    start: np.ndarray
    """(6,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], base frame."""
    image_size: tuple[int, int] | None
    period: float
    max_frame_age: float
    frame_timeout: float
    camera_topic: str

    def __post_init__(self) -> None:
        if self.start.shape != (6,) or not np.isfinite(self.start).all():
            raise SettingError(f"start is {self.start.tolist()}; expected x, y, z [m], roll, pitch, yaw [rad].")
        position = self.start[:3]
        if (position < self.workspace.low).any() or (position > self.workspace.high).any():
            raise SettingError(f"The start {position.tolist()} lies outside the workspace {self.workspace}.")
        if not 0 <= self.period <= MAX_PERIOD or not 0 < self.max_frame_age <= self.frame_timeout:
            raise SettingError(
                f"period is {self.period} s (expected 0 to {MAX_PERIOD:g}), max_frame_age {self.max_frame_age} s "
                f"(expected more than 0 and at most frame_timeout, {self.frame_timeout} s)."
            )

    def server_parameters(self) -> dict[str, Any]:
        """The environment parameters of the server's "init" request."""
        low, high = self.workspace.low, self.workspace.high
        return {
            "fix_zangle": 0.1,
            "move_duration": 0.2,
            "adaptive_wait": True,
            "move_to_rand_start_freq": 1,
            # The last two numbers bound pitch and gripper, which "xyz" clipping ignores.
            "override_workspace_boundaries": [[*map(float, low), -1.57, 0.0], [*map(float, high), 1.57, 0.0]],
            "action_clipping": "xyz",
            "catch_environment_except": False,
            "start_state": [*map(float, self.start), 1.0],
            "skip_move_to_neutral": False,
            "return_full_image": True,
            "camera_topics": [{"name": self.camera_topic}],
        }


def park_pose(robot: Robot) -> Pose:
    """Where the arm is parked, gripper down, base frame; SettingError for a robot without a BridgeData server."""
    return Pose(np.array(robot.bridge_server.park), frames.matrix_to_quaternion(robot.down))


def workspace_or_default(task: Task, workspace: Workspace | tuple[Corner, Corner] | None) -> Workspace:
    """The given workspace, else that of the task's robot in front of its scene."""
    if isinstance(workspace, Workspace):
        return workspace
    return Workspace(*workspace) if workspace else task.setup.workspace


def start_or_default(task: Task, start: tuple[float, ...] | None) -> np.ndarray:
    """The given start pose, else that of the task's robot in front of its scene; SettingError if there is none."""
    found = start or task.setup.start
    if found is None:
        raise SettingError(
            f"The robot {task.arm.name!r} has no start pose for the scene {task.scene.name!r}. Give one: "
            "start=(x, y, z, roll, pitch, yaw)."
        )
    return np.array(found, dtype=np.float64)
