"""A small OpenAI-compatible chat server for any text model: the base model and its adapter under two names.

It lets several environments, or machines without torch, share one model. For many users use vLLM, which has the same
API. It binds to loopback by default, limits the size of requests, and stops when it has been idle for a while.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import queue
import re
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats.grammar import Grammar, escape
from vlm2vla_sim.policies.base import Question, Sampling, TextModel
from vlm2vla_sim.types import Stage

MAX_BODY = 32 * 2**20
"""[bytes] of a request."""
MAX_PIXELS = 4096 * 4096
MAX_TOKENS = 8192


@dataclass(frozen=True)
class ServedModel:
    """A text model and its names in the API."""

    model: TextModel
    base: str
    adapter: str = ""
    """Empty without an adapter."""


class ModelServer(ThreadingHTTPServer):
    """Serves until `shutdown`, or until it has been idle for `idle` seconds."""

    daemon_threads = True

    def __init__(self, served: ServedModel, *, host: str = "127.0.0.1", port: int = 0, idle: float = 1800.0) -> None:
        """Bind to `host`; port 0 takes a free one, see `url`."""
        try:
            super().__init__((host, port), _Handler)
        except OSError as taken:
            raise SettingError(f"The server cannot listen on {host}:{port}: {taken.strerror}.") from taken
        self.served = served
        self.batches = Batcher(served.model)
        self.last_request = time.monotonic()
        self._idle = idle

    @property
    def url(self) -> str:
        """The address for clients."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def service_actions(self) -> None:
        """Called by `serve_forever` about twice a second."""
        if time.monotonic() - self.last_request > self._idle:
            # From another thread, because `shutdown` waits for the loop that called us.
            threading.Thread(target=self.shutdown, daemon=True).start()


class Batcher:
    """Batches the questions that arrive while a batch is being answered."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._waiting: queue.SimpleQueue[tuple[Question, Future[Stage]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def answer(self, question: Question) -> Stage:
        """Wait for the answer."""
        future: Future[Stage] = Future()
        self._waiting.put((question, future))
        return future.result()

    def _work(self) -> None:
        while True:
            asked = [self._waiting.get()]
            while not self._waiting.empty():
                asked.append(self._waiting.get())
            try:
                stages = self._model.answer([question for question, _ in asked])
            except Exception as error:  # goes to those who wait; this thread goes on
                if len(asked) == 1:
                    asked[0][1].set_exception(error)
                    continue
                # A bad question must not fail the others: each is asked again alone.
                for question, future in asked:
                    self._answer_alone(question, future)
                continue
            for (_, future), stage in zip(asked, stages, strict=True):
                future.set_result(stage)

    def _answer_alone(self, question: Question, future: Future[Stage]) -> None:
        try:
            future.set_result(self._model.answer([question])[0])
        except Exception as error:  # goes to the one who waits
            future.set_exception(error)


class _RefusalError(Exception):
    """A request that is answered with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: ModelServer  # pyright: ignore[reportIncompatibleVariableOverride] - always ours

    def do_GET(self) -> None:
        """GET /v1/models and /health."""
        if self.path in ("/health", "/v1/health"):
            self._send(200, {"status": "ok"})
        elif self.path == "/v1/models":
            served = self.server.served
            models: list[dict[str, Any]] = [{"id": served.base, "object": "model", "owned_by": "vlm2vla_sim"}]
            if served.adapter:
                models.append({**models[0], "id": served.adapter, "parent": served.base})
            self._send(200, {"object": "list", "data": models})
        else:
            self._send_error(404, f"Unknown path {self.path}; expected /v1/models or /v1/chat/completions.")

    def do_POST(self) -> None:
        """POST /v1/chat/completions."""
        self.server.last_request = time.monotonic()
        try:
            if self.path != "/v1/chat/completions":
                raise _RefusalError(404, f"Unknown path {self.path}; expected /v1/chat/completions.")
            request = self._body()
            question = read_question(request, self.server.served)
            stage = self.server.batches.answer(question)
        except _RefusalError as refusal:
            self._send_error(refusal.status, str(refusal))
        except SettingError as wrong:
            self._send_error(400, str(wrong))
        except Exception as broken:  # the client is told, and the server goes on
            self._send_error(500, f"{type(broken).__name__}: {broken}")
        else:
            self._send(200, _completion(stage, str(request["model"])))
        self.server.last_request = time.monotonic()

    def log_message(self, format: str, *args: Any) -> None:
        """No log line for each request: there are thousands."""

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise _RefusalError(411, "The request has no Content-Length.")
        if int(length) > MAX_BODY:
            self.close_connection = True  # the rest of the body has not been read
            raise _RefusalError(413, f"The request has {int(length):,} bytes; at most {MAX_BODY:,} are accepted.")
        try:
            request = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as broken:
            raise _RefusalError(400, f"The request is not JSON: {broken}.") from broken
        if not isinstance(request, dict):
            raise _RefusalError(400, "The request is JSON, but not an object.")
        return request

    def _send_error(self, status: int, message: str) -> None:
        self._send(status, {"error": {"message": message, "type": "invalid_request_error", "code": status}})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def read_question(request: dict[str, Any], served: ServedModel) -> Question:
    """The question in a chat completion request; a refusal with a status for what this server does not support."""
    name = request.get("model")
    names = [served.base, *([served.adapter] if served.adapter else [])]
    if name not in names:
        raise _RefusalError(404, f"There is no model {name!r} on this server; it has {' and '.join(names)}.")
    for key, wanted in (("stream", (None, False)), ("n", (None, 1)), ("tools", (None, []))):
        if request.get(key) not in wanted:
            raise _RefusalError(400, f"{key} is {request[key]!r}; this server does not support that.")
    messages = request.get("messages")
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        raise _RefusalError(400, "This server answers one user message; expected messages with a single entry.")
    images, prompt = _read_content(messages[0].get("content"))
    most = request.get("max_completion_tokens") or request.get("max_tokens") or 256
    try:
        sampling = Sampling(
            float(request.get("temperature", 0)), float(request.get("top_p", 1)), min(int(most), MAX_TOKENS)
        )
        seed = int(request.get("seed") or 0)
    except (TypeError, ValueError) as wrong:
        raise _RefusalError(400, f"temperature, top_p, max_tokens or seed is invalid: {wrong}") from wrong
    grammar = _read_grammar(request.get("structured_outputs"))
    return Question("chat", prompt, tuple(images), grammar, sampling, seed, adapter=name == served.adapter)


def _read_content(content: Any) -> tuple[list[np.ndarray], str]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    images: list[np.ndarray] = []
    texts: list[str] = []
    for entry in parts if isinstance(parts, list) else [None]:
        part: dict[str, Any] = entry if isinstance(entry, dict) else {}
        text = part.get("text")
        if part.get("type") == "text" and isinstance(text, str):
            texts.append(text)
        elif part.get("type") == "image_url" and not texts:
            images.append(_read_image(part.get("image_url")))
        else:
            raise _RefusalError(400, "A message's content is text, or a list of images and, after them, texts.")
    return images, "\n".join(texts)


def _read_image(value: Any) -> np.ndarray:
    url = str(value.get("url") if isinstance(value, dict) else value)
    found = re.match(r"data:image/(?:png|jpeg);base64,", url)
    if found is None:
        raise _RefusalError(
            400, "An image is a data URL with a PNG or JPEG in base64; nothing is fetched from elsewhere."
        )
    try:
        image = Image.open(io.BytesIO(base64.b64decode(url[found.end() :], validate=True)), formats=("PNG", "JPEG"))
        if image.width * image.height > MAX_PIXELS:
            raise _RefusalError(
                413, f"The image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} in all."
            )
        return np.asarray(image.convert("RGB"))
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError) as broken:
        raise _RefusalError(400, f"The image cannot be read: {broken}.") from broken


def _read_grammar(wanted: Any) -> Grammar | None:
    """The grammar in `structured_outputs`, as in vLLM: regex, grammar or choice."""
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or len(wanted) != 1:
        raise _RefusalError(400, "structured_outputs is an object with one of: regex, grammar, choice.")
    ((kind, value),) = wanted.items()
    if kind == "choice" and isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        kind, value = "regex", "|".join(map(escape, value))
    if kind == "regex" and isinstance(value, str):
        return Grammar(value, "start: /(" + value.replace("/", r"\/") + ")/")
    if kind == "grammar" and isinstance(value, str):
        return Grammar("", value)
    raise _RefusalError(400, f"structured_outputs holds {kind!r}; expected one of: regex, grammar, choice.")


def _completion(stage: Stage, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": stage.text},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": stage.tokens, "total_tokens": stage.tokens},
    }
