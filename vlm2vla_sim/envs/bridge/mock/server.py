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
from typing import Any

from vlm2vla_sim.envs.bridge import ground_truth, wire
from vlm2vla_sim.envs.bridge.mock.robot import METHODS, SECONDS, Lockstep, MockRobot, WallClock
from vlm2vla_sim.envs.bridge.mock.servo_twin import ServoTwin
from vlm2vla_sim.envs.bridge.protocol import PORT
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.errors import SettingError, WireError, missing_extra


class MockServer:
    """Serves one `MockRobot` on loopback, one question at a time."""

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
        self.robot = MockRobot(self._twin, passing)
        self.robot.obs_seconds = obs_seconds
        self._time = passing
        self._zmq = _zmq()
        self._context = self._zmq.Context()
        self._socket: Any = None
        self._truth_socket: Any = None
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
        if self._socket is not None and self._socket in ready:
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
            return ground_truth.scene_to_json(self._twin.scene())
        if kind == "place":
            self._twin.place(ground_truth.layout_from_json(request["layout"]))
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


def _zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise missing_extra("The stand-in robot", "pyzmq", "robot") from error
    return zmq
