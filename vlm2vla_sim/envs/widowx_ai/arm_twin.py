"""The arm of the mock controller: the MuJoCo twin, its joints driven by the vendor's driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import mujoco
import numpy as np
from trossen_arm_sim.protocol import ErrorState, JointOutput, Mode

from vlm2vla_sim.envs.mujoco import scene
from vlm2vla_sim.envs.mujoco.backend import MujocoBackend
from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.types import SceneState

CLEAR = 0.09
"""[m] height of the tool above which objects may be placed below it."""
GRIP_GAIN, GRIP_MAX, GRIP_DRAG = 6000.0, 15.0, 60.0
"""[N/m], [N], [N s/m] of each finger's motor; ours."""
BEHIND = 0.1
"""[s] of simulated time that a machine too slow for it falls behind before the rest is left out."""
POSITION_TOLERANCE = 0.01
"""[rad, m] beyond a joint's limit that the controller takes."""


class ArmTwin(MujocoBackend):
    """The twin of one scene, its joints driven by the controller. Simulated time follows the wall clock."""

    def __init__(self, task: Task, *, image_size: tuple[int, int] = (480, 640), speed: float = 1.0) -> None:
        """speed: simulated seconds per second."""
        if not 0 < speed <= 20:
            raise SettingError(f"speed is {speed}; expected more than 0 and at most 20.")
        super().__init__(task, image_size=image_size)
        self.speed = speed
        self.lock = threading.RLock()
        self._rng = np.random.default_rng(0)
        self.on_error: Callable[[ErrorState, str], None] = lambda state, reason: None
        self.blocked = False
        """Whether the arm is blocked: goals are accepted and nothing moves."""
        self.jammed: float | None = None
        """[m] where the fingers are stuck, whatever is commanded; None if they move."""
        # A motor that is stiff and has a limit, which the controller's is: the twin's own servo is soft and has none.
        fingers = self._finger_ctrl
        self._model.actuator_gainprm[fingers, 0], self._model.actuator_biasprm[fingers, 1] = GRIP_GAIN, -GRIP_GAIN
        self._model.actuator_forcelimited[fingers], self._model.actuator_forcerange[fingers] = 1, (-GRIP_MAX, GRIP_MAX)
        self._model.dof_damping[[int(self._model.joint(name).dofadr[0]) for name in task.arm.gripper.joints]] = (
            GRIP_DRAG
        )
        self.last_goal = np.zeros(len(task.arm.arm_joints) + 1)
        """(n + 1,) [rad; m] the goals that were last sent, a finger's last."""
        self._shown = mujoco.MjData(self._model)  # pyright: ignore[reportAttributeAccessIssue]
        self._joints = [*self._arm_qpos, self._finger_qpos[0]]
        self._limits = [tuple(self._model.joint(name).range) for name in task.arm.arm_joints]
        self._limits.append((task.arm.gripper.closed, task.arm.gripper.open))
        self._pending: Layout | None = task.layouts[0]
        self._last = time.monotonic()
        self._place_pending()

    # What `TrossenArmSimServer` asks of its simulation.

    @property
    def num_joints(self) -> int:
        """Arm joints and the gripper."""
        return len(self._joints)

    @property
    def joint_limits(self) -> list[tuple[float, float]]:
        """(low, high) of every joint [rad], and of a finger [m]."""
        return self._limits

    def apply_joint_commands(self, modes: list[Mode], positions: list[float]) -> None:
        """Set the goals of the joints in position mode; a goal that is not finite or beyond its limit is an error."""
        if not np.isfinite(positions).all():
            self.on_error(ErrorState.ROBOT_INPUT_INFINITE, f"joint goals {positions}")
            return
        for number, (mode, goal, (low, high)) in enumerate(zip(modes, positions, self._limits, strict=True)):
            if mode == Mode.POSITION and not low - POSITION_TOLERANCE <= goal <= high + POSITION_TOLERANCE:
                self.on_error(ErrorState.JOINT_LIMIT_EXCEEDED, f"joint {number} was sent to {goal:.3f}")
                return
        with self.lock:
            self._advance()
            if Mode.POSITION not in modes:
                return
            self.last_goal = np.array(positions)
            if not self.blocked:
                self._data.ctrl[self._arm_ctrl] = positions[:-1]
            self._data.ctrl[self._finger_ctrl] = positions[-1] if self.jammed is None else self.jammed

    def read_joint_outputs(self) -> list[JointOutput]:
        """Positions, velocities and efforts, the gripper's last."""
        with self.lock:
            self._advance()
            positions = self._data.qpos[self._joints]
            efforts = [*self._data.actuator_force[self._arm_ctrl], self._data.actuator_force[self._finger_ctrl].sum()]
        return [JointOutput(position=float(p), effort=float(e)) for p, e in zip(positions, efforts, strict=True)]

    # What the ground truth's channel asks.

    def place(self, layout: Layout) -> None:
        """Objects as in `layout`, the arm where it is; once it is out of the way, if it is low."""
        with self.lock:
            self._pending = layout
            self._place_pending()

    def scene(self) -> SceneState:
        """Ground truth."""
        with self.lock:
            mujoco.mj_forward(self._model, self._data)  # pyright: ignore[reportAttributeAccessIssue]
            state = self.status().scene
        assert state is not None
        return state

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of SIMPLER's camera; the arm goes on moving meanwhile."""
        with self.lock:
            mujoco.mj_copyData(self._shown, self._model, self._data)  # pyright: ignore[reportAttributeAccessIssue]
        image = self.renderer().render(self._shown, scene.PRIMARY_CAMERA)
        # Random low bits in the corner: a live camera never delivers the same bytes twice.
        image[:1, :8] ^= self._rng.integers(0, 4, (1, 8, 3), dtype=np.uint8)
        return image

    # Parts.

    def _advance(self) -> None:
        """Bring the simulation up to now."""
        step = self._model.opt.timestep / self.speed
        due = time.monotonic() - self._last
        if due > BEHIND / self.speed:
            self._last += due - BEHIND / self.speed
            due = BEHIND / self.speed
        steps = int(due / step)
        if steps:
            self._last += steps * step
            mujoco.mj_step(self._model, self._data, nstep=steps)  # pyright: ignore[reportAttributeAccessIssue]
        if self._pending is not None:
            self._place_pending()

    def _place_pending(self) -> None:
        robot = [*self._arm_qpos, *self._finger_qpos]
        servos = [*self._arm_ctrl, *self._finger_ctrl]
        first = self._data.time == 0
        if self._pending is None or (not first and self._tcp().position[2] < CLEAR):
            return
        positions, goals = self._data.qpos[robot].copy(), self._data.ctrl[servos].copy()
        self.reset(self._pending, np.random.default_rng(0))
        self._pending = None
        if not first:
            self._data.qpos[robot], self._data.ctrl[servos] = positions, goals
            mujoco.mj_forward(self._model, self._data)  # pyright: ignore[reportAttributeAccessIssue]
        self._last = time.monotonic()
