"""A small OpenAI-compatible chat server for any text model: the base model and its adapter under two names.

It lets several environments, or machines without torch, share one model. For many users use vLLM, which has the same
API. It binds to loopback by default, limits the size of requests, and stops when it has been idle for a while. What a
request asks for is done, or refused with the name of the field (`chat_request`).
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vlm2vla_sim.core.versions import distribution_version
from vlm2vla_sim.errors import GrammarError, SettingError
from vlm2vla_sim.policies.base import TextModel, follows_grammar, provenance
from vlm2vla_sim.policies.models.batcher import Batcher
from vlm2vla_sim.serving.chat_request import Names, read_body, read_question
from vlm2vla_sim.serving.chat_values import grammar_fields
from vlm2vla_sim.serving.refusal import RefusalError
from vlm2vla_sim.types import Stage

MAX_BODY = 32 * 2**20
"""[bytes] of a request."""
SERVER = f"vlm2vla_sim/{distribution_version('vlm2vla_sim') or 'unknown'}"


@dataclass(frozen=True)
class ServedModel:
    """A text model and its names in the API."""

    model: TextModel
    base: str
    adapter: str = ""
    """Empty without an adapter."""

    def names(self) -> Names:
        """What a request may ask for."""
        return Names(self.base, self.adapter, bool(getattr(self.model, "places_images", False)))

    def entries(self) -> list[dict[str, Any]]:
        """The entries of GET /v1/models. `digest` is that of the weights; null where the model does not tell it."""
        digests = provenance(self.model)
        base = {"id": self.base, "object": "model", "owned_by": "vlm2vla_sim", "parent": None}
        models = [base | {"digest": digests.get("model_digest")}]
        if self.adapter:
            digest = digests.get("adapter_digest")
            models.append(base | {"id": self.adapter, "parent": self.base, "digest": digest})
        return models


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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: ModelServer  # pyright: ignore[reportIncompatibleVariableOverride] - always ours

    def do_GET(self) -> None:
        """GET /v1/models and /health."""
        if self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # a body is not read, and must not be taken for the next request
        if self.path in ("/health", "/v1/health"):
            self._send(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": self.server.served.entries()})
        else:
            self._send_error(404, f"Unknown path {self.path}; expected /v1/models or /v1/chat/completions.")

    def do_POST(self) -> None:
        """POST /v1/chat/completions."""
        self.server.last_request = time.monotonic()
        try:
            request = read_body(self._body())
            if self.path != "/v1/chat/completions":
                raise RefusalError(404, f"Unknown path {self.path}; expected /v1/chat/completions.")
            question = read_question(request, self.server.served.names())
            try:
                stage = self.server.batches.answer(question)
            except GrammarError as wrong:
                raise RefusalError(400, str(wrong), grammar_fields(request)[0]) from wrong
            if not follows_grammar(stage, question):
                said = stage.text[:200]
                raise RefusalError(500, f"The model's answer does not follow the grammar of the request: {said!r}")
        except RefusalError as refusal:
            self._send_error(refusal.status, str(refusal), refusal.field)
        except SettingError as wrong:
            self._send_error(400, str(wrong))
        except Exception as broken:  # the client is told, and the server goes on
            self._send_error(500, f"{type(broken).__name__}: {broken}")
        else:
            self._send(200, _completion(stage, str(request["model"])))
        self.server.last_request = time.monotonic()

    def log_message(self, format: str, *args: Any) -> None:
        """No log line for each request: there are thousands."""

    def _body(self) -> bytes:
        """The request's body. After a refusal the connection is closed, because the body has not been read."""
        lengths = self.headers.get_all("Content-Length", [])
        length = lengths[0].strip() if lengths else ""
        unread, self.close_connection = self.close_connection, True
        if self.headers.get("Transfer-Encoding"):
            raise RefusalError(411, "The body is sent in chunks; expected a Content-Length.", "Transfer-Encoding")
        if len(set(lengths)) > 1 or not (length.isascii() and length.isdecimal()):
            raise RefusalError(
                411, f"Expected one number of bytes, not {', '.join(lengths) or 'none'}.", "Content-Length"
            )
        if len(length) > 12 or int(length) > MAX_BODY:
            raise RefusalError(413, f"The request has {length[:12]} bytes; at most {MAX_BODY:,} are accepted.")
        try:
            body = self.rfile.read(int(length))
        except TimeoutError as slow:
            raise RefusalError(408, f"The body did not arrive within {self.timeout} s.") from slow
        if len(body) < int(length):
            raise RefusalError(400, f"The body ends after {len(body)} of {length} bytes.", "Content-Length")
        self.close_connection = unread
        return body

    def version_string(self) -> str:
        """The header Server."""
        return SERVER

    def _send_error(self, status: int, message: str, field: str = "") -> None:
        error = {"message": message, "type": "invalid_request_error", "param": field or None, "code": status}
        self._send(status, {"error": error})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _completion(stage: Stage, model: str) -> dict[str, Any]:
    """The response. What the model does not tell is null: how the answer ended, and the tokens of the prompt."""
    return {
        "id": f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": stage.text},
                "finish_reason": stage.finish or None,
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": None, "completion_tokens": stage.tokens, "total_tokens": None},
    }
