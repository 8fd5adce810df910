"""A proxy between a client and a robot server that injects faults of networks and servers.

Faults come from a script, or at random from a seed, so that any run can be repeated. The proxy counts requests.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.envs.robot_link import wire
from vlm2vla_sim.envs.robot_link.endpoint import listen_host, show_address
from vlm2vla_sim.errors import SettingError, WireError, missing_extra, unknown_name

KINDS = {
    "delay": "the request is forwarded after `seconds`",
    "drop_question": "the request never arrives",
    "drop_answer": "the request is executed, its reply never arrives",
    "late_answer": "the request is executed, its reply comes after `seconds`",
    "late_question": "the client waits; the request is executed `seconds` later",
    "freeze": "this and the next `count` observations repeat the last one",
    "truncate": "the reply is cut in half",
    "garble": "the reply is random bytes",
    "lie": "an action is replied to with SUCCESS and never forwarded",
    "refuse": "the reply says the payload was invalid",
    "not_finite": "an observation holds a state that is not finite",
    "restart": "the server restarts (through `on_restart`) before the request is forwarded",
    "crash": "the server does a hard reset (through `on_crash`) before the request is forwarded",
}
"""Kind of fault -> its meaning."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    at: int
    """Number of the request, from 0, counted from the proxy's start or the last `arm`; a fault of actions, or of
    observations, applies to the next one of that kind."""
    kind: str
    seconds: float = 1.0
    count: int = 3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of fault", self.kind, KINDS)
        if self.at < 0 or self.seconds < 0 or self.count < 0:
            raise SettingError(
                f"A fault has at={self.at}, seconds={self.seconds}, count={self.count}; none may be negative."
            )


def random_faults(seed: int, *, requests: int, rate: float, seconds: float) -> tuple[Fault, ...]:
    """Faults of all kinds on a share `rate` of `requests` requests, lasting up to `seconds`; reproducible by seed."""
    rng = random.Random(seed)
    kinds = sorted(KINDS)
    return tuple(
        Fault(at, rng.choice(kinds), seconds=rng.uniform(0, seconds), count=rng.randrange(1, 6))
        for at in range(requests)
        if rng.random() < rate
    )


def read_script(path: Path) -> tuple[Fault, ...]:
    """The faults in a JSON file: [{"at": 12, "kind": "drop_answer"}, ...]."""
    try:
        return tuple(Fault(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(
            f"The script {path} cannot be read ({error}). Expected a list such as "
            '[{"at": 12, "kind": "drop_answer"}, {"at": 30, "kind": "delay", "seconds": 2}].'
        ) from error


class FaultProxy:
    """Listens on loopback and forwards requests to a server on loopback, and its replies, with faults."""

    def __init__(
        self,
        target_port: int,
        *,
        host: str = "127.0.0.1",
        target_host: str = "127.0.0.1",
        port: int = 0,
        faults: Iterable[Fault] = (),
        on_restart: Callable[[], Any] | None = None,
        on_crash: Callable[[], Any] | None = None,
    ) -> None:
        """Listen at `host` for a server at `target_host`, each 127.0.0.1 or ::1. Port 0 takes a free one.

        on_restart, on_crash: called to restart the server, or to make it reset.
        """
        try:
            import zmq
        except ImportError as error:
            raise missing_extra("The fault proxy", "pyzmq", "robot") from error
        self._zmq, self._target = zmq, show_address(listen_host(target_host), target_port)
        host = listen_host(host)
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.setsockopt(zmq.LINGER, 0)
        self._front.setsockopt(zmq.IPV6, 1)
        if port:
            self._front.bind(f"tcp://{show_address(host, port)}")
            self.port = port
        else:
            self.port = self._front.bind_to_random_port(f"tcp://{show_address(host, 0).rpartition(':')[0]}")
        self.address = f"tcp://{show_address(host, self.port)}"
        self._hooks: Mapping[str, Callable[[], Any] | None] = {"restart": on_restart, "crash": on_crash}
        self._backs: dict[bytes, Any] = {}
        self._waiting: dict[bytes, list[tuple[str, Fault | None]]] = {}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._last_observation: bytes = b""
        self._frozen = 0
        self.injected: list[Fault] = []
        self.arm(faults)

    def arm(self, faults: Iterable[Fault]) -> None:
        """Count from 0 again, with these faults."""
        self._faults = sorted(faults, key=lambda fault: fault.at)
        self._count = 0
        self._frozen = 0
        self.injected = []

    def serve(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Forward until `stop` returns True."""
        try:
            while not stop():
                self._poll()
        finally:
            self.close()

    def close(self) -> None:
        """Close all connections."""
        for socket in (self._front, *self._backs.values()):
            socket.close(linger=0)
        self._context.term()

    def _poll(self) -> None:
        poller = self._zmq.Poller()
        poller.register(self._front, self._zmq.POLLIN)
        for back in self._backs.values():
            poller.register(back, self._zmq.POLLIN)
        wait = 0.02 if not self._later else min(max(self._later[0][0] - time.monotonic(), 0), 0.02)
        ready = dict(poller.poll(int(wait * 1000) + 1))
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        if self._front in ready:
            client, _, request = self._front.recv_multipart()
            self._take(client, request)
        for client, back in list(self._backs.items()):
            if back in ready:
                self._return_reply(client, back.recv_multipart()[-1])

    def _take(self, client: bytes, request: bytes) -> None:
        kind = _kind(request)
        due = (fault for fault in self._faults if fault.at <= self._count and _applies(fault, kind))
        fault = next(due, None)
        self._count += 1
        if self._frozen and kind == "obs" and self._last_observation:
            self._frozen -= 1
            self._reply(client, self._last_observation)
            return
        if fault is None:
            self._forward(client, request, kind, None)
            return
        self._faults.remove(fault)
        self.injected.append(fault)
        if fault.kind == "drop_question":
            return
        if fault.kind == "freeze":
            self._frozen = fault.count
            self._reply(client, self._last_observation) if self._last_observation else self._forward(
                client, request, kind, None
            )
        elif fault.kind == "lie":
            self._reply(client, wire.encode({"status": True}))
        elif fault.kind in ("delay", "late_question"):
            self._after(fault.seconds, lambda: self._forward(client, request, kind, fault))
        else:
            hook = self._hooks.get(fault.kind)
            if hook is not None:
                hook()
            self._forward(client, request, kind, fault)

    def _forward(self, client: bytes, request: bytes, kind: str, fault: Fault | None) -> None:
        if client not in self._backs:
            # One connection for each client, as the server would have; it handles them in turn.
            back = self._context.socket(self._zmq.DEALER)
            back.setsockopt(self._zmq.LINGER, 0)
            back.setsockopt(self._zmq.IPV6, 1)
            back.connect(f"tcp://{self._target}")
            self._backs[client] = back
            self._waiting[client] = []
        self._waiting[client].append((kind, fault))
        self._backs[client].send_multipart([b"", request])

    def _return_reply(self, client: bytes, reply: bytes) -> None:
        kind, fault = self._waiting[client].pop(0)
        what = fault.kind if fault else ""
        if kind == "obs" and not what:
            self._last_observation = reply
        if what == "drop_answer":
            return
        if what == "late_answer" and fault is not None:
            self._after(fault.seconds, lambda: self._reply(client, reply))
            return
        if what == "truncate":
            reply = reply[: len(reply) // 2]
        elif what == "garble":
            reply = random.Random(len(reply)).randbytes(len(reply))
        elif what == "refuse":
            reply = wire.encode({"success": False, "message": "Invalid payload"})
        elif what == "not_finite":
            reply = _with_nan(reply)
        self._reply(client, reply)

    def _reply(self, client: bytes, reply: bytes) -> None:
        self._front.send_multipart([client, b"", reply])

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), what))


def describe(fault: Fault) -> str:
    """One line: the fault and its numbers."""
    return " ".join(f"{name}={value}" for name, value in dataclasses.asdict(fault).items())


def _kind(request: bytes) -> str:
    try:
        message = wire.decode(request)
    except WireError:
        return "?"
    return str(message.get("type")) if isinstance(message, dict) else "?"


def _applies(fault: Fault, kind: str) -> bool:
    """Whether `fault` can happen to a request of this kind: some are of actions, some of observations."""
    return kind == {"lie": "act", "freeze": "obs", "not_finite": "obs"}.get(fault.kind, kind)


def _with_nan(reply: bytes) -> bytes:
    message = wire.decode(reply)
    for name, shape in (("state", (7,)), ("eef_pose", (6,))):
        if getattr(message.get(name), "shape", None) == shape:
            message[name] = message[name].copy()
            message[name][0] = float("nan")
    return wire.encode(message)
