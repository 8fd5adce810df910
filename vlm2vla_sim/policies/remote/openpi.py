"""openpi's wire, spoken as a client: one websocket, msgpack with arrays, a question and an answer.

Physical-Intelligence/openpi@15a9616 src/openpi/serving/websocket_policy_server.py; openpi-client 0.1.2. The server
speaks first (a map about itself); an error is a text, after which it hangs up. The wire knows no episodes: every
episode gets a connection of its own, so that a server which keeps something per connection starts anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vlm2vla_sim.errors import ServerError, WireError
from vlm2vla_sim.policies.remote.arrays import pack_openpi, unpack
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.wire import WORDS, Reply, Server, Sight, Socket

EPISODES = "vlm2vla/episode_per_connection"
"""Key of the greeting with which a server of ours says that it remembers; openpi's own does not."""
SEED = "vlm2vla/seed"
"""Key of a question, for a server whose policy is random; others do not look at it."""


class OpenpiWire:
    """A `Wire` to an openpi server."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Nothing is sent yet."""
        self._convention = convention
        self._socket = Socket(server, greet=self._greet, sleep=sleep)
        self._episodes = False

    def start(self, instruction: str, seed: int) -> int:
        """A new connection."""
        self.close()
        _, retries = self._socket.persist(lambda: None)
        return retries

    def ask(self, sight: Sight) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        question: dict[str, Any] = dict(convention.extras)
        question |= {convention.image_key: sight.image, convention.instruction_key: sight.instruction}
        if sight.proprio is not None:
            question[convention.proprio_key] = sight.proprio
        if self._episodes:
            question[SEED] = sight.seed
        message = pack_openpi(question)
        answer, retries = self._socket.persist(lambda: self._exchange(message))
        self._socket.remembers = self._episodes
        said = answer.get(WORDS)
        return Reply(answer.get("actions"), retries, said if isinstance(said, dict) else {})

    def close(self) -> None:
        """See `Wire.close`."""
        self._socket.remembers = False
        self._socket.close()

    def _greet(self, connection: Any) -> None:
        greeting = self._read(self._socket.receive())
        self._episodes = greeting.get(EPISODES) is True

    def _exchange(self, message: bytes) -> dict[str, Any]:
        return self._read(self._socket.exchange(message))

    def _read(self, answer: bytes | str) -> dict[str, Any]:
        url = self._socket.server.url
        if isinstance(answer, str):
            self.close()
            # The last line of a traceback says what it is about.
            last = (answer.strip().splitlines() or ["(nothing)"])[-1]
            raise ServerError(f"The server at {url} refuses the question: {last[:300]}")
        read = unpack(answer)
        if not isinstance(read, dict):
            raise WireError(f"a {type(read).__name__} in place of a map; {url} may not be an openpi server.")
        return read
