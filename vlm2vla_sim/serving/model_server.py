"""A small OpenAI-compatible chat server for any text model: the base model and its adapter under two names.

It lets several environments, or machines without torch, share one model. For many users use vLLM, which has the same
API. What a request asks for is done, or refused with the name of the field (`chat_request`); who may ask, and how much,
is checked before (`http_gate`). Requests that wait are answered in one batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.core.versions import distribution_version
from vlm2vla_sim.errors import GrammarError, SettingError
from vlm2vla_sim.policies.base import Question, TextModel, is_whole, prepare_thinking, provenance
from vlm2vla_sim.policies.models.batcher import Batcher
from vlm2vla_sim.policies.models.grammar_match import GrammarMatcher
from vlm2vla_sim.serving.chat_request import Names, read_body, read_question
from vlm2vla_sim.serving.chat_values import grammar_fields
from vlm2vla_sim.serving.http_gate import HttpLimits
from vlm2vla_sim.serving.http_server import HttpServer
from vlm2vla_sim.serving.refusal import RefusalError
from vlm2vla_sim.types import Stage

SERVER = f"vlm2vla_sim/{distribution_version('vlm2vla_sim') or 'unknown'}"
BODY = 16 * 2**20
"""[bytes] of a request."""
PER_REQUEST = 3 * 2**19
"""[bytes] for the body, and again for the images, of one of many waiting requests: two images of 512 x 512."""


def default_limits(*, requests: int = 24, idle: float = HttpLimits.idle) -> HttpLimits:
    """The limits of a chat server; SettingError for values that make no sense."""
    return HttpLimits(body=BODY, requests=requests, waiting=max(2 * BODY, requests * PER_REQUEST), idle=idle)


@dataclass(frozen=True)
class ServedModel:
    """A text model and its names in the API."""

    model: TextModel
    base: str
    adapter: str = ""
    """Empty without an adapter."""

    def names(self) -> Names:
        """What a request may ask for."""
        return Names(self.base, self.adapter, bool(getattr(self.model, "places_images", False)), self._always_thinks())

    def _always_thinks(self) -> bool:
        try:
            prepare_thinking(self.model, 0)
        except SettingError:
            return True
        return False

    def entries(self) -> list[dict[str, Any]]:
        """The entries of GET /v1/models. `digest` is that of the weights; null where the model does not tell it."""
        digests = provenance(self.model)
        base = {"id": self.base, "object": "model", "owned_by": "vlm2vla_sim", "parent": None}
        models = [base | {"digest": digests.get("model_digest")}]
        if self.adapter:
            digest = digests.get("adapter_digest")
            models.append(base | {"id": self.adapter, "parent": self.base, "digest": digest})
        return models


class ModelServer(HttpServer):
    """Serves one model until `stop`, or until it is idle. A context manager."""

    def __init__(
        self,
        served: ServedModel,
        limits: HttpLimits | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        expose: bool = False,
        key: str = "",
        hosts: Iterable[str] = (),
    ) -> None:
        """limits, host, port, expose, key, hosts: as for `HttpServer`. `url` ends in /v1."""
        chosen = limits or default_limits()
        app = _Service(served, chosen).app()
        super().__init__(app, chosen, host=host, port=port, expose=expose, key=key, hosts=hosts)
        self.url += "/v1"


class _Service:
    """Answers the requests that the gate lets through."""

    def __init__(self, served: ServedModel, limits: HttpLimits) -> None:
        self._served, self._names = served, served.names()
        self._batches = Batcher(served.model)
        self._reading = asyncio.Lock()
        self._held = 0
        """[bytes] of the images of the requests that wait."""
        self._most = limits.requests * PER_REQUEST

    def app(self) -> Any:
        """The ASGI application."""
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/health", self._health, methods=["GET"]),
                Route("/v1/health", self._health, methods=["GET"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _no_such_path},
        )

    async def _health(self, request: Any) -> Any:
        return _response(200, {"status": "ok"})

    async def _models(self, request: Any) -> Any:
        return _response(200, {"object": "list", "data": self._served.entries()})

    async def _complete(self, request: Any) -> Any:
        """POST /v1/chat/completions."""
        try:
            asked, question = await self._read(request)
            stage = await self._answer(asked, question)
        except RefusalError as refusal:
            return _error(refusal.status, str(refusal), refusal.field)
        except SettingError as wrong:
            return _error(400, str(wrong))
        except Exception as broken:  # the client is told, and the server goes on
            return _error(500, f"{type(broken).__name__}: {broken}")
        return _response(200, _completion(stage, str(asked["model"])))

    async def _read(self, request: Any) -> tuple[dict[str, Any], Question]:
        """The request without its messages, and its question. One is read at a time: images take memory."""
        from starlette.concurrency import run_in_threadpool

        async with self._reading:
            body = [part async for part in request.stream()]
            return await run_in_threadpool(_read, body, self._names)

    async def _answer(self, asked: dict[str, Any], question: Question) -> Stage:
        size = sum(image.nbytes for image in question.images)
        if self._held and self._held + size > self._most:
            raise RefusalError(503, "The images of other requests fill the server's memory; try again later.")
        self._held += size
        try:
            if question.thinking:
                prepare_thinking(self._served.model, question.thinking)
            grammar = GrammarMatcher(question.grammar) if question.grammar else None
            # A client that hangs up cancels this, and so its question, unless the model is at it.
            stage = await asyncio.wrap_future(self._batches.ask(question))
        except GrammarError as wrong:
            raise RefusalError(400, str(wrong), grammar_fields(asked)[0]) from wrong
        finally:
            self._held -= size
        if grammar and is_whole(stage, question.limit) and not grammar.matches(stage.text):
            said = stage.text[:200]
            raise RefusalError(500, f"The model's answer does not follow the grammar of the request: {said!r}")
        return stage


def _read(parts: list[bytes], names: Names) -> tuple[dict[str, Any], Question]:
    body = b"".join(parts)
    parts.clear()  # the images take memory enough
    asked = read_body(body)
    del body
    question = read_question(asked, names)
    return {key: value for key, value in asked.items() if key != "messages"}, question


def _response(status: int, answer: dict[str, Any]) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(answer, status, headers={"Server": SERVER})


def _error(status: int, message: str, field: str = "") -> Any:
    error = {"message": message, "type": "invalid_request_error", "param": field or None, "code": status}
    return _response(status, {"error": error})


async def _no_such_path(request: Any, error: Any) -> Any:
    path = f"{request.method} {request.url.path[:80]}"
    return _error(error.status_code, f"Unknown path {path}; expected /v1/models or /v1/chat/completions.")


def _completion(stage: Stage, model: str) -> dict[str, Any]:
    """The response. What the model does not tell is null: how the answer ended, and the tokens of the prompt."""
    message = {"role": "assistant", "content": stage.text}
    usage = {"prompt_tokens": None, "completion_tokens": stage.tokens, "total_tokens": None}
    if stage.reasoning_tokens:
        message["reasoning_content"] = stage.reasoning
        usage["completion_tokens_details"] = {"reasoning_tokens": stage.reasoning_tokens}
    return {
        "id": f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": stage.finish or None,
                "logprobs": None,
            }
        ],
        "usage": usage,
    }
