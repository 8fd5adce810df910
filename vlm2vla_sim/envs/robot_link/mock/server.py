"""A mock robot server on loopback, which handles one request at a time, with the MuJoCo twin as its arm.

What it answers is its robot's: `envs.bridge.mock.robot`, `envs.manipulator_gym.mock`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from vlm2vla_sim.envs.robot_link import ground_truth, wire
from vlm2vla_sim.envs.robot_link.endpoint import listen_host, show_address
from vlm2vla_sim.envs.robot_link.mock.clocks import Clock, Lockstep, WallClock
from vlm2vla_sim.envs.robot_link.mock.servo_twin import ServoTwin
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.errors import SettingError, WireError, missing_extra


class MockServer:
    """Serves one mock robot on loopback, one request at a time."""

    def __init__(
        self,
        task: Task,
        make_robot: Callable[[ServoTwin, Clock], Any],
        *,
        host: str = "127.0.0.1",
        port: int,
        truth_port: int | None = None,
        clock: str = "lockstep",
        speed: float = 1.0,
        image_size: tuple[int, int] = (480, 640),
        obs_seconds: float,
        seed: int = 0,
        second_camera: bool = False,
    ) -> None:
        """Start the robot and bind the ports.

        Args:
            task: scene and robot.
            make_robot: makes the robot, a `mock.robot.MockRobot`, of the twin and how its time passes.
            host: where to listen, on this machine only: 127.0.0.1 or ::1.
            port: of the protocol; 0 takes a free one.
            truth_port: of the ground truth (`ground_truth`); None for none.
            clock: "lockstep" (time passes in requests only) or "wall".
            speed: of the wall clock.
            image_size: (height, width) of the camera.
            obs_seconds: [s] that an observation takes on the wall clock.
            seed: of camera noise and placements.
            second_camera: whether the robot has one.
        """
        if clock not in ("lockstep", "wall"):
            raise SettingError(f"clock is {clock!r}; expected 'lockstep' or 'wall'.")
        self._host = listen_host(host)
        self._twin = ServoTwin(task, image_size=image_size, seed=seed, second_camera=second_camera)
        self._twin.render()  # The first image takes a second, for which no client should wait.
        mock_clock = Lockstep(self._twin) if clock == "lockstep" else WallClock(self._twin, speed)
        self.robot = make_robot(self._twin, mock_clock)
        self.robot.obs_seconds = obs_seconds
        self._clock = mock_clock
        self._zmq = _zmq()
        self._context = self._zmq.Context()
        self._socket: Any = None
        self._truth_socket: Any = None
        self._socket, self.port = self._bind(port)
        self._truth_socket, self.truth_port = self._bind(truth_port) if truth_port is not None else (None, None)
        self.requests = 0
        self._silent_until = 0.0

    @property
    def truth_address(self) -> str:
        """Address of the ground truth; empty without one."""
        return f"tcp://{show_address(self._host, self.truth_port)}" if self.truth_port is not None else ""

    @property
    def address(self) -> str:
        """Address of the protocol."""
        return f"tcp://{show_address(self._host, self.port)}"

    def serve(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Serve until `stop` returns True."""
        try:
            while not stop():
                self._poll()
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

    def _poll(self) -> None:
        poller = self._zmq.Poller()
        restarting = time.monotonic() < self._silent_until
        if self._socket is None and not restarting:
            self._socket, _ = self._bind(self.port)
        for socket in (self._socket, self._truth_socket):
            if socket is not None:
                poller.register(socket, self._zmq.POLLIN)
        ready = dict(poller.poll(5))
        self._clock.catch_up()
        if self._truth_socket in ready:
            self._truth_socket.send(json.dumps(self._reply_truth(json.loads(self._truth_socket.recv()))).encode())
        if self._socket is not None and self._socket in ready:
            self._handle(self._socket.recv())

    def _handle(self, frame: bytes) -> None:
        self.requests += 1
        try:
            reply = self.robot.reply(wire.decode(frame), frame, self.port)
        except WireError:
            # The real server would run what it was sent, or do a hard reset. This one refuses.
            reply = {"success": False, "message": "Invalid payload"}
        except Exception as error:  # The real servers catch any exception of their methods and reset, or end.
            print(f"mock server: {type(error).__name__}: {error}; no reply", flush=True)  # noqa: T201
            self._restart(self.robot.crash())
            return
        self._socket.send(wire.encode(reply))

    def _reply_truth(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request on the port of the ground truth, which can also cause faults."""
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
        elif kind == "jam":
            self._twin.jammed = request["reading"]
        elif kind == "dark":
            self._twin.dark = bool(request["on"])
        elif kind == "push":
            self._twin.push[:] = request["force"]
        elif kind == "crash":
            self._restart(0.0)
            self.robot.disturb()
        else:
            return {"error": f"unknown request {kind!r}"}
        return {"ok": True}

    def _restart(self, seconds: float) -> None:
        """Close the socket for `seconds`."""
        if self._socket is not None:
            self._socket.close(linger=0)
        self._socket = None
        self._silent_until = time.monotonic() + seconds

    def _bind(self, port: int) -> tuple[Any, int]:
        socket = self._context.socket(self._zmq.REP)
        socket.setsockopt(self._zmq.LINGER, 0)
        socket.setsockopt(self._zmq.IPV6, 1)
        if port == 0:
            return socket, socket.bind_to_random_port(f"tcp://{show_address(self._host, 0).rpartition(':')[0]}")
        for attempt in range(50):  # A port that was just released takes a moment.
            try:
                socket.bind(f"tcp://{show_address(self._host, port)}")
                break
            except self._zmq.ZMQError as error:
                if attempt == 49:
                    raise SettingError(
                        f"The port {port} on {self._host} cannot be used: {error}. Choose another."
                    ) from error
                time.sleep(0.02)
        return socket, port


def _zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise missing_extra("The mock server", "pyzmq", "robot") from error
    return zmq
