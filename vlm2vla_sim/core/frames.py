"""Where the environments convert conventions: base frames, gripper ranges, the controller's rule, robots' actions.

Inside the package there is one convention (see `types.ACTION_SIZE` and `docs/architecture.md`). SIMPLER, ManiSkill 3
and the Bridge robot each differ from it in one or two numbers; converted anywhere else, such a difference is found late
and as a lower score.

The rotations themselves are in `rotations.py`, which policies may use as well; their names can be had here too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.rotations import (  # noqa: F401 - also had from here
    BRIDGE_GRIPPER_DOWN,
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

FINGER_CLOSED = 0.015
FINGER_OPEN = 0.037
"""Finger joint limits [m]. wx250s.urdf, left_finger. haosulab/ManiSkill-WidowX250S@6a12bb7"""


# Base frames ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaseFrame:
    """Where the robot's base stands in SIMPLER's world; turned by 180 degrees about z, so base +x is world -x."""

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


# Gripper and state ----------------------------------------------------------------------------------------------------


def opening_from_finger(finger: float) -> float:
    """Finger joint position [m] -> opening, 0 closed .. 1 open."""
    return float(np.clip((finger - FINGER_CLOSED) / (FINGER_OPEN - FINGER_CLOSED), 0.0, 1.0))


def gripper_to_simpler(opening: float) -> float:
    """0 closed .. 1 open -> -1 closed, +1 open."""
    # simpler-env/SimplerEnv@4ab7178 octo_model.py:234-237
    return 1.0 if opening > 0.5 else -1.0


def gripper_from_simpler(value: float) -> float:
    """-1 closed .. +1 open -> 0 closed .. 1 open."""
    return 0.5 * (float(np.clip(value, -1.0, 1.0)) + 1.0)


def agent_pos(tcp: Pose, opening: float) -> np.ndarray:
    """Bridge's proprioception: (7,) float32 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], opening 0..1."""
    euler = matrix_to_euler_sxyz(quaternion_to_matrix(tcp.quaternion) @ BRIDGE_GRIPPER_DOWN.T)
    return np.concatenate([tcp.position, euler, [opening]]).astype(np.float32)


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
# rail-berkeley/bridge_data_robot@a902e5b: transformation_utils.py:142-158, custom_gripper_controller.py

BRIDGE_FINGER_LOW, BRIDGE_FINGER_HIGH = 0.010, 0.035
"""[m] what the Bridge robot calls gripper 0 and 1. The fingers stop at 0.015, so that fully closed reads 0.20."""


def opening_from_bridge(reading: float) -> float:
    """The Bridge robot's gripper reading (0.20 closed .. 1.08 open) -> opening, 0 closed .. 1 open."""
    return opening_from_finger(BRIDGE_FINGER_LOW + reading * (BRIDGE_FINGER_HIGH - BRIDGE_FINGER_LOW))


def finger_to_bridge(finger: float) -> float:
    """Finger joint position [m] -> the Bridge robot's gripper reading."""
    return (finger - BRIDGE_FINGER_LOW) / (BRIDGE_FINGER_HIGH - BRIDGE_FINGER_LOW)


def pose_from_bridge(state: np.ndarray) -> Pose:
    """Its state x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down] -> the gripper's pose."""
    rotation = euler_sxyz_to_matrix(np.asarray(state[3:6], dtype=np.float64)) @ BRIDGE_GRIPPER_DOWN
    return Pose(np.asarray(state[:3], dtype=np.float64), matrix_to_quaternion(rotation))


def pose_to_bridge(pose: Pose) -> np.ndarray:
    """A gripper pose -> (6,) float64 x, y, z [m], roll, pitch, yaw [rad, 0 = gripper down], as in its state."""
    euler = matrix_to_euler_sxyz(quaternion_to_matrix(pose.quaternion) @ BRIDGE_GRIPPER_DOWN.T)
    return np.concatenate([pose.position, euler])


def pose_to_matrix(pose: Pose) -> np.ndarray:
    """A gripper pose -> (4, 4) float64 homogeneous matrix, which its `move` takes in place of Euler angles."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = quaternion_to_matrix(pose.quaternion), pose.position
    return matrix


def pose_from_matrix(matrix: np.ndarray) -> Pose:
    """(4, 4) homogeneous matrix -> pose."""
    return Pose(matrix[:3, 3], matrix_to_quaternion(matrix[:3, :3]))


def action_to_bridge(delta: np.ndarray) -> np.ndarray:
    """Our action (`types.ACTION_SIZE`) -> its `step_action`: the rotation vector as Euler angles, the rest as it is."""
    return np.concatenate([delta[:3], rotvec_to_euler_sxyz(delta[3:6]), [delta[6]]])


def action_from_bridge(action: np.ndarray) -> np.ndarray:
    """Its `step_action` -> our action."""
    return np.concatenate([action[:3], euler_sxyz_to_rotvec(action[3:6]), [action[6]]])


def picture_from_bridge(decoded: np.ndarray) -> np.ndarray:
    """Its JPEG as a decoder that keeps the standard's colours hands it out, (H, W, 3) RGB -> the true RGB.

    The server hands RGB to an encoder that takes BGR, so that in the file red and blue are exchanged.
    robot_base_env.py:392
    """
    return np.ascontiguousarray(decoded[..., ::-1])
