"""What `http_server.HttpServer` checks before a request is read: who asks, what is sent, how much, how long.

A page in a browser on the same machine can send requests to loopback, and a page whose DNS name is rebound to it can
read the responses. So a request must name this machine in its Host header and come from no foreign page, and a body
must be declared as JSON, which a page cannot do without a preflight request that is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.serving.http_access import Access
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
    values: int = 100_000
    """Values in a request's JSON, counted by its commas and brackets: an empty list of 3 bytes takes 64 in memory."""
    connections: int = 2000
    """Clients that are connected; a further one is disconnected at once."""
    head_time: float = 10.0
    """[s] for the request line and the headers."""
    body_time: float = 30.0
    """[s] for the body."""
    requests: int = 16
    """Requests that are answered at the same time; a further one gets status 503."""
    streams: int = 8
    """Responses without an end (server-sent events) at the same time; they do not count as `requests`."""
    waiting: int = 128 * 2**20
    """[bytes] of all requests that the application has not taken yet; what goes beyond it gets status 503."""
    idle: float = 1800.0
    """[s] without a request after which the server stops."""

    def __post_init__(self) -> None:
        times = (self.head_time, self.body_time, self.idle)
        counts = (self.requests, self.streams, self.values, self.connections)
        if not 1024 <= self.body <= self.waiting or min(counts) < 1 or not all(time > 0 for time in times):
            raise SettingError(
                f"The limits are {self.body} bytes a request, {self.values} values in it, {self.requests} requests, "
                f"{self.streams} streams, {self.connections} connections, {self.head_time} s and {self.body_time} s "
                f"to send a request, {self.idle} s idle; expected 1024 to {self.waiting:,} bytes, counts from 1 up, "
                "and more than 0 s."
            )


class _RefusedError(Exception):
    """A request that is refused while its body is read."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass
class _Body:
    """The body of a request that is being received."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    """[bytes] received."""

    def take(self) -> bytes:
        """The whole body, which is not kept here."""
        whole = b"".join(self.parts)
        self.parts.clear()
        self.size = 0
        return whole


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
        self._app, self._limits = app, limits
        self._access = Access(hosts=hosts, exposed=exposed)
        self._key, self._for_browsers, self._streams = ServerKey(key, cookie=cookie), bool(cookie), frozenset(streams)
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
        body = _Body()
        try:
            async with asyncio.timeout(self._limits.body_time):
                await self._receive_body(receive, body)
        except TimeoutError:
            await _refuse(send, 408, f"The body did not arrive within {self._limits.body_time:g} s.")
        except _RefusedError as refused:
            await _refuse(send, refused.status, str(refused))
        except ConnectionError:
            return  # nobody is left to be told
        else:
            await self._pass_on(scope, body, receive, send)
        finally:
            self._held -= body.size

    async def _pass_on(self, scope: Scope, body: _Body, receive: Receive, send: Send) -> None:
        if sum(part.count(sign) for part in body.parts for sign in b",[{") > self._limits.values:
            await _refuse(send, 413, f"The request is too long; at most {self._limits.values:,} values are accepted.")
            return
        is_stream = scope["path"] in self._streams
        if is_stream and self._streaming >= self._limits.streams:
            await _refuse(send, 503, f"{self._limits.streams} streams are open; close one.")
            return
        if not is_stream and self._answering >= self._limits.requests:
            await _refuse(send, 503, f"{self._limits.requests} requests are being answered; try again later.")
            return
        taken = False
        gone = asyncio.ensure_future(_end(receive))

        async def whole() -> Message:
            nonlocal taken
            if taken:
                return await asyncio.shield(gone)
            taken = True
            self._held -= body.size  # what the application does with it is the application's
            return {"type": "http.request", "body": body.take(), "more_body": False}

        sent = False

        async def watched(message: Message) -> None:
            nonlocal sent
            sent = sent or (message["type"] == "http.response.body" and not message.get("more_body", False))
            await send(message)

        self._answering += not is_stream
        self._streaming += is_stream
        self._on_request()
        answer = asyncio.ensure_future(self._app(scope, whole, watched))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not sent:
                answer.cancel()  # the client has hung up, which frees its place; nothing happens if the answer is there
            with contextlib.suppress(asyncio.CancelledError):
                await answer
        finally:
            gone.cancel()
            answer.cancel()
            self._answering -= not is_stream
            self._streaming -= is_stream
            self._on_request()

    async def _receive_body(self, receive: Receive, body: _Body) -> None:
        """Append to `body` what the client sends."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            part = message.get("body", b"")
            if body.size + len(part) > self._limits.body:
                raise _RefusedError(413, f"The request is too long; at most {self._limits.body:,} bytes are accepted.")
            if self._held + len(part) > self._limits.waiting:
                raise _RefusedError(503, "Other requests fill the server's memory; try again later.")
            self._held += len(part)
            body.size += len(part)
            body.parts.append(part)
            more = message.get("more_body", False)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for a request that is refused by its headers alone."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if refusal := self._access.refusal(headers):
            return refusal
        asked = (scope["method"], scope["path"], scope.get("query_string", b""))
        if not self._key.accepts(headers) and not self._key.is_in_address(*asked):
            if self._for_browsers:
                return 401, "This page needs its token: open the address that the server printed when it started."
            return 401, "This server requires its key: send the header Authorization: Bearer KEY."
        length = next(iter(headers.get("content-length", ())), "0")
        if not length.isascii() or not length.isdigit():
            return 400, "The Content-Length is not a number."
        if len(length) > 12 or int(length) > self._limits.body:
            return 413, f"The request has {length[:20]} bytes; at most {self._limits.body:,} are accepted."
        kind = next(iter(headers.get("content-type", ())), "").partition(";")[0].strip().lower()
        has_body = int(length) > 0 or "transfer-encoding" in headers
        if scope["method"] not in ("GET", "HEAD") and has_body and kind != "application/json":
            return 415, f"The Content-Type is {kind[:80]!r}; expected application/json."
        return None


async def _end(receive: Receive) -> Message:
    """Wait until the client has hung up or has its response."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message


def _is_for_a_person(scope: Scope) -> bool:
    """Whether a browser asks for a page to show."""
    accepted = b", ".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    return scope["method"] == "GET" and b"text/html" in accepted


async def _refuse(send: Send, status: int, sentence: str, *, as_page: bool = False) -> None:
    if as_page:
        kind, body = "text/html; charset=utf-8", PAGE.format(html.escape(sentence)).encode()
    else:
        # In the forms of OpenAI's API and of FastAPI, which clients of our servers read.
        error = {"message": sentence, "type": "invalid_request_error", "param": None, "code": status}
        kind, body = "application/json", json.dumps({"error": error, "detail": sentence}).encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the body has not been read
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
