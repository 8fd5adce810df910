"""Conventions of the manipulator_gym server: absolute roll, pitch and yaw, and how its gripper reads.

The server adds the six numbers of a step to those of its own target, one by one. A gripper that points down has a pitch
of 90 degrees, where roll and yaw turn about the same axis: there a small turn may need a large change of both. What is
sent is therefore the difference of two absolute poses, and never a rotation vector or small Euler angles.

rail-berkeley/manipulator_gym@c547d41 interfaces/viperx.py, widowx.py, widowx_ros2.py, utils/utils.py.
"""

from __future__ import annotations

import math

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.manipulator_gym.protocol import Interface
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.types import Pose

UPRIGHT = 1e-6
"""cos(pitch) below which the server takes yaw for 0. utils/utils.py:12"""
SNAP = 1e-3
"""[rad] from straight down or up within which a target is taken for it; the server's inverse kinematics stops there."""


def rotation_to_rpy(rotation: np.ndarray) -> np.ndarray:
    """(3, 3) -> (3,) roll, pitch, yaw [rad, fixed axes], by the server's rule for a pitch of 90 degrees."""
    if math.hypot(rotation[0, 0], rotation[1, 0]) >= UPRIGHT:
        return frames.matrix_to_euler_sxyz(rotation)
    pitch = math.atan2(-rotation[2, 0], math.hypot(rotation[0, 0], rotation[1, 0]))
    return np.array([math.atan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0])


def pose_to_absolute(pose: Pose) -> np.ndarray:
    """A gripper pose, base frame -> (6,) float64 x, y, z [m], roll, pitch, yaw [rad] as "eef_pose" and `move_eef`."""
    return np.concatenate([pose.position, rotation_to_rpy(frames.quaternion_to_matrix(pose.quaternion))])


def pose_from_absolute(numbers: np.ndarray) -> Pose:
    """The inverse of `pose_to_absolute`."""
    rotation = frames.euler_sxyz_to_matrix(np.asarray(numbers[3:6], dtype=np.float64))
    return Pose(np.asarray(numbers[:3], dtype=np.float64), frames.matrix_to_quaternion(rotation))


def change_to(numbers: np.ndarray, pose: Pose) -> np.ndarray:
    """(6,) the smallest change that the server must add to its target `numbers` (6,) for that to be `pose`."""
    now, wanted = numbers[3:6], rotation_to_rpy(frames.quaternion_to_matrix(pose.quaternion))
    quarter = math.copysign(math.pi / 2, wanted[1])
    if abs(wanted[1] - quarter) < SNAP:
        # Straight down or up: only roll minus (plus) yaw counts, so that half of its change goes to each.
        sign = math.copysign(1.0, quarter)
        turn = _wrap((wanted[0] - sign * wanted[2]) - (now[0] - sign * now[2]))
        change = np.array([turn / 2, quarter - now[1], -sign * turn / 2])
    else:
        # Every rotation has two triples of angles; the other one goes over the pole.
        other = np.array([wanted[0] + math.pi, math.copysign(math.pi, wanted[1]) - wanted[1], wanted[2] + math.pi])
        change = min((_wrap(wanted - now), _wrap(other - now)), key=lambda angles: float(np.abs(angles).max()))
    return np.concatenate([pose.position - numbers[:3], change])


def advance(numbers: np.ndarray, change: np.ndarray) -> np.ndarray:
    """(6,) the numbers of the server's target after a step by `change` (6,): added one by one, then read back."""
    after = numbers + change
    return np.concatenate([after[:3], rotation_to_rpy(frames.euler_sxyz_to_matrix(after[3:6]))])


def finger_from_reading(robot: Robot, interface: Interface, reading: float) -> float:
    """The reading "gripper_state" -> finger joint position [m]."""
    numbers = robot.interbotix_gripper
    if interface.gripper_reading == "finger":
        return numbers.finger_low + reading * (numbers.finger_high - numbers.finger_low)
    # Interbotix/interbotix_xs_driver@c9ce74e xs_driver.cpp, convert_angular_position_to_linear
    return numbers.horn * math.sin(reading) + math.sqrt(numbers.rod**2 - (numbers.horn * math.cos(reading)) ** 2)


def reading_from_finger(robot: Robot, interface: Interface, finger: float) -> float:
    """Finger joint position [m] -> the reading "gripper_state"."""
    numbers = robot.interbotix_gripper
    if interface.gripper_reading == "finger":
        return (finger - numbers.finger_low) / (numbers.finger_high - numbers.finger_low)
    return math.asin((finger**2 + numbers.horn**2 - numbers.rod**2) / (2 * numbers.horn * finger))


def _wrap(angles: np.ndarray | float) -> np.ndarray:
    return (np.asarray(angles) + math.pi) % (2 * math.pi) - math.pi
