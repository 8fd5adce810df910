"""Forward and inverse kinematics of a robot's arm from its description, with NumPy only.

The twin has a solver of its own (`envs.mujoco.ik`), which ignores joint limits as SIMPLER's does. This one is for a
real arm: what lies beyond a joint limit is not reached.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_quaternion, matrix_to_rotvec, quaternion_to_matrix, rotvec_to_matrix
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.types import Pose

DAMPING = 1e-4
"""lambda^2 of the damped normal equations."""
ITERATIONS = 60
TOLERANCE = 1e-5
"""Of the stacked error [m, rad]."""


class ArmKinematics:
    """The chain from a robot's base to its tool centre point."""

    def __init__(self, robot: Robot) -> None:
        by_name = {link.name: link for link in robot.links}
        chain, name = [], robot.tcp_link
        while name:
            chain.append(by_name[name])
            name = by_name[name].parent
        self._chain = [
            (np.array(link.position, dtype=np.float64), np.array(link.axis, dtype=np.float64), bool(link.joint))
            for link in reversed(chain)
        ]
        self._tool = np.array([robot.tcp_offset, 0.0, 0.0])
        moving = [link for link in reversed(chain) if link.joint]
        self.low = np.array([link.limits[0] for link in moving])
        self.high = np.array([link.limits[1] for link in moving])
        """(n,) [rad] joint limits of the description."""

    def forward(self, angles: np.ndarray) -> Pose:
        """Joint angles (n,) [rad] -> pose of the TCP, base frame."""
        position, rotation, _ = self._walk(np.asarray(angles, dtype=np.float64))
        return Pose(position, matrix_to_quaternion(rotation))

    def solve(
        self, target: Pose, start: np.ndarray, *, low: np.ndarray | None = None, high: np.ndarray | None = None
    ) -> np.ndarray | None:
        """(n,) joint angles [rad] within the limits that bring the TCP to `target`; None if none were found.

        Searched by damped least squares from the angles `start`, so that the result is the nearest branch.

        Args:
            target: base frame.
            start: (n,) [rad].
            low: (n,) [rad] limits; default: those of the description.
            high: (n,) [rad]
        """
        low, high = self.low if low is None else low, self.high if high is None else high
        wanted = quaternion_to_matrix(target.quaternion)
        angles = np.clip(np.array(start, dtype=np.float64), low, high)
        for _ in range(ITERATIONS):
            position, rotation, jacobian = self._walk(angles)
            error = np.concatenate([target.position - position, matrix_to_rotvec(wanted @ rotation.T)])
            if np.linalg.norm(error) < TOLERANCE:
                return angles
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(6), error)
            angles = np.clip(angles + step, low, high)
        return None

    def _walk(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) of the TCP, and its Jacobian (6, n), linear rows first."""
        position, rotation = np.zeros(3), np.eye(3)
        origins, axes, number = [], [], 0
        for offset, axis, moves in self._chain:
            position = position + rotation @ offset
            if moves:
                origins.append(position)
                axes.append(rotation @ axis)
                rotation = rotation @ rotvec_to_matrix(axis * angles[number])
                number += 1
        position = position + rotation @ self._tool
        jacobian = np.zeros((6, number))
        for column, (origin, axis) in enumerate(zip(origins, axes, strict=True)):
            jacobian[:3, column], jacobian[3:, column] = np.cross(axis, position - origin), axis
        return position, rotation, jacobian
