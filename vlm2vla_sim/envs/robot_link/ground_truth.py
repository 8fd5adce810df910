"""Ground truth of the mock server, on a port of its own: JSON over ZMQ, loopback only.

The scripted policy needs object poses. A real robot has no such channel, and it is not part of the robot's protocol.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from vlm2vla_sim.envs.tasks import Layout, Place
from vlm2vla_sim.errors import BackendFaultError, SettingError, missing_extra
from vlm2vla_sim.types import Body, Pose, SceneState, Touch

TIMEOUT_MS = 20_000


def scene_to_json(scene: SceneState) -> dict[str, Any]:
    """Plain values for `scene_from_json`."""
    bodies = {"source": _body_to_json(scene.source), "target": _body_to_json(scene.target)}
    contacts = {name: getattr(scene, name) for name in ("grasped", "touches_target", "touches_robot")}
    others = [_body_to_json(body) for body in scene.others]
    touches = {
        name: {**dataclasses.asdict(touch), "touching": sorted(touch.touching)} for name, touch in scene.touches.items()
    }
    return {**bodies, "touching": sorted(scene.touching), **contacts, "others": others, "touches": touches}


def scene_from_json(values: dict[str, Any]) -> SceneState:
    """The inverse of `scene_to_json`."""
    source, target, *others = map(_body_from_json, (values["source"], values["target"], *values.get("others", ())))
    contacts = {name: values.get(name) for name in ("touches_target", "touches_robot")}  # None on an older server
    touching, grasped = frozenset(values["touching"]), bool(values["grasped"])
    touches = {
        name: Touch(**{**touch, "touching": frozenset(touch["touching"])})
        for name, touch in values.get("touches", {}).items()
    }
    return SceneState(source, target, touching, grasped, **contacts, others=tuple(others), touches=touches)


def _body_to_json(body: Body) -> dict[str, Any]:
    return {
        "name": body.name,
        "position": body.pose.position.tolist(),
        "quaternion": body.pose.quaternion.tolist(),
        "extents": body.extents.tolist(),
        "container": body.container,
    }


def _body_from_json(body: dict[str, Any]) -> Body:
    return Body(body["name"], Pose(body["position"], body["quaternion"]), np.array(body["extents"]), body["container"])


def layout_from_json(values: dict[str, Any]) -> Layout:
    """The layout in a request to place the objects."""
    source, target = tuple(values["source_xy"]), tuple(values["target_xy"])
    others = tuple(Place(tuple(place["xy"]), place["yaw"]) for place in values.get("others", ()))
    return Layout(source, values["source_yaw"], target, values["target_yaw"], others)


class TruthClient:
    """Client of the mock server's ground truth."""

    def __init__(self, address: str) -> None:
        """address: such as tcp://127.0.0.1:5600 or tcp://[::1]:5600."""
        try:
            import zmq
        except ImportError as error:
            raise missing_extra("The mock server's ground truth", "pyzmq", "robot") from error
        self._address, self._zmq = address, zmq
        self._socket: Any = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """The reply to one request; BackendFaultError when there is none."""
        if self._socket is None:
            self._socket = self._zmq.Context.instance().socket(self._zmq.REQ)
            self._socket.setsockopt(self._zmq.LINGER, 0)
            self._socket.setsockopt(self._zmq.IPV6, 1)
            self._socket.connect(self._address)
        self._socket.send(json.dumps(request).encode())
        if not self._socket.poll(TIMEOUT_MS):
            self.close()
            raise BackendFaultError(f"The mock server's ground truth at {self._address} does not reply to {request}.")
        return json.loads(self._socket.recv())

    def place(self, layout: Layout) -> None:
        """Put the objects where `layout` says."""
        self.ask(type="place", layout=dataclasses.asdict(layout))

    def scene(self) -> SceneState:
        """Poses of the objects, contacts and grasp."""
        return scene_from_json(self.ask(type="scene"))

    def close(self) -> None:
        """Disconnect. May be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class RenderedCamera:
    """The camera of a mock, drawn when it is asked for: in place of a device of this machine."""

    def __init__(self, address: str, *, size: tuple[int, int]) -> None:
        """address: of the ground truth. size: (height, width) of the images, which must be the mock's."""
        self._channel, self._size = TruthClient(address), size

    def read_latest(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB; SettingError when the mock draws another size."""
        reply = self._channel.ask(type="image")
        if tuple(reply["shape"]) != (*self._size, 3):
            raise SettingError(f"The mock draws images of {reply['shape']}; expected {[*self._size, 3]}.")
        return np.frombuffer(base64.b64decode(reply["rgb"]), np.uint8).reshape(reply["shape"]).copy()

    def age(self) -> float:
        """[s] An image shows the present."""
        return 0.0

    def close(self) -> None:
        """Disconnect. May be called twice."""
        self._channel.close()


class TruthServer:
    """Serves a channel of ground truth on loopback, in a thread of its own."""

    def __init__(self, reply: Callable[[dict[str, Any]], dict[str, Any]], *, port: int) -> None:
        """reply: the answer to one request, called in the thread. port: on 127.0.0.1; 0 takes a free one."""
        try:
            import zmq
        except ImportError as error:
            raise missing_extra("The mock's ground truth", "pyzmq", "robot") from error
        self._reply, self._zmq = reply, zmq
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        except zmq.ZMQError as error:
            self._socket.close()
            self._context.term()
            raise SettingError(f"The port {port} on 127.0.0.1 cannot be used: {error}. Choose another.") from error
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="ground-truth")
        self._thread.start()

    def close(self) -> None:
        """Free the port. May be called twice."""
        self._stop.set()
        self._thread.join(5.0)

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(50, self._zmq.POLLIN):
                self._socket.send(json.dumps(self._reply(json.loads(self._socket.recv()))).encode())
        self._socket.close()
        self._context.term()
