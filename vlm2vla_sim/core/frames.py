"""Conventions that the environments convert: base frames, gripper ranges, the controller's rule, Bridge actions.

Inside the package there is one convention (see `types.ACTION_SIZE` and `docs/architecture.md`). SIMPLER, ManiSkill 3
and the Bridge robot each differ from it in one or two numbers. Conversions that need a robot's own numbers are methods
of `robots.base.Robot`; pure rotations are in `rotations.py` and can be imported from here as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.rotations import (  # noqa: F401 - also imported from here
    euler_sxyz_to_matrix,
    euler_sxyz_to_rotvec,
    matrix_to_euler_sxyz,
    matrix_to_quaternion,
    matrix_to_rotvec,
    multiply,
    quaternion_to_matrix,
    quaternion_to_rotvec,
    rotvec_to_euler_sxyz,
    rotvec_to_euler_XYZ,
    rotvec_to_matrix,
    rotvec_to_quaternion,
)
from vlm2vla_sim.types import Pose

# Base frames ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaseFrame:
    """Position of the robot's base in SIMPLER's world. The base is turned by 180 degrees about z: +x is world -x."""

    x: float
    y: float
    z: float
    """[m]"""

    def from_world(self, point: np.ndarray) -> np.ndarray:
        """(3,) point in SIMPLER's world [m] -> in the robot's base frame."""
        return np.array([self.x - point[0], self.y - point[1], point[2] - self.z])

    def to_world(self, point: np.ndarray) -> np.ndarray:
        """(3,) point in the robot's base frame [m] -> in SIMPLER's world."""
        return np.array([self.x - point[0], self.y - point[1], point[2] + self.z])

    def pose_from_world(self, position: np.ndarray, quaternion: np.ndarray) -> Pose:
        """A pose in SIMPLER's world -> in the robot's base frame."""
        return Pose(self.from_world(position), multiply(HALF_TURN, np.asarray(quaternion)))

    def pose_to_world(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """A pose in the robot's base frame -> position (3,) and quaternion (4,) in SIMPLER's world."""
        return self.to_world(pose.position), multiply(HALF_TURN * [1, -1, -1, -1], pose.quaternion)


HALF_TURN = np.array([0.0, 0.0, 0.0, 1.0])
"""180 degrees about z."""


# Gripper and controller -----------------------------------------------------------------------------------------------


def gripper_to_simpler(opening: float) -> float:
    """0 closed .. 1 open -> -1 closed, +1 open."""
    # simpler-env/SimplerEnv@4ab7178 octo_model.py:234-237
    return 1.0 if opening > 0.5 else -1.0


def gripper_from_simpler(value: float) -> float:
    """-1 closed .. +1 open -> 0 closed .. 1 open."""
    return 0.5 * (float(np.clip(value, -1.0, 1.0)) + 1.0)


def advance_target(target: Pose, measured: Pose, delta: np.ndarray) -> Pose:
    """The controller rule SIMPLER and the real Bridge server share: the next target pose after `delta`.

    target' = T(p) D T(-p) target, with p the *measured* gripper position: the rotation is about the gripper where it
    is, the translation in base axes, both applied to the previous *target*.
    simpler-env/ManiSkill2_real2sim@ef7a4d4 pd_ee_pose.py:206-212; rail-berkeley/bridge_data_robot@a902e5b
    robot_base_env.py:182-203. `delta` is (7,): dx, dy, dz [m], rotation vector [rad], gripper (unused here).
    """
    turn = rotvec_to_quaternion(delta[3:6])
    pivot = measured.position
    position = pivot + quaternion_to_matrix(turn) @ (target.position - pivot) + delta[:3]
    quaternion = multiply(turn, target.quaternion)
    return Pose(position, quaternion / np.linalg.norm(quaternion))


# The Bridge robot -----------------------------------------------------------------------------------------------------
# rail-berkeley/bridge_data_robot@a902e5b widowx_controller.py, robot_base_env.py


def pose_to_matrix(pose: Pose) -> np.ndarray:
    """A gripper pose -> (4, 4) float64 homogeneous matrix, which the server's `move` takes."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = quaternion_to_matrix(pose.quaternion), pose.position
    return matrix


def pose_from_matrix(matrix: np.ndarray) -> Pose:
    """(4, 4) homogeneous matrix -> pose."""
    return Pose(matrix[:3, 3], matrix_to_quaternion(matrix[:3, :3]))


def action_to_bridge(delta: np.ndarray) -> np.ndarray:
    """Our action (`types.ACTION_SIZE`) -> the server's `step_action`: rotation as Euler angles, the rest unchanged."""
    return np.concatenate([delta[:3], rotvec_to_euler_sxyz(delta[3:6]), [delta[6]]])


def action_from_bridge(action: np.ndarray) -> np.ndarray:
    """The server's `step_action` -> our action (`types.ACTION_SIZE`)."""
    return np.concatenate([action[:3], euler_sxyz_to_rotvec(action[3:6]), [action[6]]])
