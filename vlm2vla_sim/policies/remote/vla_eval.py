"""vla-eval's wire, spoken as a client: a websocket with numbered messages, episodes that begin and end.

vla-eval 0.8.0 protocol/messages.py (version 1), connection.py, model_servers/serve.py. A server says what its actions
mean; when that contradicts the convention, nothing is asked of it: one of the two is wrong, and a score would not say
which.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vlm2vla_sim.errors import ServerError, SettingError, WireError
from vlm2vla_sim.policies.remote.arrays import pack_vla_eval, unpack
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.wire import WORDS, Reply, Server, Sight, Socket

PROTOCOL = 1
"""vla-eval 0.8.0 protocol/messages.py, PROTOCOL_VERSION"""
SPOKEN_BY = "0.8.0"
"""The release of vla-eval whose wire this is."""
UNSAID = ("", "raw")
"""Formats with which a server declares nothing."""
ROTATION_FORMATS = {"rotvec": "axis_angle", "euler sxyz": "euler_xyz"}
"""Ours -> vla-eval's, specs.py of 0.8.0; others are declared raw."""


class VlaEvalWire:
    """A `Wire` to a vla-eval model server."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Nothing is sent yet."""
        self._convention = convention
        self._socket = Socket(server, greet=self._greet, sleep=sleep)
        self._number = 0
        self._in_episode = False

    def start(self, instruction: str, seed: int) -> int:
        """End the last episode and begin one, on the same connection where it still stands."""

        def begin() -> None:
            if self._in_episode:
                self._send("episode_end", {})
                self._in_episode = False
            self._send("episode_start", {"task": {"name": instruction, "seed": seed}})

        self._socket.remembers = False
        _, retries = self._socket.persist(begin)
        self._in_episode = self._socket.remembers = True
        return retries

    def ask(self, sight: Sight) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        question: dict[str, Any] = dict(convention.extras)
        question |= {"images": {convention.image_key: sight.image}, convention.instruction_key: sight.instruction}
        if sight.proprio is not None:
            question[convention.proprio_key] = sight.proprio
        payload, retries = self._socket.persist(lambda: self._exchange("observation", question, "action"))
        said = payload.get(WORDS)
        return Reply(payload.get("actions"), retries, said if isinstance(said, dict) else {})

    def close(self) -> None:
        """See `Wire.close`."""
        self._socket.remembers = self._in_episode = False
        self._socket.close()

    # Parts.

    def _greet(self, connection: Any) -> None:
        self._in_episode = False
        hello = {"harness_version": SPOKEN_BY, "protocol_version": PROTOCOL, "benchmark": "vlm2vla_sim"}
        answer = self._exchange("hello", hello, "hello")
        theirs = answer.get("protocol_version")
        if theirs != PROTOCOL:
            self.close()
            raise SettingError(
                f"The server at {self._socket.server.url} speaks version {theirs!r} of vla-eval's protocol; expected "
                f"{PROTOCOL}."
            )
        self._check_declared(answer.get("action_spec"))

    def _check_declared(self, spec: Any) -> None:
        """SettingError when the server says of its actions what the convention does not expect."""
        declared = spec if isinstance(spec, dict) else {}
        true = action_spec(self._convention)
        for part, expected in self._convention.declares:
            said = declared.get(part)
            given = str(said.get("format", "")) if isinstance(said, dict) else ""
            if given not in (*UNSAID, expected, true[part]["format"]):
                self.close()
                raise SettingError(
                    f"The server at {self._socket.server.url} declares its {part} as {given!r}, but the convention "
                    f"({self._convention.about}) expects {expected!r}. Choose the convention of that server."
                )

    def _exchange(self, kind: str, payload: dict[str, Any], expected: str) -> dict[str, Any]:
        number = self._next()
        answer = self._socket.exchange(_message(kind, payload, number))
        if isinstance(answer, str):
            raise WireError(f"a text ({answer[:80]!r}) in place of a message.")
        read = unpack(answer)
        if not isinstance(read, dict) or not isinstance(read.get("payload"), dict):
            raise WireError(f"no message of vla-eval's; {self._socket.server.url} may not be such a server.")
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
    """What actions of that convention are, in vla-eval's words."""
    ends = sorted((convention.gripper_closed, convention.gripper_open))
    rotation = ROTATION_FORMATS.get(convention.rotation, "raw")
    return {
        "position": {"name": "position", "dims": 3, "format": "delta_xyz"},
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
