"""A mock of the arm's controller on loopback: the vendor's driver connects to it, and the MuJoCo twin is the arm.

The package trossen-arm-sim speaks the controller's protocol and brings an arm of its own, which stands on an empty
plane and takes any number. Here its server has a task's scene behind it, and behaves as the vendor describes the
controller: a joint goal beyond its limit or not finite is an error, which lasts until it is cleared.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

from trossen_arm_sim import TrossenArmSimServer
from trossen_arm_sim.protocol import (
    JOINT_LIMIT_STRUCT,
    TCP_PORT,
    UDP_PORT,
    ConfigurationAddress,
    ErrorState,
    TCPCommand,
    UDPCommand,
    pack_handshake_response,
)

from vlm2vla_sim.envs.robot_link import ground_truth
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.envs.widowx_ai.arm_twin import ArmTwin
from vlm2vla_sim.errors import SettingError


class MockController(TrossenArmSimServer):
    """The controller's protocol on its own ports at one loopback address, with an `ArmTwin` behind it."""

    def __init__(
        self,
        task: Task,
        *,
        host: str = "127.0.0.1",
        truth_port: int | None = None,
        image_size: tuple[int, int] = (480, 640),
        speed: float = 1.0,
    ) -> None:
        """Nothing listens before `start`.

        Args:
            task: scene and robot.
            host: loopback address. The ports are the protocol's, so a second controller needs another address.
            truth_port: of the ground truth (`robot_link.ground_truth`), on 127.0.0.1; 0 takes a free one, None none.
            image_size: (height, width) of the rendered camera.
            speed: simulated seconds per second; the limits of the joints' speeds are those of the wall clock.
        """
        if not host.startswith("127."):
            raise SettingError(
                f"host is {host!r}; the mock controller listens on this machine only, such as 127.0.0.1."
            )
        self.twin = ArmTwin(task, image_size=image_size, speed=speed)
        twin: Any = self.twin  # it has what the server asks of its simulation
        super().__init__(twin, host=host)
        self.twin.on_error = self.fault
        self.frozen = False
        """Whether the controller is silent, as behind a cable that was pulled."""
        self._truth: Any = None
        self.truth_address = ""
        self._wanted_truth_port = truth_port

    def start(self) -> None:
        """Bind the ports and serve in threads; SettingError when a port is in use."""
        try:
            super().start()
        except OSError as error:
            super().stop()
            raise SettingError(
                f"The controller's ports 50000 and 50001 on {self.host} cannot be used: {error}. Is another mock "
                "controller running? Use another address of this machine, such as 127.0.0.2."
            ) from error
        if self._wanted_truth_port is not None:
            self._truth = ground_truth.TruthServer(self._reply, port=self._wanted_truth_port)
            self.truth_address = self._truth.address

    def stop(self) -> None:
        """Free the ports and the renderer."""
        self.frozen = self._running = False
        if self._threads:  # they wait for a message
            with contextlib.suppress(OSError):
                socket.create_connection((self.host, TCP_PORT), timeout=1.0).close()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(bytes([UDPCommand.GET_ROBOT_OUTPUT]), (self.host, UDP_PORT))
        for thread in self._threads:
            thread.join(2.0)
        self._threads.clear()
        super().stop()
        if self._truth is not None:
            self._truth.close()
            self._truth = None
        self.twin.close()

    def serve(self, stop: Callable[[], bool] = lambda: False, *, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` returns True. ready: called once it listens."""
        self.start()
        try:
            ready()
            while not stop():
                time.sleep(0.05)
        finally:
            self.stop()

    # The vendor's behaviour where the package's server differs.

    def _handle_tcp_request(self, request: bytes) -> bytes:
        self._wait_while_frozen()
        if request[0] == TCPCommand.HANDSHAKE:  # an error lasts until it is cleared
            return pack_handshake_response(self.error_state, self.model, self.driver_version)
        return super()._handle_tcp_request(request)

    def _read_configuration(self, address: ConfigurationAddress) -> bytes:
        values = super()._read_configuration(address)
        if address != ConfigurationAddress.JOINT_LIMITS:
            return values
        limits = [list(limit) for limit in JOINT_LIMIT_STRUCT.iter_unpack(values)]
        for limit in limits:
            limit[3] *= self.twin.speed  # velocity_max
        return b"".join(JOINT_LIMIT_STRUCT.pack(*limit) for limit in limits)

    def _pack_output(self) -> bytes:
        self._wait_while_frozen()
        return super()._pack_output()

    def _wait_while_frozen(self) -> None:
        while self.frozen:
            time.sleep(0.005)

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request on the channel of the ground truth, which can also cause faults."""
        kind = request["type"]
        if kind == "scene":
            return ground_truth.scene_to_json(self.twin.scene())
        if kind == "image":
            image = self.twin.image()
            return {"shape": image.shape, "rgb": base64.b64encode(image.tobytes()).decode()}
        if kind == "place":
            self.twin.place(ground_truth.layout_from_json(request["layout"]))
        elif kind == "block":
            self.twin.blocked = bool(request["on"])
        elif kind == "jam":
            self.twin.jammed = request["finger"]
        elif kind == "freeze":
            self.frozen = bool(request["on"])
        elif kind == "error":
            self.fault(ErrorState[request["state"]], request["reason"])
        else:
            return {"error": f"unknown request {kind!r}"}
        return {"ok": True}
