"""What a wire must be able to do, and the websocket that two of them speak over.

A websocket fails in a dozen ways, and each library names them anew. Here they become three: try again, the episode is
lost, or one sentence that ends the run.
"""

from __future__ import annotations

import contextlib
import math
import os
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from vlm2vla_sim.errors import BackendFaultError, ServerError, SettingError, WireError, missing_extra
from vlm2vla_sim.policies.models.http_client import TryAgainError, is_loopback, persist

MOST_ANSWER_BYTES = 16 * 2**20
KEY_VARIABLE = "VLM2VLA_API_KEY"
"""The environment variable that holds the key, where a server wants one."""
WORDS = "vlm2vla/words"
"""Key of an answer with which a server of ours says what the policy said."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Server:
    """Where a server is, and how long it is waited for."""

    url: str
    timeout: float = 60.0
    """[s] for one answer."""
    retries: int = 3
    backoff: float = 0.5
    """[s] before the first retry; it doubles with each further one."""

    def check(self, schemes: tuple[str, ...]) -> None:
        """SettingError unless the address has one of `schemes`, and the numbers make sense."""
        split = urllib.parse.urlsplit(self.url)
        if split.scheme not in schemes or not split.hostname:
            raise SettingError(
                f"The server's address is {self.url!r}; expected one like {schemes[0]}://127.0.0.1:8000."
            )
        if not (math.isfinite(self.timeout) and self.timeout > 0) or self.retries < 0:
            raise SettingError(
                f"timeout is {self.timeout} and retries {self.retries}; expected more than 0 seconds and 0 or more."
            )


@dataclass(frozen=True, eq=False)
class Sight:
    """What a wire may tell a server: already in the server's own convention."""

    instruction: str
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    proprio: np.ndarray | None
    seed: int


@dataclass(frozen=True, eq=False)
class Reply:
    """What a server answered."""

    actions: Any
    """Whatever stood where the actions belong; not yet checked."""
    retries: int
    said: dict[str, Any] = field(default_factory=dict)
    """From a server of ours: the words behind the numbers (see `serving.session.Move`)."""


class Wire(Protocol):
    """A way to ask a server."""

    def start(self, instruction: str, seed: int) -> int:
        """Tell the server that an episode begins; returns the retries it took."""
        ...

    def ask(self, sight: Sight) -> Reply:
        """The next actions. ServerError when the server does not give any, BackendFaultError when it has forgotten."""
        ...

    def close(self) -> None:
        """Leave the server. May be called twice."""
        ...


class Socket:
    """A websocket to a server; made again when it breaks, unless the server would not know us any more."""

    def __init__(self, server: Server, *, greet: Callable[[Any], None], sleep: Callable[[float], None]) -> None:
        """greet: called with the new connection, `receive` and `send` at hand, before the first question."""
        server.check(("ws", "wss"))
        self.server = server
        self.remembers = False
        """Whether what the server knows of an episode is lost with the connection."""
        self._greet, self._sleep = greet, sleep
        self._connection: Any = None
        self._open = contextlib.ExitStack()

    def persist(self, ask: Callable[[], Result]) -> tuple[Result, int]:
        """What `ask` returns, over a new connection where the old one broke, and the retries that took."""
        return persist(
            self.server.url,
            lambda: self._try(ask),
            retries=self.server.retries,
            backoff=self.server.backoff,
            sleep=self._sleep,
        )

    def exchange(self, message: bytes) -> bytes | str:
        """Send `message` and wait for the answer."""
        try:
            self._connection.send(message)
        except _closed() as gone:
            # What the server said before it hung up is still to be read.
            with contextlib.suppress(TryAgainError):
                return self.receive()
            raise TryAgainError(f"it broke off ({gone}).") from gone
        return self.receive()

    def send(self, message: bytes) -> None:
        """Send `message`, to which there is no answer."""
        try:
            self._connection.send(message)
        except _closed() as gone:
            raise TryAgainError(f"it broke off ({gone}).") from gone

    def receive(self) -> bytes | str:
        """The next message: bytes, or text."""
        try:
            return self._connection.recv(timeout=self.server.timeout)
        except TimeoutError as slow:
            raise TryAgainError(f"it took longer than {self.server.timeout:g} s.") from slow
        except _closed() as gone:
            sent = gone.sent  # type: ignore[attr-defined]
            if sent is not None and sent.code == 1009:
                raise ServerError(
                    f"The server at {self.server.url} sent more than {MOST_ANSWER_BYTES:,} bytes in one answer."
                ) from gone
            raise TryAgainError(f"it broke off ({gone}).") from gone

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._connection = None
        self._open.close()

    def _try(self, ask: Callable[[], Result]) -> Result:
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._greet(self._connection)
            return ask()
        except (TryAgainError, WireError) as trouble:
            # An answer that comes too late must not be taken for that to the next question.
            self.close()
            reason = trouble if isinstance(trouble, TryAgainError) else TryAgainError(f"it sent: {trouble}")
            if self.remembers:
                raise BackendFaultError(
                    f"The connection to {self.server.url} was lost in the middle of an episode, and with it what the "
                    f"server knew of the episode: {reason}"
                ) from trouble
            raise reason from trouble

    def _connect(self) -> Any:
        try:
            from websockets.exceptions import InvalidHandshake, InvalidURI
            from websockets.sync.client import connect
        except ModuleNotFoundError as error:
            raise missing_extra("A policy on an openpi or vla-eval server", "websockets", "remote") from error
        key = os.environ.get(KEY_VARIABLE, "")
        host = urllib.parse.urlsplit(self.server.url).hostname or ""
        try:
            connection = connect(
                self.server.url,
                compression=None,
                max_size=MOST_ANSWER_BYTES,
                additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
                proxy=None if is_loopback(host) else True,  # a proxy cannot reach this machine's own loopback
                open_timeout=self.server.timeout,
                close_timeout=1,
                ping_interval=None,  # a model that thinks may not answer pings meanwhile
            )
            return self._open.enter_context(connection)
        except InvalidURI as wrong:
            raise SettingError(f"The server's address is {self.server.url!r}: {wrong}.") from wrong
        except InvalidHandshake as refusal:
            raise TryAgainError(f"it refused to talk ({refusal}).") from refusal
        except TimeoutError as slow:
            raise TryAgainError(f"it took longer than {self.server.timeout:g} s.") from slow
        except (OSError, EOFError) as failed:
            raise TryAgainError(f"{type(failed).__name__}: {failed}.") from failed


def _closed() -> type[Exception]:
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed
