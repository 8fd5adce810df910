"""The client side of a wire protocol, and the websocket connection that two of them use.

Every fault of a websocket becomes one of three things: a retry, a lost episode (BackendFaultError), or an error that
ends the run (ServerError, SettingError).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from vlm2vla_sim.errors import BackendFaultError, ServerError, SettingError, WireError, missing_extra
from vlm2vla_sim.policies.models.http_client import TransientError, check_url, with_retries
from vlm2vla_sim.policies.models.proxies import find_proxy, without_password

MOST_ANSWER_BYTES = 16 * 2**20
KEY_VARIABLE = "VLM2VLA_API_KEY"
"""The environment variable that holds the key, where a server requires one."""
PROVENANCE_KEY = "vlm2vla/provenance"
"""Key under which a `vlm2vla serve` server says, as a client connects, which weights its policy uses."""
TEXT_KEY = "vlm2vla/words"
"""Key of a response under which a `vlm2vla serve` server sends the text of its policy."""

T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A server's address, time limit and retries."""

    url: str
    timeout: float = 60.0
    """[s] for one response."""
    retries: int = 3
    backoff: float = 0.5
    """[s] before the first retry; each further one waits twice as long."""

    def check(self, schemes: tuple[str, ...]) -> None:
        """SettingError unless the address has one of `schemes`, and the numbers are in range."""
        check_url(self.url, schemes, f"{schemes[0]}://127.0.0.1:8000")
        if not (math.isfinite(self.timeout) and self.timeout > 0) or self.retries < 0:
            raise SettingError(
                f"timeout is {self.timeout} and retries {self.retries}; expected more than 0 seconds and 0 or more."
            )


@dataclass(frozen=True, eq=False)
class Request:
    """What a wire protocol sends for one step, already in the server's convention."""

    instruction: str
    image: np.ndarray
    """(H, W, 3) uint8 RGB; (T, H, W, 3), oldest first, where the convention has a history."""
    proprio: np.ndarray | None
    """(N,) float32 as `observations.write_proprio`; None where the convention sends none."""
    seed: int


@dataclass(frozen=True, eq=False)
class Reply:
    """A server's answer to one request."""

    actions: Any
    """Whatever the server sent as actions; not checked yet."""
    retries: int
    text: dict[str, Any] = field(default_factory=dict)
    """From a `vlm2vla serve` server: the policy's text behind the numbers (see `serving.action_stream`)."""
    words: str = ""
    """The model's own words, from another server whose convention has a `text_key`."""


class Wire(Protocol):
    """The client side of a wire protocol: how one server is asked for actions.

    Your own is made as `factory(server, convention) -> Wire`, from a `Server` and a `conventions.Convention`. It may
    have an attribute `greeting`, a map of what the server last said about itself, which is recorded with the results.
    """

    def start(self, instruction: str, seed: int) -> int:
        """Tell the server that an episode begins; returns the number of retries."""
        ...

    def ask(self, request: Request) -> Reply:
        """The next actions.

        ServerError when the server does not send any, BackendFaultError when it has lost the episode's state.
        """
        ...

    def close(self) -> None:
        """Close the connection. May be called twice."""
        ...


class Socket:
    """A websocket to a server. It reconnects when the connection breaks, unless the server would lose the episode."""

    def __init__(self, server: Server, *, greet: Callable[[Any], None], sleep: Callable[[float], None]) -> None:
        """greet: called with every new connection, before the first request; it may use `receive` and `send`."""
        server.check(("ws", "wss"))
        self.server = server
        self.is_stateful = False
        """Whether the server keeps state of the present episode, which is lost with the connection."""
        self._greet, self._sleep = greet, sleep
        self._connection: Any = None
        self._open = contextlib.ExitStack()

    def with_retries(self, ask: Callable[[], T]) -> tuple[T, int]:
        """What `ask` returns, and the number of retries; a connection that broke is made again."""
        return with_retries(
            self.server.url,
            lambda: self._try(ask),
            retries=self.server.retries,
            backoff=self.server.backoff,
            sleep=self._sleep,
        )

    def exchange(self, message: bytes) -> bytes | str:
        """Send `message` and wait for the response."""
        try:
            self._connection.send(message)
        except _closed() as gone:
            # What the server sent before it closed the connection can still be read.
            with contextlib.suppress(TransientError):
                return self.receive()
            raise TransientError(f"it broke off ({gone}).") from gone
        return self.receive()

    def send(self, message: bytes) -> None:
        """Send `message`, which gets no response."""
        try:
            self._connection.send(message)
        except _closed() as gone:
            raise TransientError(f"it broke off ({gone}).") from gone

    def receive(self) -> bytes | str:
        """The next message: bytes, or text."""
        try:
            return self._connection.recv(timeout=self.server.timeout)
        except TimeoutError as slow:
            raise TransientError(f"it took longer than {self.server.timeout:g} s.") from slow
        except _closed() as gone:
            sent = gone.sent  # type: ignore[attr-defined]
            if sent is not None and sent.code == 1009:
                raise ServerError(
                    f"The server at {self.server.url} sent more than {MOST_ANSWER_BYTES:,} bytes in one answer."
                ) from gone
            raise TransientError(f"it broke off ({gone}).") from gone

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._connection = None
        self._open.close()

    def _try(self, ask: Callable[[], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._greet(self._connection)
            return ask()
        except (TransientError, WireError) as trouble:
            # A response that comes too late must not be taken for the response to the next request.
            self.close()
            reason = trouble if isinstance(trouble, TransientError) else TransientError(f"it sent: {trouble}")
            if self.is_stateful:
                raise BackendFaultError(
                    f"The connection to {self.server.url} was lost in the middle of an episode, and with it the "
                    f"server's state of that episode: {reason}"
                ) from trouble
            raise reason from trouble

    def _connect(self) -> Any:
        try:
            from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidURI
            from websockets.sync.client import connect
        except ModuleNotFoundError as error:
            raise missing_extra("A policy on an openpi or vla-eval server", "websockets", "remote") from error
        key = os.environ.get(KEY_VARIABLE, "")
        proxy = find_proxy(self.server.url)
        route = f" through the proxy {without_password(proxy)}" if proxy else ""
        try:
            connection = connect(
                self.server.url,
                compression=None,
                max_size=MOST_ANSWER_BYTES,
                additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
                proxy=proxy or None,
                open_timeout=self.server.timeout,
                close_timeout=1,
                ping_interval=None,  # a model may not answer pings while it computes
            )
            return self._open.enter_context(connection)
        except InvalidURI as wrong:
            raise SettingError(f"The server's address is {self.server.url!r}: {wrong}.") from wrong
        except (InvalidProxy, ImportError) as wrong:  # ImportError: a SOCKS proxy without python-socks
            raise SettingError(f"The server at {self.server.url} cannot be reached{route}: {wrong}.") from wrong
        except InvalidHandshake as refusal:
            raise TransientError(f"it refused the connection{route} ({refusal}).") from refusal
        except _closed() as gone:  # while the handshake is sent
            raise TransientError(f"it broke off{route} ({gone}).") from gone
        except TimeoutError as slow:
            raise TransientError(f"it took longer than {self.server.timeout:g} s{route}.") from slow
        except (OSError, EOFError) as failed:
            raise TransientError(f"{type(failed).__name__}{route}: {failed}.") from failed


def _closed() -> type[Exception]:
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed
