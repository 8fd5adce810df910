"""The arm's commanded pose, for formats whose texts depend on it (`FormatProperties.needs_pose`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import ActionChunk, RobotState


class CommandedPose:
    """Where the controller's target is, and what the gripper was last told."""

    def __init__(self, robot: Callable[[], RobotState] | None = None, arm: Robot = WIDOWX_250S) -> None:
        """robot: `PolicyContext.robot`. Without it, the measured pose of the observation stands for the target.

        The arm lags behind its target by a centimetre or two while it moves.
        """
        self._robot, self._arm = robot, arm
        self._told: float | None = None

    def reset(self) -> None:
        """Start an episode."""
        self._told = None

    def now(self, observation: Mapping[str, Any]) -> np.ndarray | None:
        """(7,) as `formats.properties.POSE_SIZE`; None if neither the arm nor the observation tells it."""
        measured = observation.get("agent_pos")
        if self._robot is not None:
            state = self._robot()
            numbers, opening = self._arm.pose_to_numbers(state.target), state.gripper
        elif measured is not None:
            numbers, opening = np.asarray(measured[:6], dtype=np.float64), float(measured[6])
        else:
            return None
        return np.array([*numbers, float(opening > 0.5) if self._told is None else self._told])

    def said(self, chunk: ActionChunk | None) -> None:
        """What is carried out next; the gripper is told its last row."""
        if chunk is not None:
            self._told = float(chunk.deltas[-1, 6])
