"""Client of openpi's wire protocol: one websocket, msgpack with arrays, a request and a response for every step.

Physical-Intelligence/openpi@15a9616 src/openpi/serving/websocket_policy_server.py; openpi-client 0.1.2. The server
sends the first message, a map about itself; it reports an error as a text message and then closes the connection. The
protocol has no episodes: every episode gets its own connection, so that a server which keeps state per connection
starts with none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vlm2vla_sim.errors import ServerError, WireError
from vlm2vla_sim.policies.remote.arrays import pack_openpi, unpack
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.observations import get, put
from vlm2vla_sim.policies.remote.wire import TEXT_KEY, Reply, Request, Server, Socket

EPISODES = "vlm2vla/episode_per_connection"
"""Key of the first message: a `vlm2vla serve` server keeps state per connection; openpi's own does not."""
SEED = "vlm2vla/seed"
"""Key of a request: the episode's seed. Servers that do not use it ignore it."""


class OpenpiWire:
    """A `Wire` to an openpi server."""

    def __init__(self, server: Server, convention: Convention, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare the client; nothing is sent yet."""
        self._convention = convention
        self._socket = Socket(server, greet=self._greet, sleep=sleep)
        self._episodes = False
        self.greeting: dict[str, Any] = {}

    def start(self, instruction: str, seed: int) -> int:
        """Open a new connection."""
        self.close()
        _, retries = self._socket.with_retries(lambda: None)
        return retries

    def ask(self, request: Request) -> Reply:
        """See `Wire.ask`."""
        convention = self._convention
        query: dict[str, Any] = dict(convention.extras)
        put(query, convention.image_key, request.image)
        put(query, convention.instruction_key, request.instruction)
        if request.proprio is not None:
            put(query, convention.proprio_key, request.proprio)
        if self._episodes:
            query[SEED] = request.seed
        message = pack_openpi(query)
        answer, retries = self._socket.with_retries(lambda: self._exchange(message))
        self._socket.is_stateful = self._episodes
        actions = get(answer, convention.answer_key)
        if actions is None and "error" in answer:
            # starVLA's server, which speaks this protocol too, reports errors so and keeps the connection.
            raise ServerError(
                f"The server at {self._socket.server.url} refuses the request: {str(answer['error'])[:300]}"
            )
        text = answer.get(TEXT_KEY)
        words = answer.get(convention.text_key) if convention.text_key else None
        return Reply(actions, retries, text if isinstance(text, dict) else {}, words if isinstance(words, str) else "")

    def close(self) -> None:
        """See `Wire.close`."""
        self._socket.is_stateful = False
        self._socket.close()

    def _greet(self, connection: Any) -> None:
        self.greeting = self._read(self._socket.receive())
        self._episodes = self.greeting.get(EPISODES) is True

    def _exchange(self, message: bytes) -> dict[str, Any]:
        return self._read(self._socket.exchange(message))

    def _read(self, answer: bytes | str) -> dict[str, Any]:
        url = self._socket.server.url
        if isinstance(answer, str):
            self.close()
            # openpi sends a traceback; its last line is the error.
            last = (answer.strip().splitlines() or ["(nothing)"])[-1]
            raise ServerError(f"The server at {url} refuses the request: {last[:300]}")
        read = unpack(answer)
        if not isinstance(read, dict):
            raise WireError(f"a {type(read).__name__} instead of a map; {url} may not be an openpi server.")
        return read
