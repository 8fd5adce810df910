"""The connections of a websocket server: who may connect, how many clients may be at it, and what a message takes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from vlm2vla_sim.serving.http_access import Access
from vlm2vla_sim.serving.http_key import ServerKey

MOST = 100
"""Clients whose headers have not come yet. Each has threads of its own, and may send up to 1 MiB of headers."""
HEALTH = {"/healthz": "OK\n", "/health": '{"status": "ok"}\n'}
"""Responses to a plain GET, as openpi's and vla-eval's servers send them."""


class Handshakes:
    """Checks the headers of each client. Where too many clients are slow, the one that came first is disconnected."""

    def __init__(self, access: Access, key: ServerKey) -> None:
        self._access, self._key = access, key
        self._begun: dict[socket.socket, None] = {}
        self._lock = threading.Lock()

    def around(self, handle: Callable[[socket.socket, Any], None]) -> Callable[[socket.socket, Any], None]:
        """`handle`, which a server calls in a thread for each connection, with the limit of handshakes."""

        def limited(link: socket.socket, address: Any) -> None:
            with self._lock:
                self._begun[link] = None
                oldest = next(iter(self._begun)) if len(self._begun) > MOST else None
                if oldest is not None:
                    del self._begun[oldest]
            if oldest is not None:
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            try:
                handle(link, address)
            finally:
                self.end(link)

        return limited

    def end(self, link: socket.socket) -> None:
        """The handshake of `link` has ended."""
        with self._lock:
            self._begun.pop(link, None)

    def check(self, connection: Any, request: Any) -> Any:
        """The response that refuses a client, or says that the server is there; None for a client that may go on."""
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.raw_items():
            headers.setdefault(name.lower(), []).append(value)
        refusal = self._access.refusal(headers)
        if refusal is None and not self._key.accepts(headers):
            refusal = 401, "This server requires its key: send the header Authorization: Bearer KEY."
        if refusal is not None:
            return connection.respond(HTTPStatus(refusal[0]), f"{refusal[1]}\n")
        text = HEALTH.get(request.path)
        return None if text is None else connection.respond(HTTPStatus.OK, text)


def in_turn(turn: threading.Lock) -> Any:
    """The class of a websocket's connections, of which one at a time parses what it has received.

    A frame takes three times its size of memory while it is parsed.
    """
    from websockets.sync.server import ServerConnection

    class InTurn(ServerConnection):
        def __init__(self, sock: Any, protocol: Any, server: Any, **options: Any) -> None:
            parse = protocol.receive_data

            def receive_data(data: bytes) -> None:
                with turn:
                    parse(data)

            protocol.receive_data = receive_data
            super().__init__(sock, protocol, server, **options)

    return InTurn
