"""A `TextModel` on an OpenAI-compatible chat server such as vLLM: base model and adapter are two names on one server.

Every fault of the server ends in a counted retry or in an error; none is taken for an answer. That includes an adapter
that the server accepts and does not apply, which `ChatModel` looks for before the first question (the adapter probe).
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import io
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.http_client import HttpClient, StatusError, TransientError, check_url, with_retries
from vlm2vla_sim.types import Stage

CONSTRAINTS = ("regex", "grammar", "off")
MAX_ANSWER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class ServerSettings:
    """A chat server's address, and its names for the models."""

    url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    """The base model's name on the server."""
    adapter: str = ""
    """The adapter's name on the server; empty for none."""
    constraint: str = "regex"
    """How the grammar is sent in `structured_outputs`: "regex", "grammar" (Lark); "off" for a server without it."""
    timeout: float = 120.0
    """[s] for one request."""
    retries: int = 3
    backoff: float = 0.5
    """[s] before the first retry; each further one waits twice as long."""
    concurrency: int = 8
    """The most requests that are sent at the same time."""
    key_variable: str = "VLM2VLA_API_KEY"
    """The environment variable that holds the API key, where the server requires one."""

    def __post_init__(self) -> None:
        check_url(self.url, ("http", "https"), "http://127.0.0.1:8000/v1")
        if not self.model:
            raise SettingError("No model is given; expected the server's name for the base model.")
        if self.constraint not in CONSTRAINTS:
            raise unknown_name("way to send a grammar", self.constraint, CONSTRAINTS)
        if not (math.isfinite(self.timeout) and self.timeout > 0) or self.retries < 0 or self.concurrency < 1:
            raise SettingError(
                f"timeout is {self.timeout}, retries is {self.retries}, concurrency is {self.concurrency}; expected "
                "more than 0 seconds, 0 or more retries, and 1 or more requests at a time."
            )


class ChatModel:
    """A `TextModel` that sends its questions to a chat server."""

    def __init__(self, settings: ServerSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Check that the server has the models, and that the adapter changes the answers. `sleep` waits [s]."""
        self.settings = settings
        self._sleep = sleep
        key = os.environ.get(settings.key_variable, "")
        self._http = HttpClient(settings.url, timeout=settings.timeout, max_bytes=MAX_ANSWER_BYTES, key=key)
        self._check_names()
        if settings.adapter:
            self._check_adapter()

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`. SettingError for a refused request, ServerError when the retries are used up."""
        if len(questions) == 1:
            return [self._answer(questions[0])]
        with concurrent.futures.ThreadPoolExecutor(self.settings.concurrency) as pool:
            return list(pool.map(self._answer, questions))

    def _answer(self, question: Question) -> Stage:
        started = time.perf_counter()
        answer, retries = self._ask("chat/completions", self._request(question), _read_choice)
        return dataclasses.replace(
            answer, name=question.stage, retries=retries, seconds=round(time.perf_counter() - started, 4)
        )

    def _request(self, question: Question) -> dict[str, Any]:
        settings, sampling = self.settings, question.sampling
        images = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in question.images]
        request: dict[str, Any] = {
            "model": settings.adapter if settings.adapter and question.adapter else settings.model,
            "messages": [{"role": "user", "content": [*images, {"type": "text", "text": question.prompt}]}],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": question.seed,
        }
        if question.grammar is not None and settings.constraint != "off":
            text = question.grammar.regex if settings.constraint == "regex" else question.grammar.lark
            request["structured_outputs"] = {settings.constraint: text}
        return request

    # Requests and retries.

    def _ask(self, path: str, request: dict[str, Any] | None, read: Callable[[Any], Any]) -> tuple[Any, int]:
        """What `read` makes of the server's response, and the number of retries."""
        return with_retries(
            self.settings.url,
            lambda: read(self._fetch(path, request)),
            retries=self.settings.retries,
            backoff=self.settings.backoff,
            sleep=self._sleep,
        )

    def _fetch(self, path: str, request: dict[str, Any] | None) -> Any:
        try:
            body = self._http.get(path) if request is None else self._http.post(path, json.dumps(request).encode())
            return json.loads(body)
        except StatusError as refusal:
            raise self._refusal(refusal, request) from refusal
        except (ValueError, RecursionError) as broken:
            raise TransientError(f"it sent broken JSON ({broken}).") from broken

    def _refusal(self, refusal: StatusError, request: dict[str, Any] | None) -> SettingError:
        server, said = f"The server at {self.settings.url}", refusal.text
        route = self._http.describe_route()
        if refusal.status == 407:
            return SettingError(f"{server} is reached{route}, which requires a login (status 407): {said}")
        if refusal.status in (401, 403):
            return SettingError(
                f"{server} refuses the request{route} (status {refusal.status}): {said} If the server requires an API "
                f"key, put it into the environment variable {self.settings.key_variable}."
            )
        model = f" for the model {request['model']!r}" if request else ""
        return SettingError(f"{server} refuses the request{model}{route} (status {refusal.status}): {said}")

    # Checks before the first question.

    def _check_names(self) -> None:
        offered, _ = self._ask("models", None, _read_models)
        for name in filter(None, (self.settings.model, self.settings.adapter)):
            if name not in offered:
                raise unknown_name(f"model on the server {self.settings.url}", name, offered)

    def _check_adapter(self) -> None:
        """The adapter probe: SettingError when the adapter gives the base model's answers."""
        grey = np.full((224, 224, 3), 128, np.uint8)
        action_format = get_format("vlm2vla")
        prompts = (
            subtasks_prompt("put carrot on plate"),
            plan_prompt("grasp the carrot"),
            action_prompt("grasp the carrot", "move down, then close the gripper", action_format),
        )
        probes = [Question("adapter probe", prompt, (grey,), sampling=Sampling(max_tokens=32)) for prompt in prompts]
        on = [stage.text for stage in self.answer(probes)]
        off = [stage.text for stage in self.answer([dataclasses.replace(probe, adapter=False) for probe in probes])]
        if on == off:
            raise SettingError(
                f"The adapter {self.settings.adapter!r} on {self.settings.url} gives word for word the answers of the "
                f"base model {self.settings.model!r}: the server does not apply it, or it is untrained. With vLLM, "
                "check that --enable-lora is given and that the adapter's layer names match the served model's."
            )


def data_url(image: np.ndarray) -> str:
    """`image`, (H, W, 3) uint8 RGB, as a PNG (lossless) in a data URL."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _read_choice(answer: Any) -> Stage:
    try:
        text = answer["choices"][0]["message"]["content"]
        tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as missing:
        raise TransientError(f"its answer has no choice with a message: {json.dumps(answer)[:200]}") from missing
    if not isinstance(text, str):
        raise TransientError(f"the message of its answer is {text!r}, not text.")
    return Stage("", text, tokens)


def _read_models(answer: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in answer["data"]]
    except (KeyError, TypeError) as missing:
        raise TransientError(f"its response is not a list of models: {json.dumps(answer)[:200]}") from missing
