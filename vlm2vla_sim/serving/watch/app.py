"""What the operator's page asks for: its files, the session's state as server-sent events, pictures, and presses.

It stands behind `http_gate`, which checks who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from vlm2vla_sim.evaluation.operator.buttons import meaning_of
from vlm2vla_sim.evaluation.operator.live_files import PICTURES, LiveFiles

EVENTS = "/events"
FOLDER = Path(__file__).parent / "page"
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/connection.js": ("connection.js", "text/javascript"),
    "/view.js": ("view.js", "text/javascript"),
    "/buttons.js": ("buttons.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path -> file in `page/` and its media type."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LOOK = 0.1
"""[s] between two looks at the state."""
BEAT = 1.0
"""[s] after which an unchanged state is sent again: a page that hears nothing for longer says so."""
LIFE = 60.0
"""[s] of a stream of events. The page opens the next; a stream whose page has vanished does not take room for ever."""
STUCK = 5.0
"""[s] after `LIFE` in which the last event must have been taken."""
PRESS = {"button", "episode", "value"}
"""The fields of a press; "value" with some buttons only."""


def make_app(files: LiveFiles, closing: threading.Event) -> Starlette:
    """The ASGI application. Streams of events end when `closing` is set."""

    async def events(request: Request) -> Response:
        return _Stream(_states(files, closing), headers=HEADERS, media_type="text/event-stream")

    async def picture(request: Request) -> Response:
        content = await run_in_threadpool(files.picture, request.url.path[1:])
        return _text(404, "No picture yet.") if content is None else _answer(content, "image/jpeg")

    async def press(request: Request) -> Response:
        try:
            button, episode, value = _read_press(await request.body())
        except (ValueError, RecursionError):
            return _text(400, "Not a button of this page.")
        try:
            await run_in_threadpool(files.press, button, episode, value)
        except OSError as error:
            return _text(507, f"The press could not be written ({error.strerror}).")
        return _answer(b"{}", "application/json")

    routes = [Route(path, _static(name, kind)) for path, (name, kind) in PAGE.items()]
    routes += [Route(f"/{name}", picture) for name in PICTURES]
    return Starlette(routes=[*routes, Route(EVENTS, events), Route("/press", press, methods=["POST"])])


class _Stream(StreamingResponse):
    """A stream that ends even if its page takes nothing."""

    async def stream_response(self, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIFE + STUCK):
                await super().stream_response(send)


def _static(name: str, kind: str) -> Any:
    content = (FOLDER / name).read_bytes()

    async def page_file(request: Request) -> Response:
        return _answer(content, kind)

    return page_file


async def _states(files: LiveFiles, closing: threading.Event) -> AsyncIterator[str]:
    """The state as server-sent events: at once, when it changes, and every `BEAT` seconds."""
    end, sent, last = time.monotonic() + LIFE, -BEAT, None
    while not closing.is_set() and time.monotonic() < end:
        state = await run_in_threadpool(files.state)
        known = {key: value for key, value in state.items() if key != "now"}
        if known != last or time.monotonic() - sent >= BEAT:
            yield f"data: {json.dumps(state)}\n\n"
            last, sent = known, time.monotonic()
        await asyncio.sleep(LOOK)


def _read_press(body: bytes) -> tuple[str, int, object]:
    """Button, episode and value of a press; ValueError for anything else."""
    press = json.loads(body)
    if not isinstance(press, dict) or not press.keys() <= PRESS or type(press.get("episode")) is not int:
        raise ValueError("not a press")
    meaning_of(press.get("button"), press.get("value"))
    return press["button"], press["episode"], press.get("value")


def _answer(content: bytes, kind: str, status: int = 200) -> Response:
    return Response(content, status, HEADERS, kind)


def _text(status: int, sentence: str) -> Response:
    return _answer(sentence.encode(), "text/plain", status)
