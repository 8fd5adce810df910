"""The MuJoCo twin driven as the robot's server drives the arm: joint goals with time profiles, a gripper with power.

The twin's own control steps would hide what makes the real arm hard to trust: servos that take the time they were last
told, joint goals cut to a milliradian, an inverse kinematics that gives up without a word.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.mujoco import arm, scene
from vlm2vla_sim.envs.mujoco.backend import MujocoBackend
from vlm2vla_sim.envs.mujoco.renderer import Picture
from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.types import Pose, SceneState

NEUTRAL = np.array([-0.1319, -0.7624, 0.4449, -0.0199, 1.7564, -0.1595])
"""[rad] rail-berkeley/bridge_data_robot@a902e5b widowx_controller.py, NEUTRAL_JOINTS"""
TICK = 0.01
"""[s] of simulated time between two looks at the profile and the gripper."""
PWM_FULL_ERROR = 1 / 300
"""[m] of finger error at which the gripper motor gets full power. custom_gripper_controller.py"""
FULL_FORCE = 33.0
"""[N] at full power, ours: then the 0.3 of it that a soft hold asks for are the 10 N with which the twin grasps."""


class ServoTwin(MujocoBackend):
    """One arm and its table; time passes only in `run`."""

    def __init__(self, task: Task, *, image_size: tuple[int, int] = (480, 640), seed: int = 0) -> None:
        super().__init__(task, image_size=image_size)
        self._rng = np.random.default_rng(seed)
        # Sensor noise from a stock of it: a live camera never shows the same bytes twice.
        self._size = image_size
        self._noise = self._rng.integers(0, 3, (image_size[0] + 64, image_size[1] + 64, 1), dtype=np.uint8)
        self.blocked = False
        """Whether something holds the arm: goals are taken and nothing moves."""
        self.place(task.layouts[0])

    def place(self, layout: Layout) -> None:
        """Objects to where `layout` says, the arm to SIMPLER's home."""
        self.reset(layout, self._rng)
        self._from = self._goal = np.array(self._data.ctrl[self._arm_ctrl])
        self._seconds, self._ramp, self._elapsed = 0.25, 0.1, 1.0
        self._finger_goal = frames.BRIDGE_FINGER_HIGH

    # Commands; each returns at once.

    def set_profile(self, seconds: float, ramp: float) -> None:
        """From now on a joint goal is reached in `seconds`, of which `ramp` to speed up and as much to slow down."""
        self._seconds, self._ramp = max(seconds, 1e-3), min(max(ramp, 0.0), seconds / 2)

    def go_to_joints(self, angles: np.ndarray) -> None:
        """Joint goals [rad], cut to whole milliradians as the server does."""
        self._from, self._elapsed = self._setpoint(), 0.0
        self._goal = np.trunc(np.asarray(angles) * 1000) / 1000

    def go_to_pose(self, pose: Pose) -> bool:
        """Joint goals that bring the gripper to `pose`; False, and nothing happens, when none are found."""
        angles = self._solver.solve(pose, self._data.qpos[self._arm_qpos])
        if angles is None:
            return False
        self.go_to_joints(angles)
        return True

    def set_gripper(self, reading: float) -> None:
        """Where the fingers are to go, in the Bridge robot's unit."""
        low, high = frames.BRIDGE_FINGER_LOW, frames.BRIDGE_FINGER_HIGH
        self._finger_goal = low + float(np.clip(reading, 0.0, 1.0)) * (high - low)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(max(round(seconds / TICK), 0)):
            if not self.blocked:
                self._elapsed += TICK
                self._data.ctrl[self._arm_ctrl] = self._setpoint()
            fingers = self._data.qpos[self._finger_qpos]
            power = np.clip((self._finger_goal - fingers) / PWM_FULL_ERROR, -1, 1)
            self._data.ctrl[self._finger_ctrl] = fingers + power * FULL_FORCE / arm.FINGER_STIFFNESS
            mujoco.mj_step(self._model, self._data, nstep=round(TICK / self._model.opt.timestep))  # pyright: ignore[reportAttributeAccessIssue]
        mujoco.mj_forward(self._model, self._data)  # pyright: ignore[reportAttributeAccessIssue]

    # Looking.

    def tcp(self) -> Pose:
        """The gripper as measured."""
        return self._tcp()

    def state(self) -> np.ndarray:
        """(7,) float64, the server's "state"."""
        finger = float(self._data.qpos[self._finger_qpos].mean())
        return np.concatenate([frames.pose_to_bridge(self._tcp()), [frames.finger_to_bridge(finger)]])

    def shoot(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, with a little noise."""
        if self._picture is None:
            self._picture = Picture(self._model, *self._size)
        picture = self._picture.draw(self._data, scene.PRIMARY_CAMERA)
        row, column = self._rng.integers(0, 64, 2)
        height, width = self._size
        np.clip(picture, 0, 253, out=picture)
        picture += self._noise[row : row + height, column : column + width]
        # Two crops of the same noise may agree; a running number in the corner's low bits cannot.
        picture[:1, :8] ^= self._rng.integers(0, 4, (1, 8, 3), dtype=np.uint8)
        return picture

    def scene(self) -> SceneState:
        """Ground truth, for the state channel."""
        state = self.status().scene
        assert state is not None
        return state

    def _setpoint(self) -> np.ndarray:
        return self._from + profile(self._elapsed / self._seconds, self._ramp / self._seconds) * (
            self._goal - self._from
        )


def profile(progress: float, ramp: float) -> float:
    """Share of the way made after the share `progress` of the time, speeding up and slowing down for `ramp` each."""
    progress = min(max(progress, 0.0), 1.0)
    speed = 1.0 / (1.0 - ramp)
    if progress < ramp:
        return 0.5 * speed * progress**2 / ramp
    if progress > 1.0 - ramp:
        return 1.0 - 0.5 * speed * (1.0 - progress) ** 2 / max(ramp, 1e-9)
    return speed * (progress - ramp / 2)
