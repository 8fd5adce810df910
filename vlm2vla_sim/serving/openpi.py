"""A policy of ours on openpi's wire; `policies/remote/openpi.py` says whose wire it is and where that is written.

The wire knows no episodes. One begins with a connection, with another instruction, or with a question that has
"reset": True; somebody who asks on with the same instruction is taken to be in the same episode.
"""

from __future__ import annotations

import time
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.arrays import pack_openpi, unpack
from vlm2vla_sim.policies.remote.openpi import EPISODES, SEED
from vlm2vla_sim.policies.remote.wire import WORDS
from vlm2vla_sim.serving.action_stream import Session
from vlm2vla_sim.serving.server import BROKEN, Desk, sentence

RESET = "reset"
"""Key of a question with which an episode begins anew."""


def talk(connection: Any, desk: Desk) -> None:
    """See `server.Talk`."""
    session = desk.open()
    try:
        greeting = {EPISODES: True, "server": "vlm2vla_sim", "convention": desk.convention.about}
        connection.send(pack_openpi(greeting))
        _answer_all(connection, desk, session)
    finally:
        session.close()


def _answer_all(connection: Any, desk: Desk, session: Session) -> None:
    instruction: str | None = None
    while True:
        message = connection.recv(timeout=desk.limits.idle)
        started = time.perf_counter()
        try:
            question = _read(message)
            asked = question.get(desk.convention.instruction_key)
            if instruction is None or asked != instruction or question.get(RESET) is True:
                desk.start(session, asked, question.get(SEED))
                instruction = asked
            image = question.get(desk.convention.image_key)
            if image is None:
                keys = ", ".join(sorted(map(str, question))[:20])
                raise SettingError(f"The question has no {desk.convention.image_key!r}, only: {keys}.")
            actions, move = desk.answer(session, image, question.get(desk.convention.proprio_key))
        except Exception as error:  # the border: the client gets a sentence, and the server lives on
            connection.send(sentence(error))
            connection.close(BROKEN, "The previous message says why.")
            return
        spent = 1000 * (time.perf_counter() - started)
        connection.send(pack_openpi({"actions": actions, WORDS: move.words, "server_timing": {"infer_ms": spent}}))


def _read(message: bytes | str) -> dict[Any, Any]:
    if isinstance(message, str):
        raise SettingError("The question is a text; expected a map in msgpack.")
    question = unpack(message)
    if not isinstance(question, dict):
        raise SettingError(f"The question is a {type(question).__name__}; expected a map.")
    return question
