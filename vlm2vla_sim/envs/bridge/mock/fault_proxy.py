"""A proxy between a client and a robot server that does to the wire what networks and servers do to it.

A link is trusted because of what happens when it fails, and failures do not come when asked for. Here they do: by a
script, or at random from a seed, so that any run can be repeated. It understands no message; it only counts questions.
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

from vlm2vla_sim.envs.bridge import wire
from vlm2vla_sim.errors import SettingError, WireError, missing_extra, unknown_name

KINDS = {
    "delay": "the question is passed on after `seconds`",
    "drop_question": "the question never arrives",
    "drop_answer": "the question is carried out, its answer never arrives",
    "late_answer": "the question is carried out, its answer comes after `seconds`",
    "late_question": "the client is left waiting; the question is carried out `seconds` later",
    "freeze": "this and the next `count` looks are answered with the last answer to a look",
    "truncate": "the answer is cut in half",
    "garble": "the answer is noise",
    "lie": "an act is answered SUCCESS and never passed on",
    "refuse": "the answer says the payload was invalid",
    "not_finite": "a look reports a state that is not a number",
    "restart": "the server starts anew (through `on_restart`) before the question is passed on",
    "crash": "the server falls into a hard reset (through `on_crash`) before the question is passed on",
}
"""What can be done to a question -> what that means."""


@dataclass(frozen=True)
class Fault:
    """One mishap."""

    at: int
    """Number of the question, from 0, counted from the proxy's start or the last `arm`; a fault that is about acts, or
    about looks, happens to the next of its kind."""
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


def random_faults(seed: int, *, questions: int, rate: float, seconds: float) -> tuple[Fault, ...]:
    """Faults of all kinds on about `rate` of the `questions`, lasting up to `seconds`; the same for the same seed."""
    rng = random.Random(seed)
    kinds = sorted(KINDS)
    return tuple(
        Fault(at, rng.choice(kinds), seconds=rng.uniform(0, seconds), count=rng.randrange(1, 6))
        for at in range(questions)
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
    """Listens on loopback, passes questions on to a server on loopback, and answers back, faults permitting."""

    def __init__(
        self,
        target_port: int,
        *,
        port: int = 0,
        faults: Iterable[Fault] = (),
        on_restart: Callable[[], Any] | None = None,
        on_crash: Callable[[], Any] | None = None,
    ) -> None:
        """Port 0 takes a free one. on_restart, on_crash: what starts the server anew, or brings it down."""
        try:
            import zmq
        except ImportError as error:
            raise missing_extra("The fault proxy", "pyzmq", "robot") from error
        self._zmq, self._target = zmq, target_port
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.setsockopt(zmq.LINGER, 0)
        if port:
            self._front.bind(f"tcp://127.0.0.1:{port}")
            self.port = port
        else:
            self.port = self._front.bind_to_random_port("tcp://127.0.0.1")
        self._hooks: Mapping[str, Callable[[], Any] | None] = {"restart": on_restart, "crash": on_crash}
        self._backs: dict[bytes, Any] = {}
        self._waiting: dict[bytes, list[tuple[str, Fault | None]]] = {}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._last_look: bytes = b""
        self._frozen = 0
        self.happened: list[Fault] = []
        self.arm(faults)

    def arm(self, faults: Iterable[Fault]) -> None:
        """Count from 0 again, with these faults."""
        self._faults = sorted(faults, key=lambda fault: fault.at)
        self._count = 0
        self._frozen = 0
        self.happened = []

    def serve(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Pass on until `stop` says so."""
        try:
            while not stop():
                self._turn()
        finally:
            self.close()

    def close(self) -> None:
        """Hang up on everybody."""
        for socket in (self._front, *self._backs.values()):
            socket.close(linger=0)
        self._context.term()

    def _turn(self) -> None:
        poller = self._zmq.Poller()
        poller.register(self._front, self._zmq.POLLIN)
        for back in self._backs.values():
            poller.register(back, self._zmq.POLLIN)
        wait = 0.02 if not self._later else min(max(self._later[0][0] - time.monotonic(), 0), 0.02)
        ready = dict(poller.poll(int(wait * 1000) + 1))
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        if self._front in ready:
            client, _, question = self._front.recv_multipart()
            self._take(client, question)
        for client, back in list(self._backs.items()):
            if back in ready:
                self._hand_back(client, back.recv_multipart()[-1])

    def _take(self, client: bytes, question: bytes) -> None:
        kind = _kind(question)
        due = (fault for fault in self._faults if fault.at <= self._count and _applies(fault, kind))
        fault = next(due, None)
        self._count += 1
        if self._frozen and kind == "obs" and self._last_look:
            self._frozen -= 1
            self._answer(client, self._last_look)
            return
        if fault is None:
            self._pass_on(client, question, kind, None)
            return
        self._faults.remove(fault)
        self.happened.append(fault)
        if fault.kind == "drop_question":
            return
        if fault.kind == "freeze":
            self._frozen = fault.count
            self._answer(client, self._last_look) if self._last_look else self._pass_on(client, question, kind, None)
        elif fault.kind == "lie":
            self._answer(client, wire.encode({"status": 1}))
        elif fault.kind in ("delay", "late_question"):
            self._after(fault.seconds, lambda: self._pass_on(client, question, kind, fault))
        else:
            hook = self._hooks.get(fault.kind)
            if hook is not None:
                hook()
            self._pass_on(client, question, kind, fault)

    def _pass_on(self, client: bytes, question: bytes, kind: str, fault: Fault | None) -> None:
        if client not in self._backs:
            # One connection for each client, as the server would have: it takes them in turn.
            back = self._context.socket(self._zmq.DEALER)
            back.setsockopt(self._zmq.LINGER, 0)
            back.connect(f"tcp://127.0.0.1:{self._target}")
            self._backs[client] = back
            self._waiting[client] = []
        self._waiting[client].append((kind, fault))
        self._backs[client].send_multipart([b"", question])

    def _hand_back(self, client: bytes, answer: bytes) -> None:
        kind, fault = self._waiting[client].pop(0)
        what = fault.kind if fault else ""
        if kind == "obs" and not what:
            self._last_look = answer
        if what == "drop_answer":
            return
        if what == "late_answer" and fault is not None:
            self._after(fault.seconds, lambda: self._answer(client, answer))
            return
        if what == "truncate":
            answer = answer[: len(answer) // 2]
        elif what == "garble":
            answer = random.Random(len(answer)).randbytes(len(answer))
        elif what == "refuse":
            answer = wire.encode({"success": False, "message": "Invalid payload"})
        elif what == "not_finite":
            answer = _with_nan(answer)
        self._answer(client, answer)

    def _answer(self, client: bytes, answer: bytes) -> None:
        self._front.send_multipart([client, b"", answer])

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), what))


def describe(fault: Fault) -> str:
    """One line: the fault and its numbers."""
    return " ".join(f"{name}={value}" for name, value in dataclasses.asdict(fault).items())


def _kind(question: bytes) -> str:
    try:
        message = wire.decode(question)
    except WireError:
        return "?"
    return str(message.get("type")) if isinstance(message, dict) else "?"


def _applies(fault: Fault, kind: str) -> bool:
    """Whether `fault` can happen to a question of this kind: some are about acts, some about looks."""
    return kind == {"lie": "act", "freeze": "obs", "not_finite": "obs"}.get(fault.kind, kind)


def _with_nan(answer: bytes) -> bytes:
    message = wire.decode(answer)
    if "state" in message and getattr(message["state"], "shape", None) == (7,):
        message["state"] = message["state"].copy()
        message["state"][0] = float("nan")
    return wire.encode(message)
