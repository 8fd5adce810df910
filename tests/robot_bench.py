"""A mock robot server and a proxy before it, in threads of the test's own process, for tests of the bridge backend."""

from __future__ import annotations

import importlib.util
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.envs.backends import with_robot_of
from vlm2vla_sim.envs.bridge.mock.server import MockServer
from vlm2vla_sim.envs.manipulator_gym.mock.server import MockServer as MockManipulatorServer
from vlm2vla_sim.envs.robot_link.ground_truth import TruthClient
from vlm2vla_sim.envs.robot_link.mock.fault_proxy import Fault, FaultProxy
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.errors import missing_extra

QUICK = Timeouts(hash=0.4, obs=0.4, step=0.4, move=0.6, reset=3.0, init=5.0, resync=4.0)
"""For a mock server in lockstep, which answers everything but a reset within milliseconds."""
SERVERS: dict[str, Any] = {"bridge": MockServer, "manipulator_gym": MockManipulatorServer}
"""Backend -> its mock server."""
CARROT = "vlm2vla/WidowXCarrotOnPlate-v0"


def in_thread(make: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Make and serve something in a thread of its own; it, and what stops it."""
    made: list[Any] = []
    ready, stop = threading.Event(), threading.Event()

    def work() -> None:
        try:
            made.append(make())
        finally:
            ready.set()
        made[0].serve(stop.is_set)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(30)

    def end() -> None:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()

    return made[0], end


@dataclass
class Bench:
    """What a test works with."""

    server: Any
    proxy: FaultProxy
    truth: TruthClient
    backend: str = "bridge"

    def env(self, task_id: str = CARROT, *, direct: bool = False, **options: Any) -> gym.Env[Any, Any]:
        """An environment on the mock server, through the proxy unless `direct`."""
        port = self.server.port if direct else self.proxy.port
        settings = {"period": 0.0, "timeouts": QUICK, "truth": self.server.truth_address, "max_frame_age": 0.15}
        settings |= {"frame_timeout": 0.4, "image_size": (96, 128)} | options
        return gym.make(task_id, backend=self.backend, port=port, **settings)


@contextmanager
def bench(task: str = "carrot_on_plate", *, backend: str = "bridge", **options: Any) -> Iterator[Bench]:
    """A mock server of that backend's kind and a proxy before it."""
    options = {"image_size": (96, 128), "port": 0, "truth_port": 0} | options
    server, end_server = in_thread(lambda: SERVERS[backend](get_task(task), **options))
    truth = TruthClient(server.truth_address)
    hooks: dict[str, Any] = {
        # Through the channel, so that it happens in the server's own thread, between two questions.
        "on_restart": lambda: TruthOnce(server.truth_address).ask(type="restart", seconds=0.05),
        "on_crash": lambda: TruthOnce(server.truth_address).ask(type="crash"),
    }
    proxy, end_proxy = in_thread(lambda: FaultProxy(server.port, **hooks))
    try:
        yield Bench(server, proxy, truth, backend)
    finally:
        end_proxy()
        truth.close()
        end_server()


@contextmanager
def mock_server(task: str, image_size: tuple[int, int], backend: str = "bridge") -> Iterator[dict[str, Any]]:
    """A mock robot server before the scene of `task`; gives the options with which that backend finds it.

    MissingExtraError where the packages of the extra are absent.
    """
    for package in ("zmq", "lz4", "cv2"):
        if importlib.util.find_spec(package) is None:
            raise missing_extra("The wire of a robot server", package, "robot")
    options = {"image_size": image_size, "port": 0, "truth_port": 0}
    server, end = in_thread(lambda: SERVERS[backend](get_task(task), **options))
    try:
        yield {"port": server.port, "truth": server.truth_address, "period": 0.0}
    finally:
        end()


@contextmanager
def mock_controller(task: str, image_size: tuple[int, int], *, host: str, speed: float = 4.0) -> Iterator[Any]:
    """A mock Trossen controller before the scene of `task`, at a loopback address of its own: its ports are fixed.

    MissingExtraError where a package is absent. `.options` are those with which `backend="widowx_ai"` finds it.
    """
    for package in ("trossen_arm", "trossen_arm_sim", "zmq"):
        if importlib.util.find_spec(package) is None:
            raise missing_extra("The WidowX AI", package, "widowx-ai")
    from vlm2vla_sim.envs.widowx_ai.mock import MockController

    found = with_robot_of("widowx_ai", get_task(task))
    controller: Any = MockController(found, host=host, image_size=image_size, speed=speed, truth_port=0)
    beside = ExitStack()
    # All addresses of the loopback network are one place to the lock of this machine's robots.
    locks = Path(beside.enter_context(tempfile.TemporaryDirectory()))
    beside.enter_context(patch("vlm2vla_sim.envs.robot_link.endpoint_lock.lock_folder", lambda: locks))
    controller.start()
    controller.options = {
        "host": host,
        "truth": controller.truth_address,
        "cameras": {"primary": controller.truth_address},
        "period": 0.2 / speed,
        "timeout": 3.0,
    }
    try:
        yield controller
    finally:
        controller.stop()
        beside.close()


class TruthOnce(TruthClient):
    """A channel for one question: sockets belong to one thread."""

    def ask(self, **request: Any) -> dict[str, Any]:
        try:
            return super().ask(**request)
        finally:
            self.close()


__all__ = ["CARROT", "QUICK", "Bench", "Fault", "bench", "in_thread", "mock_controller", "mock_server"]
