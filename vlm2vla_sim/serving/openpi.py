"""The server side of openpi's wire protocol; `policies/remote/openpi.py` names its sources.

The protocol has no episodes. An episode begins with a connection, with another instruction, or with a request that has
"reset": True; further requests with the same instruction belong to the same episode.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.arrays import pack_openpi, unpack
from vlm2vla_sim.policies.remote.openpi import EPISODES, SEED
from vlm2vla_sim.policies.remote.wire import PROVENANCE_KEY, TEXT_KEY
from vlm2vla_sim.serving.action_stream import ActionResponse, ActionStream
from vlm2vla_sim.serving.server import BROKEN, Dispatcher, ServerProtocol, sentence

RESET = "reset"
"""Key of a request that begins a new episode."""


def handle(connection: Any, dispatcher: Dispatcher) -> None:
    """See `server.Handler`."""
    session = dispatcher.open()
    try:
        greeting = {EPISODES: True, "server": "vlm2vla_sim", "convention": dispatcher.convention.about}
        greeting[PROVENANCE_KEY] = session.provenance
        connection.send(pack_openpi(greeting))
        _Connection(connection, dispatcher, session).run()
    finally:
        session.close()


PROTOCOL = ServerProtocol(handle, rows=0, wire="openpi")


class _Connection:
    def __init__(self, connection: Any, dispatcher: Dispatcher, session: ActionStream) -> None:
        self._connection, self._dispatcher, self._session = connection, dispatcher, session
        self._instruction: str | None = None

    def run(self) -> None:
        """Answer requests until the client disconnects."""
        while self._answer(self._connection.recv(timeout=self._dispatcher.limits.idle)):
            pass

    def _answer(self, message: bytes | str) -> bool:
        """Answer one request; whether the client may send another. Nothing of a request is kept while one waits."""
        started = time.perf_counter()
        try:
            with self._dispatcher.reading:
                query = _read(message)
                del message
            actions, response = self._act(query)
        except Exception as error:  # the client is told, and the server goes on
            self._connection.send(sentence(error))
            self._connection.close(BROKEN, "The previous message says why.")
            return False
        spent = 1000 * (time.perf_counter() - started)
        timing = {"infer_ms": spent}
        self._connection.send(pack_openpi({"actions": actions, TEXT_KEY: response.text, "server_timing": timing}))
        return True

    def _act(self, query: dict[Any, Any]) -> tuple[np.ndarray, ActionResponse]:
        dispatcher, convention = self._dispatcher, self._dispatcher.convention
        asked = query.get(convention.instruction_key)
        if self._instruction is None or asked != self._instruction or query.get(RESET) is True:
            dispatcher.start(self._session, asked, query.get(SEED))
            self._instruction = asked
        image = query.get(convention.image_key)
        if image is None:
            keys = ", ".join(sorted(map(str, query))[:20])
            raise SettingError(f"The request has no {convention.image_key!r}, only: {keys}.")
        return dispatcher.answer(self._session, image, query.get(convention.proprio_key))


def _read(message: bytes | str) -> dict[Any, Any]:
    if isinstance(message, str):
        raise SettingError("The request is a text; expected a map in msgpack.")
    query = unpack(message)
    if not isinstance(query, dict):
        raise SettingError(f"The request is a {type(query).__name__}; expected a map.")
    return query
