"""The stand-in's robot: what the true server's methods do to the arm, with the MuJoCo twin for an arm.

It does what the true one does and not what it should: SUCCESS without a motion, a target that runs ahead, servo times
that stay behind, a hard reset after whatever goes wrong.

rail-berkeley/bridge_data_robot@a902e5b widowx_env_service.py, robot_base_env.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.bridge.mock.servo_twin import NEUTRAL, ServoTwin
from vlm2vla_sim.envs.bridge.protocol import MAX_STEP, MAX_TURN, ServerStatus
from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.types import Pose

METHODS = ("init", "move", "gripper", "reset", "step_action", "reboot_motor")
SECONDS = {"init": 7.0, "neutral": 3.0, "open": 1.0, "back": 1.5, "start": 1.5, "settle": 0.2, "step": 0.1, "obs": 0.08}
"""[s] that the true server takes: an init about ten in all, a reset 4.2."""
STEP_SECONDS = 0.2
BLOCKING_RAMP, START_SECONDS, START_RAMP = 0.09, 0.25, 0.10
"""[s] servo profiles: 0.2/0.09 when a step blocks, 0.25/0.10 after a reset."""


class Time(Protocol):
    """How the stand-in's time passes."""

    def spend(self, seconds: float) -> None:
        """Something takes that long: let the arm move meanwhile."""
        ...

    def step(self, seconds: float) -> None:
        """A control step of that length has been sent."""
        ...

    def catch_up(self) -> None:
        """Nothing was asked for a moment."""
        ...


class Lockstep:
    """Simulated time passes only through what is asked for, and takes no real time: the same run on any machine."""

    def __init__(self, twin: ServoTwin) -> None:
        self._twin = twin

    def spend(self, seconds: float) -> None:
        """Run the twin for `seconds`."""
        self._twin.run(seconds)

    def step(self, seconds: float) -> None:
        """A step is 0.2 s, whenever the next one comes."""
        self._twin.run(seconds)

    def catch_up(self) -> None:
        """Nothing: nobody asked."""


class WallClock:
    """Simulated time follows the clock on the wall, `speed` times as fast."""

    def __init__(self, twin: ServoTwin, speed: float = 1.0) -> None:
        if not 0 < speed <= 100:
            raise SettingError(f"speed is {speed}; expected more than 0 and at most 100.")
        self._twin, self._speed = twin, speed
        self._last = time.monotonic()

    def spend(self, seconds: float) -> None:
        """Wait, and let the arm move."""
        end = time.monotonic() + seconds / self._speed
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))
            self.catch_up()

    def step(self, seconds: float) -> None:
        """The true server answers before the arm has moved."""
        self.spend(SECONDS["step"])

    def catch_up(self) -> None:
        """Bring the twin up to now, in whole ticks."""
        due = (time.monotonic() - self._last) * self._speed
        ticks = min(int(due / 0.01), 100)
        if ticks:
            self._last += ticks * 0.01 / self._speed
            self._twin.run(ticks * 0.01)
            # Never chase a clock that the machine cannot keep up with.
            self._last = max(self._last, time.monotonic() - 1.0)


@dataclass(frozen=True, eq=False)
class Act:
    """An act as it was carried out, for tests to look at."""

    key: str
    numbers: np.ndarray
    """What it commanded: the step, the pose, the start; empty for the others."""
    target: np.ndarray
    """(3,) [m] where the controller's target is afterwards."""
    raw: bytes
    """The frame that asked for it."""


class MockRobot:
    """The server's object behind the wire: everything but the socket."""

    def __init__(self, twin: ServoTwin, passing: Time) -> None:
        self._twin, self._time = twin, passing
        self._env_params: dict[str, Any] | None = None
        self._image_size = 256
        self._low, self._high = np.full(3, -1.0), np.full(3, 1.0)
        self._target = twin.tcp()
        self.acts: list[Act] = []
        self.hard_resets = 0
        self.obs_seconds = SECONDS["obs"]

    @property
    def initialised(self) -> bool:
        """Whether an init has been carried out."""
        return self._env_params is not None

    def forget(self) -> None:
        """The server was started anew."""
        self._env_params = None

    def observe(self) -> dict[str, Any]:
        """The answer to "obs"."""
        if self._env_params is None:
            noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
            return {"image": noise, "state": {}, "full_image": noise}
        if isinstance(self._time, WallClock):
            self._time.spend(self.obs_seconds)
        picture = self._twin.shoot()
        return {
            "image": float_image(picture, self._image_size),
            "state": self._twin.state(),
            "full_image": jpeg(picture),
        }

    def act(self, key: str, payload: Any, raw: bytes) -> ServerStatus:
        """Carry out one act; whatever it raises brings on a hard reset, as in the true server."""
        methods: dict[str, Callable[[Any], np.ndarray]] = {
            "init": self._init,
            "reset": self._reset,
            "move": self._move,
            "gripper": self._gripper,
            "step_action": self._step,
            "reboot_motor": lambda _: np.zeros(0),
        }
        if key not in methods:
            return ServerStatus.EXECUTION_FAILURE
        if key != "init" and not self.initialised:
            return ServerStatus.NOT_INITIALIZED
        numbers = methods[key](payload)
        self.acts.append(Act(key, np.array(numbers, dtype=float), self._target.position.copy(), raw))
        return ServerStatus.SUCCESS

    def hard_reset(self) -> None:
        """A new environment with the old parameters: the gripper opens, the arm drives to neutral."""
        self.hard_resets += 1
        if self._env_params is not None:
            self._build()

    # Methods.

    def _init(self, payload: dict[str, Any]) -> np.ndarray:
        params = payload["env_params"]
        start = np.array(params["start_state"], dtype=float)
        if params == self._env_params:
            self._reset({})  # and image_size is ignored
            return start
        self._env_params, self._image_size = params, int(payload["image_size"])
        low, high = params["override_workspace_boundaries"]
        self._low, self._high = np.array(low[:3], dtype=float), np.array(high[:3], dtype=float)
        self._time.spend(SECONDS["init"])
        self._build()
        return start

    def _build(self) -> None:
        self._twin.set_gripper(1.0)
        self._twin.set_profile(SECONDS["neutral"], 1.0)
        self._twin.go_to_joints(NEUTRAL)
        self._time.spend(SECONDS["neutral"] + 0.3)
        self._target = self._twin.tcp()

    def _reset(self, _: Any) -> np.ndarray:
        assert self._env_params is not None
        self._twin.set_gripper(1.0)
        self._time.spend(SECONDS["open"])
        self._twin.set_profile(SECONDS["back"], 0.5)
        self._twin.go_to_joints(NEUTRAL)
        self._time.spend(SECONDS["back"])
        start = np.array(self._env_params["start_state"], dtype=float)
        self._twin.set_profile(SECONDS["start"], 0.5)
        self._twin.go_to_pose(frames.pose_from_bridge(start))
        self._time.spend(SECONDS["start"] + SECONDS["settle"])
        self._target = self._twin.tcp()
        self._twin.set_profile(START_SECONDS, START_RAMP)
        return start

    def _move(self, payload: dict[str, Any]) -> np.ndarray:
        matrix = np.asarray(payload["pose"], dtype=float)
        if matrix.shape == (6,):
            turned = frames.euler_sxyz_to_matrix(matrix[3:])
            pose = Pose(matrix[:3], frames.matrix_to_quaternion(turned))
        else:
            pose = frames.pose_from_matrix(matrix)
        seconds = float(payload["duration"])
        self._twin.set_profile(seconds, 0.45 * seconds)
        self._twin.go_to_pose(pose)
        self._time.spend((seconds if payload["blocking"] else 0.0) + SECONDS["settle"])
        self._target = self._twin.tcp()
        return pose.position

    def _step(self, payload: dict[str, Any]) -> np.ndarray:
        action = payload["action"]
        if action.shape != (7,):
            raise AssertionError(f"Action should have shape (7,) but has shape {action.shape}")
        asked = np.array(action, dtype=float)
        bound = np.array([MAX_STEP] * 3 + [MAX_TURN] * 3 + [1.0])
        action = np.clip(asked, -bound, bound)
        action[6] = max(action[6], 0.0)
        target = frames.advance_target(self._target, self._twin.tcp(), frames.action_from_bridge(action))
        self._target = Pose(np.clip(target.position, self._low, self._high), target.quaternion)
        self._twin.set_gripper(float(action[6]))
        if payload["blocking"]:
            self._twin.set_profile(STEP_SECONDS, BLOCKING_RAMP)
        # Without a solution the true server prints a line, does nothing, and says SUCCESS; the target has moved on.
        self._twin.go_to_pose(self._target)
        if payload["blocking"]:
            self._time.spend(STEP_SECONDS)
        self._time.step(STEP_SECONDS)
        return asked

    def _gripper(self, payload: dict[str, Any]) -> np.ndarray:
        self._twin.set_gripper(1.0 if payload["open"] > 0.5 else 0.0)
        return np.zeros(0)


def jpeg(picture: np.ndarray) -> bytes:
    """The server's JPEG of an RGB picture, encoded as if it were BGR: red and blue are exchanged in the file."""
    try:
        import cv2
    except ImportError as error:
        raise missing_extra("The stand-in robot", "opencv-python-headless", "robot") from error
    return cv2.imencode(".jpg", picture)[1].tobytes()


def float_image(picture: np.ndarray, side: int) -> np.ndarray:
    """The server's "image": (1, 3 * side * side) float32, channels first, 0 .. 1. Not used; it has its weight."""
    rows = np.linspace(0, picture.shape[0] - 1, side).astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, side).astype(int)
    small = picture[np.ix_(rows, columns)]
    return (small.transpose(2, 0, 1).reshape(1, -1) / np.float32(255)).astype(np.float32)
