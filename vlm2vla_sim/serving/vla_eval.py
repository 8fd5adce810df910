"""The server side of vla-eval's wire protocol; `policies/remote/vla_eval.py` names its sources."""

from __future__ import annotations

import time
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.arrays import pack_vla_eval, unpack
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.vla_eval import PROTOCOL_VERSION, RELEASE, action_spec
from vlm2vla_sim.policies.remote.wire import PROVENANCE_KEY, TEXT_KEY
from vlm2vla_sim.serving.action_stream import ActionStream
from vlm2vla_sim.serving.server import Dispatcher, ServerProtocol, sentence

UNREADABLE = 1007
"""Websocket close code for a message that cannot be read."""


def handle(connection: Any, dispatcher: Dispatcher) -> None:
    """See `server.Handler`."""
    session = dispatcher.open()
    try:
        _Connection(connection, dispatcher, session).run()
    finally:
        session.close()


PROTOCOL = ServerProtocol(handle, rows=1, wire="vla-eval")


class _Connection:
    def __init__(self, connection: Any, dispatcher: Dispatcher, session: ActionStream) -> None:
        self._connection, self._dispatcher, self._session = connection, dispatcher, session
        self._begun = False
        self._seed: Any = 0

    def run(self) -> None:
        """Answer messages until the client disconnects."""
        while self._answer(self._connection.recv(timeout=self._dispatcher.limits.idle)):
            pass

    def _answer(self, raw: bytes | str) -> bool:
        """Answer one message; whether the client may send another. Nothing of a message is kept while one waits."""
        try:
            with self._dispatcher.reading:
                kind, payload, number = _read(raw)
                del raw
        except Exception as error:  # anything may have been sent
            self._send("error", {"error": sentence(error)}, 0)
            self._connection.close(UNREADABLE, "The previous message says why.")
            return False
        try:
            answer = self._receive(kind, payload)
        except Exception as error:  # the client is told, and may go on
            answer = ("error", {"error": sentence(error)})
        if answer is not None:
            self._send(*answer, number)
        return True

    def _receive(self, kind: str, payload: dict[Any, Any]) -> tuple[str, dict[str, Any]] | None:
        """Type and payload of the response; None for a message that gets none."""
        if kind == "hello":
            return "hello", self._hello()
        if kind == "observation":
            return "action", self._act(payload)
        if kind == "episode_start":
            task = payload.get("task")
            self._seed = task.get("seed") if isinstance(task, dict) else None
            self._begun = False
        elif kind not in ("episode_end", "error"):
            raise SettingError(f"A message of type {kind!r} came; expected hello, episode_start, observation, ….")
        return None

    def _hello(self) -> dict[str, Any]:
        return {
            "harness_version": RELEASE,
            "protocol_version": PROTOCOL_VERSION,
            "model_server": "vlm2vla_sim",
            PROVENANCE_KEY: self._session.provenance,
            "capabilities": {},
            "action_spec": action_spec(self._dispatcher.convention),
            "observation_spec": {
                self._dispatcher.convention.image_key: {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"},
                "language": {"name": "language", "dims": 0, "format": "language"},
            },
        }

    def _act(self, payload: dict[Any, Any]) -> dict[str, Any]:
        convention = self._dispatcher.convention
        image = _choose(payload.get("images"), convention)
        if not self._begun:
            self._dispatcher.start(self._session, payload.get(convention.instruction_key), self._seed)
            self._begun = True
        state = payload.get(convention.proprio_key)
        actions, response = self._dispatcher.answer(self._session, image, state)
        # A single step is sent as (7,), as vla-eval's benchmarks expect it.
        return {"actions": actions[0] if self._dispatcher.limits.rows == 1 else actions, TEXT_KEY: response.text}

    def _send(self, kind: str, payload: dict[str, Any], number: int) -> None:
        message = {"type": kind, "payload": payload, "seq": number, "timestamp": time.time()}
        self._connection.send(pack_vla_eval(message))


def _choose(images: Any, convention: Convention) -> Any:
    """The image of the convention's camera; with a single camera, its image whatever its name."""
    if not isinstance(images, dict) or not images:
        raise SettingError("The observation has no images; expected a map from camera to image.")
    if convention.image_key in images:
        return images[convention.image_key]
    if len(images) == 1:
        return next(iter(images.values()))
    cameras = ", ".join(map(str, images))
    raise SettingError(f"The observation has the cameras {cameras}; expected {convention.image_key!r} among them.")


def _read(raw: bytes | str) -> tuple[str, dict[Any, Any], int]:
    if isinstance(raw, str):
        raise SettingError("The message is a text; expected msgpack.")
    message = unpack(raw)
    kind = message.get("type") if isinstance(message, dict) else None
    payload = message.get("payload") if isinstance(message, dict) else None
    number = message.get("seq") if isinstance(message, dict) else None
    if not isinstance(kind, str) or not isinstance(payload, dict) or not isinstance(number, int):
        raise SettingError(
            "The message does not follow vla-eval's protocol; expected a map with type, payload and seq."
        )
    return kind, payload, number
