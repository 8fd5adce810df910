"""Checked settings that the backends of robots behind a server share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

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
class RobotSettings:
    """Options of a backend, which explains them; SettingError when a number is out of range."""

    backend: ClassVar[str]
    """Its name, for messages; set by every subclass."""
    image_keys: ClassVar[tuple[str, ...]] = ()
    """The server's names of images that may be cameras of an environment, beside devices of this machine."""
    robot: Robot
    park_pose: Pose
    workspace: Workspace
    start: np.ndarray
    """(6,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], base frame."""
    image_size: tuple[int, int] | None
    period: float
    max_frame_age: float
    frame_timeout: float
    own_camera: ClassVar[bool] = True
    """Whether the robot's server delivers the image of the camera "primary"; else it is one of this machine."""

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

    # The gripper's reading on the link: here that of the BridgeData server, of a WidowX 0.20 closed .. 1.08 open.

    @property
    def closed_reading(self) -> float:
        """The reading with nothing between the fingers."""
        return self.robot.finger_to_bridge(self.robot.gripper.closed)

    def opening(self, reading: float) -> float:
        """Reading -> opening, 0 closed .. 1 open."""
        return self.robot.opening_from_bridge(reading)


def park_pose(robot: Robot, position: tuple[float, float, float]) -> Pose:
    """Where the arm is parked, gripper down, base frame."""
    return Pose(np.array(position), frames.matrix_to_quaternion(robot.down))


def read_numbers(value: object, shape: tuple[int, ...], name: str, expected: str) -> np.ndarray:
    """float64 of `shape`, of numbers or, as a command line gives them, of text such as "0.12,-0.25,0,0.5,0.3,0.4".

    Brackets in a text are ignored. SettingError for anything else, and for numbers that are not finite.
    """
    try:
        words = re.sub(r"[\[\]()\s]", "", value).split(",") if isinstance(value, str) else value
        numbers = np.array(words, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise SettingError(f"{name} is {value!r}; expected {expected}.") from error
    if not np.isfinite(numbers).all():
        raise SettingError(f"{name} is {value!r}, which is not finite; expected {expected}.")
    return numbers


def workspace_or_default(task: Task, workspace: Workspace | tuple[Corner, Corner] | str | None) -> Workspace:
    """The given workspace, else that of the task's robot in front of its scene; SettingError for one that is no box."""
    if workspace is None:
        return task.setup.workspace
    corners = (workspace.low, workspace.high) if isinstance(workspace, Workspace) else workspace
    expected = "the low and the high corner of a box [m], as 0.12,-0.25,0,0.50,0.30,0.40"
    low, high = read_numbers(corners, (2, 3), "workspace", expected).tolist()
    if not all(least < most for least, most in zip(low, high, strict=True)):
        raise SettingError(f"workspace goes from {low} to {high}; expected {expected}.")
    return Workspace((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def start_or_default(task: Task, start: tuple[float, ...] | str | None) -> np.ndarray:
    """The given start pose, else that of the task's robot in front of its scene; SettingError if there is none."""
    if isinstance(start, str):
        return read_numbers(start, (6,), "start", "x, y, z [m], roll, pitch, yaw [rad]")
    found = start or task.setup.start
    if found is None:
        raise SettingError(
            f"The robot {task.arm.name!r} has no start pose for the scene {task.scene.name!r}. Give one: "
            "start=(x, y, z, roll, pitch, yaw)."
        )
    return np.array(found, dtype=np.float64)
