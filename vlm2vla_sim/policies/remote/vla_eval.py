"""Client of vla-eval's wire protocol: a websocket with numbered messages and explicit episodes.

vla-eval 0.8.0 protocol/messages.py (version 1), connection.py, model_servers/serve.py. A server declares the format of
its actions. If that contradicts the convention, the server is refused: one of the two is wrong, and a score would not
show which.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vlm2vla_sim.errors import ServerError, SettingError, WireError
from vlm2vla_sim.policies.remote.arrays import pack_vla_eval, unpack
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.conventions.record import SIMPLER_NAMES
from vlm2vla_sim.policies.remote.observations import get, put
from vlm2vla_sim.policies.remote.wire import TEXT_KEY, Reply, Request, Server, Socket

PROTOCOL_VERSION = 1
"""vla-eval 0.8.0 protocol/messages.py, PROTOCOL_VERSION"""
RELEASE = "0.8.0"
"""The release of vla-eval whose protocol this is."""
UNDECLARED = ("", "raw")
"""Formats by which a server declares nothing."""
ROTATION_FORMATS = {"rotvec": "axis_angle", "euler sxyz": "euler_xyz"}
"""`Convention.rotation` -> the format in vla-eval 0.8.0 specs.py; others are declared raw."""


class VlaEvalWire:
    """A `Wire` to a vla-eval model server."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare the client; nothing is sent yet."""
        if convention.history > 1:
            raise SettingError(
                f"vla-eval's protocol sends one image of a camera, and the convention ({convention.about}) has a "
                f"history of {convention.history}. Use a server that keeps the images itself."
            )
        self._convention = convention
        self._socket = Socket(server, greet=self._greet, sleep=sleep)
        self._number = 0
        self._in_episode = False
        self.greeting: dict[str, Any] = {}

    def start(self, instruction: str, seed: int) -> int:
        """End the last episode and begin one, on the same connection if it is still open."""

        def begin() -> None:
            if self._in_episode:
                self._send("episode_end", {})
                self._in_episode = False
            self._send("episode_start", {"task": {"name": instruction, "seed": seed}})

        self._socket.is_stateful = False
        _, retries = self._socket.with_retries(begin)
        self._in_episode = self._socket.is_stateful = True
        return retries

    def ask(self, request: Request) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        query: dict[str, Any] = dict(convention.extras)
        put(query, ("images", str(convention.image_key)), request.image)
        put(query, convention.instruction_key, request.instruction)
        if request.proprio is not None:
            put(query, convention.proprio_key, request.proprio)
        if convention.task_key and request.instruction in SIMPLER_NAMES:
            query[convention.task_key] = SIMPLER_NAMES[request.instruction]
        payload, retries = self._socket.with_retries(lambda: self._exchange("observation", query, "action"))
        text = payload.get(TEXT_KEY)
        return Reply(get(payload, convention.answer_key), retries, text if isinstance(text, dict) else {})

    def close(self) -> None:
        """See `Wire.close`."""
        self._socket.is_stateful = self._in_episode = False
        self._socket.close()

    # Parts.

    def _greet(self, connection: Any) -> None:
        self._in_episode = False
        hello = {"harness_version": RELEASE, "protocol_version": PROTOCOL_VERSION, "benchmark": "vlm2vla_sim"}
        answer = self.greeting = self._exchange("hello", hello, "hello")
        theirs = answer.get("protocol_version")
        if theirs != PROTOCOL_VERSION:
            self.close()
            raise SettingError(
                f"The server at {self._socket.server.url} uses version {theirs!r} of vla-eval's protocol; expected "
                f"{PROTOCOL_VERSION}."
            )
        self._check_declared(answer.get("action_spec"))

    def _check_declared(self, spec: Any) -> None:
        """SettingError when the declared format of the actions contradicts the convention."""
        declared = spec if isinstance(spec, dict) else {}
        true = action_spec(self._convention)
        for part, expected in self._convention.declares:
            entry = declared.get(part)
            given = str(entry.get("format", "")) if isinstance(entry, dict) else ""
            if given not in (*UNDECLARED, expected, true[part]["format"]):
                self.close()
                raise SettingError(
                    f"The server at {self._socket.server.url} declares its {part} as {given!r}, but the convention "
                    f"({self._convention.about}) expects {expected!r}. Choose the convention of that server."
                )

    def _exchange(self, kind: str, payload: dict[str, Any], expected: str) -> dict[str, Any]:
        number = self._next()
        answer = self._socket.exchange(_message(kind, payload, number))
        if isinstance(answer, str):
            raise WireError(f"a text ({answer[:80]!r}) instead of a message.")
        read = unpack(answer)
        if not isinstance(read, dict) or not isinstance(read.get("payload"), dict):
            raise WireError(
                f"not a message of vla-eval's protocol; {self._socket.server.url} may not be such a server."
            )
        if read.get("type") == "error":
            self.close()
            reason = str(read["payload"].get("error", read["payload"]))
            raise ServerError(f"The server at {self._socket.server.url} refuses the {kind}: {reason[:300]}")
        if read.get("type") != expected or read.get("seq") != number:
            raise WireError(
                f"a message {read.get('type')!r} numbered {read.get('seq')}; expected {expected!r} numbered {number}."
            )
        return read["payload"]

    def _send(self, kind: str, payload: dict[str, Any]) -> None:
        self._socket.send(_message(kind, payload, self._next()))

    def _next(self) -> int:
        self._number += 1
        return self._number


def action_spec(convention: Convention) -> dict[str, Any]:
    """The format of the convention's actions, as vla-eval declares it."""
    ends = sorted((convention.gripper_closed, convention.gripper_open))
    rotation = ROTATION_FORMATS.get(convention.rotation, "raw")
    return {
        "position": {"name": "position", "dims": 3, "format": "absolute_xyz" if convention.absolute else "delta_xyz"},
        "rotation": {"name": "rotation", "dims": 3, "format": rotation},
        "gripper": {
            "name": "gripper",
            "dims": 1,
            "format": "continuous_01" if ends == [0.0, 1.0] else "raw",
            "range": ends,
            "description": f"absolute; {convention.gripper_closed:g} closed, {convention.gripper_open:g} open",
        },
    }


def _message(kind: str, payload: dict[str, Any], number: int) -> bytes:
    return pack_vla_eval({"type": kind, "payload": payload, "seq": number, "timestamp": time.time()})
