"""Checked settings of the backend "widowx_ai"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.robots.kinematics import ArmKinematics

SHORTEST_PERIOD = 0.02
"""[s] of a control step: the driver spreads each step's motion over it."""


@dataclass(frozen=True, eq=False)
class ArmSettings(RobotSettings):
    """Options of `backend.WidowXAIBackend`, which explains them; SettingError for what cannot be honoured."""

    backend = "widowx_ai"
    own_camera = False
    home: tuple[float, ...] = ()
    """Joint angles [rad] near the start, from which its own are searched."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.robot.trossen is None:
            raise SettingError(
                f"The robot {self.robot.name!r} has no Trossen controller. Give its description "
                "`trossen=TrossenController(...)`, or use another backend."
            )
        if self.period < SHORTEST_PERIOD:
            raise SettingError(f"period is {self.period} s; expected at least {SHORTEST_PERIOD} s for this arm.")

    def start_joints(self) -> np.ndarray:
        """(n,) [rad] joint angles of the start; SettingError when it is out of reach."""
        angles = ArmKinematics(self.robot).solve(self.robot.pose_from_numbers(self.start), np.array(self.home))
        if angles is None:
            raise SettingError(
                f"The start {self.start.tolist()} is beyond the joint limits of the robot {self.robot.name!r}. With "
                "its gripper straight down it reaches 0.16 m high and 0.45 m far. Give another start."
            )
        return angles

    # The fingers' reading on this link is their opening.

    @property
    def closed_reading(self) -> float:
        """The gripper's reading with nothing between the fingers."""
        return 0.0

    def opening(self, reading: float) -> float:
        """The gripper's reading -> opening, 0 closed .. 1 open."""
        return float(np.clip(reading, 0.0, 1.0))
