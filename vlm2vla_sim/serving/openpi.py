"""The server side of openpi's wire protocol; `policies/remote/openpi.py` names its sources.

The protocol has no episodes. An episode begins with a connection, with another instruction, or with a request that has
"reset": True; further requests with the same instruction belong to the same episode.
"""

from __future__ import annotations

import time
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.arrays import pack_openpi, unpack
from vlm2vla_sim.policies.remote.openpi import EPISODES, SEED
from vlm2vla_sim.policies.remote.wire import PROVENANCE_KEY, TEXT_KEY
from vlm2vla_sim.serving.action_stream import ActionStream
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
        _answer_all(connection, dispatcher, session)
    finally:
        session.close()


PROTOCOL = ServerProtocol(handle, rows=0, wire="openpi")


def _answer_all(connection: Any, dispatcher: Dispatcher, session: ActionStream) -> None:
    instruction: str | None = None
    while True:
        message = connection.recv(timeout=dispatcher.limits.idle)
        started = time.perf_counter()
        try:
            query = _read(message)
            del message
            asked = query.get(dispatcher.convention.instruction_key)
            if instruction is None or asked != instruction or query.get(RESET) is True:
                dispatcher.start(session, asked, query.get(SEED))
                instruction = asked
            image = query.get(dispatcher.convention.image_key)
            if image is None:
                keys = ", ".join(sorted(map(str, query))[:20])
                raise SettingError(f"The request has no {dispatcher.convention.image_key!r}, only: {keys}.")
            actions, response = dispatcher.answer(session, image, query.get(dispatcher.convention.proprio_key))
        except Exception as error:  # the client is told, and the server goes on
            connection.send(sentence(error))
            connection.close(BROKEN, "The previous message says why.")
            return
        spent = 1000 * (time.perf_counter() - started)
        connection.send(
            pack_openpi({"actions": actions, TEXT_KEY: response.text, "server_timing": {"infer_ms": spent}})
        )


def _read(message: bytes | str) -> dict[Any, Any]:
    if isinstance(message, str):
        raise SettingError("The request is a text; expected a map in msgpack.")
    query = unpack(message)
    if not isinstance(query, dict):
        raise SettingError(f"The request is a {type(query).__name__}; expected a map.")
    return query
