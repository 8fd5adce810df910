"""Runs an ASGI application behind `http_gate.HttpGate`, with uvicorn in a thread of this process.

It listens on loopback unless `expose` is set, and stops when it is told to or when no request has come for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import Collection, Iterable
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.proxies import is_loopback
from vlm2vla_sim.serving.http_gate import App, HttpGate, HttpLimits

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ModuleNotFoundError as error:
    raise missing_extra("An HTTP server", error.name or "uvicorn", "remote") from error

GRACE = 10
"""[s] that a stopping server waits for a request that is being answered."""
START = 10.0
"""[s] after which a server that does not run counts as broken."""
LARGEST_HEAD = 16 * 1024
"""[bytes] of a request line and its headers."""
OPEN_FILES = 8192
"""File descriptors that a server asks for, where the system allows as many: each waiting client holds one."""


class HttpServer:
    """Serves an application until `stop`, or until it is idle for `HttpLimits.idle` seconds. A context manager."""

    def __init__(
        self,
        app: App,
        limits: HttpLimits | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        expose: bool = False,
        key: str = "",
        pages: bool = False,
        streams: Collection[str] = (),
        hosts: Iterable[str] = (),
    ) -> None:
        """Bind to `host`; port 0 takes a free one, see `url`. A host other than loopback needs `expose`.

        app, key, streams, hosts: as for `HttpGate`. pages: whether a browser may bring the key in a cookie, which it
        gets from the address `url` + "/?token=" + key. SettingError if the address cannot be used.
        """
        if not (expose or is_loopback(host)):
            raise SettingError(
                f"The server would listen on {host}, where others on the network can send requests. Leave the host at "
                "127.0.0.1 and forward the port (ssh -L), or pass --expose."
            )
        self.limits = limits or HttpLimits()
        self.last_request = time.monotonic()
        _raise_file_limit()
        self._socket = _listen(host, port)
        address, taken = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{taken}"
        """The address for clients, without a path."""
        gate = HttpGate(
            app,
            self.limits,
            hosts=[*hosts, host],
            key=key,
            cookie=f"vlm2vla_{taken}" if pages else "",  # browsers keep one cookie of a name for all ports of a host
            streams=streams,
            exposed=not is_loopback(host),
            on_request=self._note,
        )
        config = uvicorn.Config(
            gate,
            http=_protocol(self.limits),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # a port scan must not fill the log
            access_log=False,
            server_header=False,
            timeout_keep_alive=max(1, math.ceil(self.limits.head_time)),
            timeout_graceful_shutdown=GRACE,
            h11_max_incomplete_event_size=LARGEST_HEAD,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> HttpServer:
        self._thread.start()
        end = time.monotonic() + START
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                raise SettingError(f"The server at {self.url} did not start.")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, told: threading.Event) -> bool:
        """Wait until `told` is set or the server has been idle for too long; returns whether `told` was set."""
        while not told.wait(0.2):
            if time.monotonic() - self.last_request > self.limits.idle:
                return False
        return True

    def stop(self) -> bool:
        """Stop listening; returns whether all requests ended within `GRACE` seconds."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(GRACE + 2)
        self._socket.close()
        return not self._thread.is_alive()

    def _note(self) -> None:
        self.last_request = time.monotonic()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off. With it, a kept connection answers after 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except (OSError, OverflowError) as taken:
        listening.close()
        why = getattr(taken, "strerror", None) or taken
        raise SettingError(f"The server cannot listen on {host}:{port}: {why}.") from taken
    return listening


def _protocol(limits: HttpLimits) -> type[asyncio.Protocol]:
    """The protocol of uvicorn, with a limit of connections, and of the time to the headers of a request."""

    class Limited(H11Protocol):
        def connection_made(self, transport: Any) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.head_timer = self.loop.call_later(limits.head_time, self.close_if_silent)
            if len(self.connections) > limits.connections:
                transport.abort()

        def close_if_silent(self) -> None:
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self.transport.close()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.head_timer.cancel()
            self.head_timer = self.loop.call_later(limits.head_time, self.close_if_silent)

        def connection_lost(self, exc: Exception | None) -> None:
            self.head_timer.cancel()
            super().connection_lost(exc)

    return Limited


def _raise_file_limit() -> None:
    try:
        import resource
    except ModuleNotFoundError:
        return  # not a Unix system, which has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # the system may still refuse; the server works with fewer
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
