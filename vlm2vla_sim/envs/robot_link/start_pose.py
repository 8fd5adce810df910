"""Whether a reset has brought the arm to its start, with its gripper open."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.envs.robot_link.observer import Observer
from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT
from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.errors import LinkLostError

AT_START = 0.05
"""[m] from the start pose within which the arm has arrived."""
OPENED = 0.5
"""Gripper reading below which it did not open in a reset."""


class StartPose:
    """Compares the last observation with the start."""

    def __init__(self, observer: Observer, settings: RobotSettings) -> None:
        self._observer, self._start = observer, settings.start[:3]
        server = settings.robot.bridge
        neutral = None if server is None else server.neutral_position
        # An arm at such a start may have come from neutral, with the servo times of that long way.
        self.is_near_neutral = neutral is None or bool(np.linalg.norm(self._start - np.array(neutral)) < 2 * AT_START)
        """Whether an arm at its start may have been driven to neutral instead, or where that is is not known."""

    @property
    def is_reached(self) -> bool:
        """Whether the gripper is at the start."""
        return self._missed <= AT_START

    @property
    def is_open(self) -> bool:
        """Whether the gripper is open."""
        return self._observer.gripper_reading >= OPENED

    def check(self) -> None:
        """LinkLostError ("robot_fault") unless the arm is at its start, and open."""
        if not self.is_reached:
            raise LinkLostError(
                f"After reset the gripper is {100 * self._missed:.0f} cm from its start. Is something in its way, or a "
                "motor in error? Check the arm before the next reset.",
                reason=ROBOT_FAULT,
            )
        if not self.is_open:
            raise LinkLostError(
                f"After reset the gripper reads {self._observer.gripper_reading:.2f} and should be open (1.0). Is "
                "something between its fingers or in their way, or its motor in error? Check it before the next reset.",
                reason=ROBOT_FAULT,
            )

    @property
    def _missed(self) -> float:
        return float(np.linalg.norm(self._observer.tcp.position - self._start))
