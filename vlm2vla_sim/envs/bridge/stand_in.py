"""A stand-in for the robot: the BridgeData robot server's wire and manners, with the MuJoCo twin for an arm.

Code for a real arm that was only ever tested against a polite fake meets the true server's habits in front of the arm:
it answers one question at a time, is silent for the ten seconds of an init, says SUCCESS when the arm did not move, and
after any exception drives to neutral with the gripper open, without an answer. All of that is here.

rail-berkeley/bridge_data_robot@a902e5b widowx_env_service.py, robot_base_env.py; youliangtan/edgeml@b4b8495 action.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.envs import frames
from vlm2vla_sim.envs.bridge import truth, wire
from vlm2vla_sim.envs.bridge.protocol import MAX_STEP, MAX_TURN, PORT, ServerStatus
from vlm2vla_sim.envs.bridge.servo_twin import NEUTRAL, ServoTwin
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.errors import SettingError, WireError, missing_extra
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


class StandInRobot:
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


class StandInServer:
    """Serves one `StandInRobot` on loopback, one question at a time."""

    def __init__(
        self,
        task: Task,
        *,
        port: int = PORT,
        truth_port: int | None = None,
        clock: str = "lockstep",
        speed: float = 1.0,
        image_size: tuple[int, int] = (480, 640),
        obs_seconds: float = SECONDS["obs"],
        seed: int = 0,
    ) -> None:
        """Port 0 takes a free one. truth_port: for the state channel; None for none. clock: "lockstep" or "wall"."""
        if clock not in ("lockstep", "wall"):
            raise SettingError(f"clock is {clock!r}; expected 'lockstep' or 'wall'.")
        self._twin = ServoTwin(task, image_size=image_size, seed=seed)
        self._twin.shoot()  # The first picture takes a second, which no client should wait for.
        passing = Lockstep(self._twin) if clock == "lockstep" else WallClock(self._twin, speed)
        self.robot = StandInRobot(self._twin, passing)
        self.robot.obs_seconds = obs_seconds
        self._time = passing
        self._zmq = _zmq()
        self._context = self._zmq.Context()
        self._socket, self.port = self._bind(port)
        self._truth_socket, self.truth_port = self._bind(truth_port) if truth_port is not None else (None, None)
        self.questions = 0
        self._silent_until = 0.0

    @property
    def truth_address(self) -> str:
        """Of the state channel; empty without one."""
        return f"tcp://127.0.0.1:{self.truth_port}" if self.truth_port is not None else ""

    def serve(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Answer until `stop` says so."""
        try:
            while not stop():
                self._turn()
        finally:
            self.close()

    def close(self) -> None:
        """Free the ports and the renderer."""
        for socket in (self._socket, self._truth_socket):
            if socket is not None:
                socket.close(linger=0)
        self._socket = self._truth_socket = None
        self._context.term()
        self._twin.close()

    def _turn(self) -> None:
        poller = self._zmq.Poller()
        restarting = time.monotonic() < self._silent_until
        if self._socket is None and not restarting:
            self._socket, _ = self._bind(self.port)
        for socket in (self._socket, self._truth_socket):
            if socket is not None:
                poller.register(socket, self._zmq.POLLIN)
        ready = dict(poller.poll(5))
        self._time.catch_up()
        if self._truth_socket in ready:
            self._truth_socket.send(json.dumps(self._tell(json.loads(self._truth_socket.recv()))).encode())
        if self._socket in ready:
            self._answer(self._socket.recv())

    def _answer(self, frame: bytes) -> None:
        self.questions += 1
        try:
            reply = self._reply(wire.decode(frame), frame)
        except WireError:
            # The true server would run what it was sent, or fall into a hard reset. Ours refuses.
            reply = {"success": False, "message": "Invalid payload"}
        except Exception as error:  # The true server catches whatever its methods raise, and starts anew.
            print(f"stand-in: {type(error).__name__}: {error}; hard reset, no answer", flush=True)  # noqa: T201
            self._restart(0.0)
            self.robot.hard_reset()
            return
        self._socket.send(wire.encode(reply))

    def _reply(self, message: Any, frame: bytes) -> dict[str, Any]:
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "hash":
            config = {
                "port_number": self.port,
                "action_keys": list(METHODS),
                "observation_keys": ["image", "state", "full_image"],
                "broadcast_port": self.port + 1,
                "version": "0.0.1",
            }
            return {"success": True, "payload": json.dumps(config, separators=(",", ":"))}
        if kind == "obs":
            return self.robot.observe()
        if kind == "act":
            return {"status": int(self.robot.act(message["key"], message["payload"], frame))}
        return {"success": False, "message": "Invalid payload"}

    def _tell(self, request: dict[str, Any]) -> dict[str, Any]:
        """The state channel: ground truth, and mishaps to order."""
        kind = request["type"]
        if kind == "scene":
            return truth.scene_to_json(self._twin.scene())
        if kind == "place":
            self._twin.place(truth.layout_from_json(request["layout"]))
        elif kind == "restart":
            self.robot.forget()
            self._restart(float(request.get("seconds", 0.2)))
        elif kind == "block":
            self._twin.blocked = bool(request["on"])
        elif kind == "crash":
            self._restart(0.0)
            self.robot.hard_reset()
        else:
            return {"error": f"unknown request {kind!r}"}
        return {"ok": True}

    def _restart(self, seconds: float) -> None:
        """Hang up on everybody and be away for a while."""
        if self._socket is not None:
            self._socket.close(linger=0)
        self._socket = None
        self._silent_until = time.monotonic() + seconds

    def _bind(self, port: int) -> tuple[Any, int]:
        socket = self._context.socket(self._zmq.REP)
        socket.setsockopt(self._zmq.LINGER, 0)
        if port == 0:
            return socket, socket.bind_to_random_port("tcp://127.0.0.1")
        for attempt in range(50):  # A port that was just let go takes a moment.
            try:
                socket.bind(f"tcp://127.0.0.1:{port}")
                break
            except self._zmq.ZMQError as error:
                if attempt == 49:
                    raise SettingError(
                        f"The port {port} on 127.0.0.1 cannot be used: {error}. Choose another."
                    ) from error
                time.sleep(0.02)
        return socket, port


def jpeg(picture: np.ndarray) -> bytes:
    """The server's JPEG of an RGB picture: encoded as if it were BGR, so that red and blue are exchanged in the file."""
    try:
        import cv2
    except ImportError as error:
        raise missing_extra("The stand-in robot", "opencv-python-headless", "robot") from error
    return cv2.imencode(".jpg", picture)[1].tobytes()


def float_image(picture: np.ndarray, side: int) -> np.ndarray:
    """The server's "image": (1, 3 * side * side) float32, channels first, 0 .. 1. We do not use it; it has its weight."""
    rows = np.linspace(0, picture.shape[0] - 1, side).astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, side).astype(int)
    small = picture[np.ix_(rows, columns)]
    return (small.transpose(2, 0, 1).reshape(1, -1) / np.float32(255)).astype(np.float32)


def _zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise missing_extra("The stand-in robot", "pyzmq", "robot") from error
    return zmq
