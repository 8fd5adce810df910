"""Inverse kinematics of the arm joints by damped least squares, started from the present joint angles.

It takes 0.1 ms per call. Targets of a control step are centimetres away, where the iteration converges; a general
solver would add a dependency and take twice the time.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_rotvec, quaternion_to_matrix
from vlm2vla_sim.envs.mujoco.arm import TCP
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.types import Pose

DAMPING = 1e-4
"""lambda^2 of the damped normal equations."""
ITERATIONS = 40
TOLERANCE = 1e-4
"""Of the stacked error [m, rad]; SIMPLER's solver stops at the same. sapien 3.0.3, compute_inverse_kinematics, eps"""


class ArmSolver:
    """Finds joint angles that bring the TCP to a pose; it has its own `MjData` and does not touch the simulation."""

    def __init__(self, model: mujoco.MjModel, robot: Robot) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = model.site(TCP).id
        self._qpos = np.array([int(model.joint(name).qposadr[0]) for name in robot.arm_joints])
        self._dofs = np.array([int(model.joint(name).dofadr[0]) for name in robot.arm_joints])
        self._jacobian = np.zeros((6, model.nv))

    def forward(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint angles (n,) [rad] -> TCP position (3,) [m] and rotation (3, 3), base frame."""
        self._data.qpos[self._qpos] = angles
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site], self._data.site_xmat[self._site].reshape(3, 3)

    def solve(self, target: Pose, start: np.ndarray) -> np.ndarray | None:
        """(n,) joint angles [rad] that reach `target`, searched from the angles `start`; None if none were found.

        Joint limits are not considered, as in SIMPLER: near a limit the arm then stops against it, where a search that
        respects the limit would fail and the arm would not move at all.
        """
        rotation = quaternion_to_matrix(target.quaternion)
        angles = np.array(start, dtype=np.float64)
        identity = DAMPING * np.eye(6)
        for _ in range(ITERATIONS):
            position, now = self.forward(angles)
            error = np.concatenate([target.position - position, matrix_to_rotvec(rotation @ now.T)])
            if np.linalg.norm(error) < TOLERANCE:
                return angles
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = self._jacobian[:, self._dofs]
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + identity, error)
            angles = angles + step
        return None
