"""The MuJoCo twin driven as the robot's server drives the arm: joint goals with time profiles, a gripper motor.

It reproduces what the twin's own control steps do not have: servos that keep the last motion time, joint goals rounded
to a milliradian, an inverse kinematics that fails without an error.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.mujoco import scene
from vlm2vla_sim.envs.mujoco.backend import MujocoBackend
from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.types import Pose, SceneState

TICK = 0.01
"""[s] of simulated time between two updates of the joint goals and the gripper."""
PWM_FULL_ERROR = 1 / 300
"""[m] of finger error at which the gripper motor gets full power. custom_gripper_controller.py"""
FULL_FORCE = 33.0
"""[N] at full power, chosen so that the 0.3 of it that a soft hold uses are the 10 N with which the twin grasps."""
SECOND, SIDE = "second", Camera((0.3, -0.6, 0.4), look_at=(0.3, 0.0, 0.05))
"""Name and place of a second camera."""


class ServoTwin(MujocoBackend):
    """The twin of one scene; time passes only in `run`."""

    def __init__(
        self, task: Task, *, image_size: tuple[int, int] = (480, 640), seed: int = 0, second_camera: bool = False
    ) -> None:
        super().__init__(task, image_size=image_size, cameras={SECOND: SIDE} if second_camera else None)
        self.second_camera = SECOND if second_camera else ""
        self.robot = task.arm
        self._server = task.arm.bridge_server
        self._rng = np.random.default_rng(seed)
        # Sensor noise, cropped at random: a live camera never delivers the same bytes twice.
        self._size = image_size
        self._noise = self._rng.integers(0, 3, (image_size[0] + 64, image_size[1] + 64, 1), dtype=np.uint8)
        self.blocked = False
        """Whether the arm is blocked: goals are accepted and nothing moves."""
        self.jammed: float | None = None
        """Gripper reading at which the fingers are stuck, whatever is commanded; None if they move."""
        self.dark = False
        """Whether the camera sees nothing but its own noise."""
        self.push = np.zeros(3)
        """(3,) [N] what a hand pushes the gripper with, base frame."""
        self.place(task.layouts[0])

    def place(self, layout: Layout) -> None:
        """Objects as in `layout`, the arm at its home."""
        self.reset(layout, self._rng)
        self._from = self._goal = np.array(self._data.ctrl[self._arm_ctrl])
        self._seconds, self._ramp, self._elapsed = 0.25, 0.1, 1.0
        self._finger_goal = self._server.finger_high

    # Commands; each returns at once.

    def set_profile(self, seconds: float, ramp: float) -> None:
        """From now on a joint goal is reached in `seconds`: `ramp` of it accelerating, as much decelerating."""
        self._seconds, self._ramp = max(seconds, 1e-3), min(max(ramp, 0.0), seconds / 2)

    def go_to_joints(self, angles: np.ndarray) -> None:
        """Set joint goals [rad], truncated to whole milliradians as the server does."""
        self._from, self._elapsed = self._setpoint(), 0.0
        self._goal = np.trunc(np.asarray(angles) * 1000) / 1000

    def go_to_pose(self, pose: Pose) -> bool:
        """Set joint goals that bring the gripper to `pose`; False, without effect, when none are found."""
        angles = self._solver.solve(pose, self._data.qpos[self._arm_qpos])
        if angles is None:
            return False
        self.go_to_joints(angles)
        return True

    def solve(self, pose: Pose, start: np.ndarray) -> np.ndarray | None:
        """(n,) [rad] joint angles that bring the gripper to `pose`, searched from `start`; None if none were found."""
        return self._solver.solve(pose, start)

    def forward(self, angles: np.ndarray) -> Pose:
        """Where the gripper is at joint angles (n,) [rad], base frame."""
        position, rotation = self._solver.forward(angles)
        return Pose(position.copy(), frames.matrix_to_quaternion(rotation))

    def set_gripper(self, reading: float) -> None:
        """Set the goal of the fingers, as a gripper reading of the server."""
        self._finger_goal = self._finger(float(np.clip(reading, 0.0, 1.0)))

    def run(self, seconds: float) -> None:
        """Simulate `seconds`."""
        self._data.xfrc_applied[self._model.site_bodyid[self._site], :3] = self.push
        for _ in range(max(round(seconds / TICK), 0)):
            if not self.blocked:
                self._elapsed += TICK
                self._data.ctrl[self._arm_ctrl] = self._setpoint()
            fingers = self._data.qpos[self._finger_qpos]
            goal = self._finger_goal if self.jammed is None else self._finger(self.jammed)
            power = np.clip((goal - fingers) / PWM_FULL_ERROR, -1, 1)
            self._data.ctrl[self._finger_ctrl] = fingers + power * FULL_FORCE / self.robot.gripper.stiffness
            mujoco.mj_step(self._model, self._data, nstep=round(TICK / self._model.opt.timestep))  # pyright: ignore[reportAttributeAccessIssue]
        mujoco.mj_forward(self._model, self._data)  # pyright: ignore[reportAttributeAccessIssue]

    # Observation.

    def tcp(self) -> Pose:
        """The gripper as measured."""
        return self._tcp()

    def joints(self) -> np.ndarray:
        """(n,) [rad] the arm's joints as measured."""
        return np.array(self._data.qpos[self._arm_qpos])

    def finger(self) -> float:
        """[m] mean joint position of the fingers."""
        return float(self._data.qpos[self._finger_qpos].mean())

    def state(self) -> np.ndarray:
        """(7,) float64, the server's "state"."""
        return np.concatenate([self.robot.pose_to_numbers(self._tcp()), [self.robot.finger_to_bridge(self.finger())]])

    def render(self, camera: str = scene.PRIMARY_CAMERA) -> np.ndarray:
        """(H, W, 3) uint8 RGB, with a little noise."""
        image = self.renderer().render(self._data, camera)
        row, column = self._rng.integers(0, 64, 2)
        height, width = self._size
        np.clip(image, 0, 0 if self.dark else 253, out=image)
        image += self._noise[row : row + height, column : column + width]
        # Two crops of the noise may be equal; random low bits in the corner make the bytes differ.
        image[:1, :8] ^= self._rng.integers(0, 4, (1, 8, 3), dtype=np.uint8)
        return image

    def scene(self) -> SceneState:
        """Ground truth."""
        state = self.status().scene
        assert state is not None
        return state

    def _finger(self, reading: float) -> float:
        """[m] the joint position of a gripper reading."""
        return self._server.finger_low + reading * (self._server.finger_high - self._server.finger_low)

    def _setpoint(self) -> np.ndarray:
        return self._from + profile(self._elapsed / self._seconds, self._ramp / self._seconds) * (
            self._goal - self._from
        )


def profile(progress: float, ramp: float) -> float:
    """Share of the distance covered after the share `progress` of the time, with ramps of the share `ramp` each."""
    progress = min(max(progress, 0.0), 1.0)
    speed = 1.0 / (1.0 - ramp)
    if progress < ramp:
        return 0.5 * speed * progress**2 / ramp
    if progress > 1.0 - ramp:
        return 1.0 - 0.5 * speed * (1.0 - progress) ** 2 / max(ramp, 1e-9)
    return speed * (progress - ramp / 2)
