"""The text model on any OpenAI-style chat server, such as vLLM: base model and adapter are two names on one server.

Servers fail in more ways than models do. Each of them ends here in a retry that is counted, or in one sentence; none in
an answer that nobody gave. That includes the quietest one, an adapter that the server accepted and does not apply.
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import http.client
import io
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.http_client import TryAgainError, opener_for, persist, read_bounded
from vlm2vla_sim.types import Stage

CONSTRAINTS = ("regex", "grammar", "off")
MAX_ANSWER_BYTES = 16 * 2**20
WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone the next time."""


@dataclass(frozen=True)
class ServerSettings:
    """Where the server is, and what it calls its models."""

    url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    """The base model's name on the server."""
    adapter: str = ""
    """The adapter's name on the server; empty for none."""
    constraint: str = "regex"
    """How the grammar is sent, as `structured_outputs`: "regex", "grammar" (Lark), or "off" for a server without it."""
    timeout: float = 120.0
    """[s] for one try."""
    retries: int = 3
    backoff: float = 0.5
    """[s] before the first retry; it doubles with each further one."""
    concurrency: int = 8
    """Questions that are under way at the same time at most."""
    key_variable: str = "VLM2VLA_API_KEY"
    """The environment variable that holds the API key, where the server wants one."""

    def __post_init__(self) -> None:
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise SettingError(f"The server's address is {self.url!r}; expected one like http://127.0.0.1:8000/v1.")
        if not self.model:
            raise SettingError("No model is named; give the name under which the server offers the base model.")
        if self.constraint not in CONSTRAINTS:
            raise unknown_name("way to send a grammar", self.constraint, CONSTRAINTS)
        if not (math.isfinite(self.timeout) and self.timeout > 0) or self.retries < 0 or self.concurrency < 1:
            raise SettingError(
                f"timeout is {self.timeout}, retries {self.retries}, concurrency {self.concurrency}; expected more "
                "than 0 seconds, 0 or more retries, and 1 or more questions at a time."
            )


class ChatModel:
    """A `TextModel` that asks a server."""

    def __init__(self, settings: ServerSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Check that the server has the models, and that the adapter makes a difference. `sleep` waits [s]."""
        self.settings = settings
        self._sleep = sleep
        self._key = os.environ.get(settings.key_variable, "")
        self._opener = opener_for(settings.url)
        self._check_names()
        if settings.adapter:
            self._check_adapter()

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`. SettingError for what no retry can mend, ServerError when the retries are used up."""
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

    # Asking, and asking again.

    def _ask(self, path: str, request: dict[str, Any] | None, read: Callable[[Any], Any]) -> tuple[Any, int]:
        """What `read` makes of the server's answer, and how many retries it took."""
        return persist(
            self.settings.url,
            lambda: read(self._fetch(path, request)),
            retries=self.settings.retries,
            backoff=self.settings.backoff,
            sleep=self._sleep,
        )

    def _fetch(self, path: str, request: dict[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        body = None if request is None else json.dumps(request).encode()
        sent = urllib.request.Request(f"{self.settings.url.rstrip('/')}/{path}", data=body, headers=headers)
        try:
            with self._opener.open(sent, timeout=self.settings.timeout) as response:
                return json.loads(read_bounded(response, most=MAX_ANSWER_BYTES, seconds=self.settings.timeout))
        except urllib.error.HTTPError as refusal:
            raise self._refusal(refusal, request) from refusal
        except json.JSONDecodeError as broken:
            raise TryAgainError(f"it sent broken JSON ({broken}).") from broken
        except TimeoutError as slow:
            raise TryAgainError(f"it took longer than {self.settings.timeout:g} s.") from slow
        except (OSError, urllib.error.URLError, EOFError) as failed:
            if isinstance(getattr(failed, "reason", None), TimeoutError):
                raise TryAgainError(f"it took longer than {self.settings.timeout:g} s.") from failed
            raise TryAgainError(f"{type(failed).__name__}: {getattr(failed, 'reason', failed)}.") from failed
        except http.client.HTTPException as failed:  # no status line, or a body that ends early
            raise TryAgainError(f"it broke off ({type(failed).__name__}).") from failed

    def _refusal(self, refusal: urllib.error.HTTPError, request: dict[str, Any] | None) -> Exception:
        said = _message(refusal)
        if refusal.code in WORTH_ANOTHER_TRY:
            return TryAgainError(f"status {refusal.code}: {said}")
        if refusal.code in (401, 403):
            return SettingError(
                f"The server at {self.settings.url} refuses us (status {refusal.code}): {said} Put its API key into "
                f"the environment variable {self.settings.key_variable}."
            )
        model = f" for the model {request['model']!r}" if request else ""
        return SettingError(f"The server at {self.settings.url} refuses the question{model} ({refusal.code}): {said}")

    # Checks before the first question.

    def _check_names(self) -> None:
        offered, _ = self._ask("models", None, _read_models)
        for name in filter(None, (self.settings.model, self.settings.adapter)):
            if name not in offered:
                raise unknown_name(f"model on the server {self.settings.url}", name, offered)

    def _check_adapter(self) -> None:
        """SettingError when base and adapter say the same to everything: servers can ignore an adapter silently."""
        grey = np.full((224, 224, 3), 128, np.uint8)
        action_format = get_format("vlm2vla")
        prompts = (
            subtasks_prompt("put carrot on plate"),
            plan_prompt("grasp the carrot"),
            action_prompt("grasp the carrot", "move down, then close the gripper", action_format),
        )
        probes = [Question("canary", prompt, (grey,), sampling=Sampling(max_tokens=32)) for prompt in prompts]
        on = [stage.text for stage in self.answer(probes)]
        off = [stage.text for stage in self.answer([dataclasses.replace(probe, adapter=False) for probe in probes])]
        if on == off:
            raise SettingError(
                f"The adapter {self.settings.adapter!r} on {self.settings.url} says word for word what the base model "
                f"{self.settings.model!r} says: the server does not apply it, or it is untrained. With vLLM, check "
                "that --enable-lora is given and that the adapter's layers have the names of the served model's."
            )


def data_url(image: np.ndarray) -> str:
    """`image`, (H, W, 3) uint8 RGB, as a PNG in a data URL: nothing is lost on the way."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _read_choice(answer: Any) -> Stage:
    try:
        text = answer["choices"][0]["message"]["content"]
        tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as missing:
        raise TryAgainError(f"its answer has no choice with a message: {json.dumps(answer)[:200]}") from missing
    if not isinstance(text, str):
        raise TryAgainError(f"the message of its answer is {text!r}, not text.")
    return Stage("", text, tokens)


def _read_models(answer: Any) -> list[str]:
    try:
        return [str(model["id"]) for model in answer["data"]]
    except (KeyError, TypeError) as missing:
        raise TryAgainError(f"its list of models is none: {json.dumps(answer)[:200]}") from missing


def _message(refusal: urllib.error.HTTPError) -> str:
    """What the server said about it, in OpenAI's form or any other."""
    try:
        text = refusal.read(4096).decode(errors="replace")
    except OSError:
        return refusal.reason
    try:
        said = json.loads(text)
        said = said.get("error", said)
        return str(said["message"] if isinstance(said, dict) else said)
    except (json.JSONDecodeError, KeyError, AttributeError):
        return text.strip()[:300] or str(refusal.reason)
