"""The arm of the mock server as Interbotix's Python interface moves it: a target that is kept, joint goals, limits.

An inverse kinematics that finds nothing leaves everything as it was and says so to nobody. A target closer than a
millimetre and a milliradian to the joint goals moves nothing, but is kept.

Interbotix/interbotix_ros_toolboxes@af96d28 interbotix_xs_modules/arm.py, set_ee_pose_matrix, check_joint_limits
"""

from __future__ import annotations

import math

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.manipulator_gym.conventions import advance, pose_from_absolute, pose_to_absolute
from vlm2vla_sim.envs.robot_link.mock.servo_twin import ServoTwin
from vlm2vla_sim.types import Pose

TOLERANCE = 0.001
"""[m, rad] of the inverse kinematics."""
MAX_SPEED = math.pi
"""[rad/s] of every joint. wx250s, velocity limit"""


class InterbotixArm:
    """Joint goals and the target pose; time passes elsewhere."""

    def __init__(self, twin: ServoTwin) -> None:
        self._twin = twin
        limits = {link.joint: link.limits for link in twin.robot.links if link.joint}
        self._low, self._high = np.array([limits[name] for name in twin.robot.arm_joints]).T
        self.moving_time = 2.0
        self.capture()

    def capture(self) -> None:
        """Take the measured joints for the goals, as at the start of the server and before every `move_eef`."""
        self.goals = self._twin.joints()
        self.target = pose_to_absolute(self._twin.tcp())

    def move_by(self, change: np.ndarray, *, seconds: float) -> bool:
        """Add `change` (6,) to the target's x, y, z, roll, pitch, yaw; False, without effect, out of reach."""
        return self._go(advance(self.target, change), seconds)

    def move_to(self, numbers: np.ndarray, *, seconds: float) -> bool:
        """Go to the absolute x, y, z, roll, pitch, yaw of `numbers` (6,)."""
        self.capture()
        self.moving_time = seconds
        return self._go(np.asarray(numbers, dtype=np.float64), seconds)

    def _go(self, numbers: np.ndarray, seconds: float) -> bool:
        pose = pose_from_absolute(numbers)
        goals = self.goals if self._reached(pose) else self._twin.solve(pose, self.goals)
        if goals is None:
            return False
        goals = (goals + math.pi) % (2 * math.pi) - math.pi
        # The speed is judged with the time of the last motion, as there.
        if (np.abs(goals - self.goals) / self.moving_time > MAX_SPEED).any():
            return False
        if (goals < self._low).any() or (goals > self._high).any():
            return False
        self.moving_time = seconds
        self.goals, self.target = goals, numbers
        self._twin.set_profile(seconds, seconds / 2)
        self._twin.go_to_joints(goals)
        return True

    def _reached(self, pose: Pose) -> bool:
        now = self._twin.forward(self.goals)
        turn = frames.quaternion_to_matrix(pose.quaternion) @ frames.quaternion_to_matrix(now.quaternion).T
        far = np.linalg.norm(pose.position - now.position), np.linalg.norm(frames.matrix_to_rotvec(turn))
        return max(map(float, far)) <= TOLERANCE
