"""Checked settings of the backend "manipulator_gym"."""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.envs.manipulator_gym.protocol import MOTIONS, OBSERVATION_KEYS, PRIMARY, WRIST, Interface
from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.errors import SettingError, unknown_name


@dataclass(frozen=True, eq=False, kw_only=True)
class ManipulatorGymSettings(RobotSettings):
    """Options of `backend.ManipulatorGymBackend`, which explains them; SettingError when one makes no sense."""

    backend = "manipulator_gym"
    image_keys = (PRIMARY, WRIST)
    interface: Interface
    motion: str
    camera_key: str
    gripper_range: tuple[float, float] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.motion not in MOTIONS:
            raise unknown_name("motion", self.motion, MOTIONS)
        if self.camera_key not in OBSERVATION_KEYS[2:]:
            raise unknown_name("camera_key", self.camera_key, self.image_keys)
        if self.gripper_range is not None:
            closed, opened = self.gripper_range
            if not closed < opened:
                raise SettingError(
                    f"gripper_range is {self.gripper_range}; expected the reading of the closed gripper and, greater, "
                    "that of the open one."
                )
