"""The robot of the mock server: the methods of the real server, with the MuJoCo twin as its arm.

It reproduces the real server's behaviour, faults included: SUCCESS without motion, a target that runs ahead of the arm,
servo times left from the last move, a hard reset after any exception.

rail-berkeley/bridge_data_robot@a902e5b widowx_env_service.py, robot_base_env.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.bridge.protocol import MAX_STEP, MAX_TURN, ServerStatus
from vlm2vla_sim.envs.robot_link.mock.clocks import Clock, WallClock
from vlm2vla_sim.envs.robot_link.mock.robot import ExecutedAction, jpeg
from vlm2vla_sim.envs.robot_link.mock.servo_twin import ServoTwin
from vlm2vla_sim.types import Pose

METHODS = ("init", "move", "gripper", "reset", "step_action", "reboot_motor")
SECONDS = {"init": 7.0, "neutral": 3.0, "open": 1.0, "back": 1.5, "start": 1.5, "settle": 0.2, "obs": 0.08}
"""[s] that the real server takes: an init about 10 in total, a reset 4.2."""
STEP_SECONDS = 0.2
BLOCKING_RAMP, START_SECONDS, START_RAMP = 0.09, 0.25, 0.10
"""[s] servo profiles: 0.2/0.09 when a step blocks, 0.25/0.10 after a reset."""


class MockBridgeRobot:
    """The server without its socket."""

    def __init__(self, twin: ServoTwin, clock: Clock) -> None:
        self._twin, self._clock = twin, clock
        self._robot = twin.robot
        self._neutral = np.array(self._robot.bridge_server.neutral)
        self._env_params: dict[str, Any] | None = None
        self._image_size = 256
        self._low, self._high = np.full(3, -1.0), np.full(3, 1.0)
        self._target = twin.tcp()
        self.acts: list[ExecutedAction] = []
        self.hard_resets = 0
        self.resets = 0
        """How often the arm was driven to its start, by a "reset" or by an "init" with the same parameters."""
        self.obs_seconds = SECONDS["obs"]

    @property
    def initialised(self) -> bool:
        """Whether an init has been executed."""
        return self._env_params is not None

    def forget(self) -> None:
        """The server was restarted."""
        self._env_params = None

    def reply(self, message: Any, frame: bytes, port: int) -> dict[str, Any]:
        """The reply to one request, decoded and as it came."""
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "hash":
            config = {
                "port_number": port,
                "action_keys": list(METHODS),
                "observation_keys": ["image", "state", "full_image"],
                "broadcast_port": port + 1,
                "version": "0.0.1",
            }
            return {"success": True, "payload": json.dumps(config, separators=(",", ":"))}
        if kind == "obs":
            return self.observe()
        if kind == "act":
            return {"status": int(self.act(message["key"], message["payload"], frame))}
        return {"success": False, "message": "Invalid payload"}

    def observe(self) -> dict[str, Any]:
        """The reply to "obs"."""
        if self._env_params is None:
            noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
            return {"image": noise, "state": {}, "full_image": noise}
        if isinstance(self._clock, WallClock):
            self._clock.spend(self.obs_seconds)
        image = self._twin.render()
        return {
            "image": float_image(image, self._image_size),
            "state": self._twin.state(),
            "full_image": jpeg(image),
        }

    def act(self, key: str, payload: Any, raw: bytes) -> ServerStatus:
        """Execute one action; any exception leads to a hard reset, as in the real server."""
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
        self.acts.append(ExecutedAction(key, np.array(numbers, dtype=float), self._target.position.copy(), raw))
        return ServerStatus.SUCCESS

    def hard_reset(self) -> None:
        """A new environment with the same parameters: the gripper opens, the arm drives to neutral."""
        self.hard_resets += 1
        if self._env_params is not None:
            self._build()

    def crash(self) -> float:
        """The real server catches any exception of its methods and does a hard reset, without a reply."""
        self.hard_reset()
        return 0.0

    def disturb(self) -> None:
        """The server drives the arm to neutral by itself."""
        self.hard_reset()

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
        self._clock.spend(SECONDS["init"])
        self._build()
        return start

    def _build(self) -> None:
        self._twin.set_gripper(1.0)
        self._twin.set_profile(SECONDS["neutral"], 1.0)
        self._twin.go_to_joints(self._neutral)
        self._clock.spend(SECONDS["neutral"] + 0.3)
        self._target = self._twin.tcp()

    def _reset(self, _: Any) -> np.ndarray:
        assert self._env_params is not None
        self.resets += 1
        self._twin.set_gripper(1.0)
        self._clock.spend(SECONDS["open"])
        self._twin.set_profile(SECONDS["back"], 0.5)
        self._twin.go_to_joints(self._neutral)
        self._clock.spend(SECONDS["back"])
        start = np.array(self._env_params["start_state"], dtype=float)
        self._twin.set_profile(SECONDS["start"], 0.5)
        self._twin.go_to_pose(self._robot.pose_from_numbers(start))
        self._clock.spend(SECONDS["start"] + SECONDS["settle"])
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
        self._clock.spend((seconds if payload["blocking"] else 0.0) + SECONDS["settle"])
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
        # Without a solution the real server prints a line, does nothing and reports SUCCESS; the target has moved.
        self._twin.go_to_pose(self._target)
        if payload["blocking"]:
            self._clock.spend(STEP_SECONDS)
        self._clock.step(STEP_SECONDS)
        return asked

    def _gripper(self, payload: dict[str, Any]) -> np.ndarray:
        self._twin.set_gripper(1.0 if payload["open"] > 0.5 else 0.0)
        return np.zeros(0)


def float_image(image: np.ndarray, side: int) -> np.ndarray:
    """The server's "image": (1, 3 * side * side) float32, channels first, 0 .. 1. No client here uses it."""
    rows = np.linspace(0, image.shape[0] - 1, side).astype(int)
    columns = np.linspace(0, image.shape[1] - 1, side).astype(int)
    small = image[np.ix_(rows, columns)]
    return (small.transpose(2, 0, 1).reshape(1, -1) / np.float32(255)).astype(np.float32)
