"""What `http_server.HttpServer` checks before a request is read: who asks, what is sent, how much, how long.

A page in a browser on the same machine can send requests to loopback, and a page whose DNS name is rebound to it can
read the responses. So a request must name this machine in its Host header and come from no foreign page, and a body
must be declared as JSON, which a page cannot do without a preflight request that is refused.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.serving.http_key import ServerKey

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""
PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><title>Refused</title><h1>{}</h1>'
)
"""A refusal for a person, with one sentence."""


@dataclass(frozen=True)
class HttpLimits:
    """Limits of an HTTP server."""

    body: int = 32 * 2**20
    """[bytes] of a request."""
    head_time: float = 10.0
    """[s] for the request line and the headers."""
    body_time: float = 30.0
    """[s] for the body."""
    requests: int = 16
    """Requests that are answered at the same time; a further one gets status 503."""
    streams: int = 8
    """Responses without an end (server-sent events) at the same time; they do not count as `requests`."""
    waiting: int = 128 * 2**20
    """[bytes] of all requests that are being received or answered; what goes beyond it gets status 503."""
    idle: float = 1800.0
    """[s] without a request after which the server stops."""

    def __post_init__(self) -> None:
        times = (self.head_time, self.body_time, self.idle)
        counts = (self.requests, self.streams)
        if not 1024 <= self.body <= self.waiting or min(counts) < 1 or not all(time > 0 for time in times):
            raise SettingError(
                f"The limits are {self.body} bytes a request, {self.requests} requests, {self.streams} streams, "
                f"{self.head_time} s and {self.body_time} s to send one, {self.idle} s idle; expected 1024 to "
                f"{self.waiting:,} bytes, 1 request and stream or more, and more than 0 s."
            )


class _RefusedError(Exception):
    """A request that is refused while its body is read."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class HttpGate:
    """An ASGI application that passes on the requests that may be answered, and refuses the others.

    The application behind it receives the whole body in one message.
    """

    def __init__(
        self,
        app: App,
        limits: HttpLimits,
        *,
        hosts: Iterable[str] = (),
        key: str = "",
        cookie: str = "",
        streams: Collection[str] = (),
        exposed: bool = False,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        """Put the checks in front of `app`.

        Args:
            app: the application, an ASGI one.
            limits: of a request.
            hosts: further names in a Host header that mean this server.
            key: a secret that every request must bring, as `Authorization: Bearer KEY`; empty for none.
            cookie: the name of the cookie in which a browser may bring the key, see `http_key`; empty for no browsers.
            streams: paths of responses without an end, which `HttpLimits.streams` limits.
            exposed: whether requests come from the network: then any address of this machine may be named, not only
                loopback.
            on_request: called for every request that is passed on.
        """
        self._app, self._limits, self._exposed = app, limits, exposed
        self._key, self._for_browsers, self._streams = ServerKey(key, cookie=cookie), bool(cookie), frozenset(streams)
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        if exposed:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._on_request = on_request
        self._answering = self._streaming = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request; see the class."""
        if scope["type"] != "http":
            raise NotImplementedError(f"This server has no {scope['type']} connections.")
        if refusal := self._refusal(scope):
            await _refuse(send, *refusal, as_page=self._for_browsers and _is_for_a_person(scope))
            return
        if self._key.is_in_address(scope["method"], scope["path"], scope.get("query_string", b"")):
            headers, page = self._key.welcome()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": page})
            return
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._limits.body_time):
                await self._receive_body(receive, parts)
        except TimeoutError:
            await _refuse(send, 408, f"The body did not arrive within {self._limits.body_time:g} s.")
        except _RefusedError as refused:
            await _refuse(send, refused.status, str(refused))
        except ConnectionError:
            return  # nobody is left to be told
        else:
            await self._pass_on(scope, b"".join(parts), receive, send)
        finally:
            self._held -= sum(map(len, parts))

    async def _pass_on(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        is_stream = scope["path"] in self._streams
        if is_stream and self._streaming >= self._limits.streams:
            await _refuse(send, 503, f"{self._limits.streams} streams are open; close one.")
            return
        if not is_stream and self._answering >= self._limits.requests:
            await _refuse(send, 503, f"{self._limits.requests} requests are being answered; try again later.")
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def whole() -> Message:
            return messages.pop() if messages else await receive()

        self._answering += not is_stream
        self._streaming += is_stream
        self._on_request()
        try:
            await self._app(scope, whole, send)
        finally:
            self._answering -= not is_stream
            self._streaming -= is_stream
            self._on_request()

    async def _receive_body(self, receive: Receive, parts: list[bytes]) -> None:
        """Append the body to `parts`."""
        more, size = True, 0
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            part = message.get("body", b"")
            size += len(part)
            if size > self._limits.body:
                raise _RefusedError(413, f"The request is too long; at most {self._limits.body:,} bytes are accepted.")
            if self._held + len(part) > self._limits.waiting:
                raise _RefusedError(503, "Other requests fill the server's memory; try again later.")
            self._held += len(part)
            parts.append(part)
            more = message.get("more_body", False)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for a request that is refused by its headers alone."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if any(len(headers.get(name, ())) > 1 for name in ("host", "origin", "content-length", "authorization")):
            return 400, "A header that may be there once is there twice."
        host = next(iter(headers.get("host", ())), "")
        if not self._is_here(_name_of(f"//{host}")):
            return 403, f"The Host header is {host[:80]!r}, which is no name of this server (--allow-host adds one)."
        origin = next(iter(headers.get("origin", ())), None)
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, f"Pages of {origin[:80]!r} may not use this server."
        asked = (scope["method"], scope["path"], scope.get("query_string", b""))
        if not self._key.accepts(headers) and not self._key.is_in_address(*asked):
            if self._for_browsers:
                return 401, "This page needs its token: open the address that the server printed when it started."
            return 401, "This server requires its key: send the header Authorization: Bearer KEY."
        length = next(iter(headers.get("content-length", ())), "0")
        if not length.isascii() or not length.isdigit():
            return 400, "The Content-Length is not a number."
        if int(length) > self._limits.body:
            return 413, f"The request has {int(length):,} bytes; at most {self._limits.body:,} are accepted."
        kind = next(iter(headers.get("content-type", ())), "").partition(";")[0].strip().lower()
        has_body = int(length) > 0 or "transfer-encoding" in headers
        if scope["method"] not in ("GET", "HEAD") and has_body and kind != "application/json":
            return 415, f"The Content-Type is {kind[:80]!r}; expected application/json."
        return None

    def _is_here(self, name: str) -> bool:
        """Whether `name`, of a Host header, means this machine and not a name that was rebound to it."""
        if name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._exposed or address.is_loopback


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_for_a_person(scope: Scope) -> bool:
    """Whether a browser asks for a page to show."""
    accepted = b", ".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    return scope["method"] == "GET" and b"text/html" in accepted


async def _refuse(send: Send, status: int, sentence: str, *, as_page: bool = False) -> None:
    if as_page:
        kind, body = "text/html; charset=utf-8", PAGE.format(html.escape(sentence)).encode()
    else:
        kind, body = (
            "application/json",
            json.dumps({"error": {"message": sentence, "code": status}, "detail": sentence}).encode(),
        )
    headers = [
        (b"content-type", kind.encode()),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the body has not been read
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
