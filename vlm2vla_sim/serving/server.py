"""What all wire protocols for policies share, and the websocket server.

It listens on loopback unless `expose` is set, limits the size of messages and the number of clients, refuses requests
from web pages, disconnects idle clients, and stops when it is told to or when no request has come for a while.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlm2vla_sim.errors import SettingError, Vlm2VlaError, missing_extra
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.models.proxies import is_loopback
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.convert import check_relative, write_deltas
from vlm2vla_sim.policies.remote.observations import read_proprio
from vlm2vla_sim.serving.action_stream import ActionResponse, ActionStream
from vlm2vla_sim.serving.handshakes import Handshakes, in_turn
from vlm2vla_sim.serving.http_access import Access
from vlm2vla_sim.serving.http_key import ServerKey

if TYPE_CHECKING:
    from vlm2vla_sim.serving.http_server import HttpServer

GOING_AWAY, BROKEN, TRY_LATER = 1001, 1011, 1013
"""Websocket close codes."""
LONGEST_INSTRUCTION = 2000
SMALLEST, LARGEST = 16, 4096
"""Sides of an image [pixels]."""
GRACE = 10.0
"""[s] that a stopping server waits for a decision in progress."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server."""

    message: int = 4 * 2**20
    """[bytes] of one message; an image of 640 x 480 has 0.9 MiB. A client may take twice as much memory."""
    connections: int = 16
    """Clients at the same time."""
    idle: float = 1800.0
    """[s] without a request after which a client is disconnected, and after which the server stops."""
    rows: int = 0
    """Control steps in a response; 0 for all steps of a decision."""
    hosts: tuple[str, ...] = ()
    """Further names by which clients reach the server, such as that of a tunnel; see `http_access.Access`."""
    key: str = ""
    """A secret that every client must bring, as `Authorization: Bearer KEY` or `Api-Key KEY`; empty for none."""
    handshake: float = 10.0
    """[s] for the headers of a request."""

    def __post_init__(self) -> None:
        times = (self.idle, self.handshake)
        if self.message < 1024 or self.connections < 1 or self.rows < 0 or not all(time > 0 for time in times):
            raise SettingError(
                f"The limits are {self.message} bytes a message, {self.connections} connections, {self.rows} rows, "
                f"{self.idle} s idle and {self.handshake} s for a handshake; expected at least 1024 bytes, 1 "
                "connection and 0 rows, and more than 0 s."
            )


def check_servable(convention: Convention) -> None:
    """SettingError for a convention that a policy of this package cannot be served in."""
    check_relative(convention)
    keys = (convention.image_key, convention.instruction_key, convention.proprio_key)
    if (
        convention.answer_key != "actions"
        or convention.encoded
        or convention.history > 1
        or {tuple} & set(map(type, keys))
    ):
        raise SettingError(
            f"The convention ({convention.about}) is that of another server's messages, which only the client speaks; "
            "choose another convention."
        )


class Dispatcher:
    """What a protocol's handler works with: it opens action streams, and lets one policy at a time compute."""

    def __init__(self, make: Callable[[], Policy], convention: Convention, limits: Limits) -> None:
        check_servable(convention)
        self.convention, self.limits = convention, limits
        self.last_request = time.monotonic()
        self._make = make
        # There is one accelerator, and policies are not thread-safe.
        self._computing = threading.Lock()
        self.reading = threading.Lock()
        """Held while a message is unpacked, which takes several times its size of memory."""

    def open(self) -> ActionStream:
        """An action stream with a policy of its own, for a new client."""
        with self._computing:
            return ActionStream(self._make(), rows=self.limits.rows)

    def start(self, session: ActionStream, instruction: Any, seed: Any) -> None:
        """Begin an episode.

        SettingError unless `instruction` is a text of 1 to 2000 characters and `seed` a whole number from 0 up, or None
        for 0.
        """
        if not isinstance(instruction, str) or not 0 < len(instruction.strip()) <= LONGEST_INSTRUCTION:
            raise SettingError(
                f"The instruction is {str(instruction)[:80]!r}; expected a text of 1 to {LONGEST_INSTRUCTION} "
                f"characters under {self.convention.instruction_key!r}."
            )
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise SettingError(f"The seed is {str(seed)[:80]!r}; expected a whole number from 0 up.")
        with self._computing:
            session.reset(instruction, seed or 0)

    def answer(self, session: ActionStream, image: Any, state: Any) -> tuple[np.ndarray, ActionResponse]:
        """The next control steps, (T, width) float32 in the client's convention, and the response they come from.

        image: (H, W, 3) uint8 RGB. state: the proprioception as the convention defines it, or None. SettingError for
        anything else.
        """
        self.last_request = time.monotonic()
        observation: dict[str, Any] = {"pixels": {"primary": check_image(image)}}
        if state is not None and self.convention.proprio:
            observation["agent_pos"] = read_proprio(state, self.convention)
        with self._computing:
            response = session.next(observation)
        self.last_request = time.monotonic()
        return write_deltas(response.steps, self.convention), response


class Handler(Protocol):
    """The server side of a wire protocol: handles one client until it disconnects."""

    def __call__(self, connection: Any, dispatcher: Dispatcher) -> None:
        """Handle one client.

        connection: a websocket with `send`, `recv(timeout=)` and `close(code, reason)`. ConnectionClosed and
        TimeoutError may be raised: the server takes them as the end of the connection.
        """
        ...


@dataclass(frozen=True)
class ServerProtocol:
    """A wire protocol that a policy can be served over: an entry of `protocols.PROTOCOLS`, or your own."""

    handle: Handler | None = None
    """For a protocol over websockets: handles one client."""
    rows: int = 0
    """Control steps in a response unless the user says otherwise; 0 for all steps of a decision."""
    wire: str = ""
    """Key of `conventions.CONVENTIONS` whose conventions can be named; with "", only "vlm2vla" and your own."""

    app: Callable[[Dispatcher], Any] | None = None
    """For a protocol over HTTP: makes the ASGI application that answers all clients."""

    def __post_init__(self) -> None:
        if (self.handle is None) is (self.app is None):
            raise SettingError("A ServerProtocol has either `handle`, for websockets, or `app`, for HTTP.")

    def server(
        self, dispatcher: Dispatcher, *, host: str = "127.0.0.1", port: int = 0, expose: bool = False
    ) -> PolicyServer | HttpServer:
        """A server of this protocol; see `PolicyServer` and `http_server.HttpServer`."""
        if self.handle is not None:
            return PolicyServer(self.handle, dispatcher, host=host, port=port, expose=expose)
        assert self.app is not None
        from vlm2vla_sim.serving.http_gate import HttpLimits
        from vlm2vla_sim.serving.http_server import HttpServer

        limits = dispatcher.limits
        http = HttpLimits(
            limits.message,
            head_time=limits.handshake,
            requests=limits.connections,
            waiting=max(HttpLimits.waiting, 2 * limits.message),
            idle=limits.idle,
        )
        return HttpServer(
            self.app(dispatcher), http, host=host, port=port, expose=expose, key=limits.key, hosts=limits.hosts
        )


class PolicyServer:
    """Serves a policy until `stop`, or until it is idle for `Limits.idle` seconds. A context manager."""

    def __init__(
        self, handle: Handler, dispatcher: Dispatcher, *, host: str = "127.0.0.1", port: int = 0, expose: bool = False
    ) -> None:
        """Bind to `host`; port 0 takes a free one, see `url`. A host other than loopback needs `expose`."""
        if not (expose or is_loopback(host)):
            raise SettingError(
                f"The server would listen on {host}, where others on the network can send requests without a key. "
                "Leave the host at 127.0.0.1 and forward the port (ssh -L), or pass --expose."
            )
        try:
            from websockets.sync.server import serve
        except ModuleNotFoundError as error:
            raise missing_extra("`vlm2vla serve`", "websockets", "remote") from error
        self.dispatcher = dispatcher
        self._handle = handle
        limits = dispatcher.limits
        self._slots = threading.BoundedSemaphore(limits.connections)
        self._handshakes = Handshakes(
            Access(hosts=[*limits.hosts, host], exposed=not is_loopback(host)), ServerKey(limits.key)
        )
        silent = logging.getLogger("vlm2vla_sim.serving.websockets")
        silent.setLevel(logging.CRITICAL + 1)  # a port scan must not fill the log
        try:
            self._server = serve(
                self._receive,
                host,
                port,
                origins=[None],  # browsers send the origin of their page; no page is allowed
                compression=None,
                max_size=limits.message,
                max_queue=0,  # no message is read while another one waits
                process_request=self._handshakes.check,
                open_timeout=limits.handshake,
                ping_interval=None,  # a client that steps its simulator does not answer pings
                close_timeout=1,
                logger=silent,
                create_connection=in_turn(dispatcher.reading),
                backlog=1024,  # a client that finds it full asks again after seconds
            )
        except OSError as taken:
            raise SettingError(f"The server cannot listen on {host}:{port}: {taken.strerror or taken}.") from taken
        self._server.handler = self._handshakes.around(self._server.handler)
        address, port = self._server.socket.getsockname()[:2]
        self.url = f"ws://{f'[{address}]' if ':' in address else address}:{port}"
        """The address for clients."""
        self._loop = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> PolicyServer:
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, told: threading.Event) -> bool:
        """Wait until `told` is set or the server has been idle for too long; returns whether `told` was set."""
        while not told.wait(0.2):
            if time.monotonic() - self.dispatcher.last_request > self.dispatcher.limits.idle:
                return False
        return True

    def stop(self) -> bool:
        """Disconnect all clients and stop listening; returns whether all ended within `GRACE` seconds."""
        closing = threading.Thread(target=self._server.shutdown, daemon=True)
        closing.start()
        closing.join(GRACE)
        return not closing.is_alive()

    def _receive(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        self._handshakes.end(connection.socket)
        if not self._slots.acquire(blocking=False):
            connection.close(TRY_LATER, f"{self.dispatcher.limits.connections} clients are being served; try later.")
            return
        try:
            with contextlib.suppress(ConnectionClosed):
                self._handle(connection, self.dispatcher)
        except TimeoutError:
            connection.close(GOING_AWAY, f"No request for {self.dispatcher.limits.idle:g} s.")
        except Exception as error:  # no policy could be made for this client, which is told why
            with contextlib.suppress(ConnectionClosed):
                connection.send(sentence(error))
                connection.close(BROKEN, "The previous message says why.")
        finally:
            self._slots.release()


def sentence(error: Exception) -> str:
    """The message for a client about `error`. A bug is also printed to stderr, with its traceback."""
    if isinstance(error, Vlm2VlaError):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def check_image(image: Any) -> np.ndarray:
    """`image`, (H, W, 3) uint8 RGB; SettingError for anything else."""
    if not isinstance(image, np.ndarray):
        raise SettingError(f"The image is {type(image).__name__}; expected an array (H, W, 3) of uint8.")
    sides = image.shape[:2]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not _are_sides(sides):
        raise SettingError(
            f"The image has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB, {SMALLEST} to "
            f"{LARGEST} pixels a side."
        )
    return image


def _are_sides(sides: tuple[int, ...]) -> bool:
    return all(SMALLEST <= side <= LARGEST for side in sides)
