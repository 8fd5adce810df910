"""A `TextModel` on an OpenAI-compatible chat server such as vLLM: base model and adapter are two names on one server.

Every fault of the server ends in a counted retry or in an error; none is taken for an answer. That includes what a
server accepts and does not apply: before the first question, `ChatModel` asks for texts that only a grammar makes a
model write (the grammar probe), and compares the answers with and without the adapter (the adapter probe).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import math
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import ServerError, SettingError, unknown_name
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.chat_answers import read_choice, read_models, text_or_none
from vlm2vla_sim.policies.models.chat_grammar import WAYS, Way
from vlm2vla_sim.policies.models.chat_probes import check_adapter, check_pictures, find_way, knows_name
from vlm2vla_sim.policies.models.chat_thinking import NOTHING, PROBE_THINKING, SWITCHES, Switch, find_switch
from vlm2vla_sim.policies.models.data_url import data_url
from vlm2vla_sim.policies.models.http_client import (
    HttpClient,
    StatusError,
    check_url,
    read_json,
    with_retries,
)
from vlm2vla_sim.policies.models.proxies import without_password
from vlm2vla_sim.types import Stage

CONSTRAINTS = (*WAYS, "off")
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
    """How the grammar is sent: "regex" or "grammar" (Lark) in the first of `chat_grammar.WAYS` that the server honours;
    "off" sends no grammar."""
    timeout: float = 120.0
    """[s] for one request."""
    retries: int = 3
    backoff: float = 0.5
    """[s] before the first retry; each further one waits twice as long."""
    concurrency: int = 8
    """The most requests that are sent at the same time."""
    minimal: bool = False
    """Send `max_completion_tokens` and no temperature, top_p, seed, max_tokens, which some hosted models refuse."""
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

    places_images = True
    concurrent = True
    """Several threads may ask at the same time; the server batches their requests."""

    def __init__(self, settings: ServerSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Check that the server has the models, honours grammars and applies the adapter. `sleep` waits [s].

        SettingError for what it does not do, ServerError when it does not answer.
        """
        self.settings = settings
        self._sleep, self._where = sleep, without_password(settings.url)
        key = os.environ.get(settings.key_variable, "")
        self._http = HttpClient(settings.url, timeout=settings.timeout, max_bytes=MAX_ANSWER_BYTES, key=key)
        self._offered = self._check_names()
        self._server_header = self._http.server_header
        self._way = None if settings.constraint == "off" else self._find_way()
        self._switches: dict[bool, Switch] = {}  # how the server is told to think, and not to, once it was asked for
        self._finding, self._sees = threading.Lock(), False
        if settings.adapter:
            check_adapter(self.answer, settings.adapter, model=settings.model, where=self._where)

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`. SettingError for a refused request, ServerError when the retries are used up."""
        if len(questions) == 1:
            return [self._answer(questions[0])]
        with concurrent.futures.ThreadPoolExecutor(self.settings.concurrency) as pool:
            return list(pool.map(self._answer, questions))

    def prepare(self, grammars: Sequence[Grammar]) -> None:
        """See `policies.base.prepare`: SettingError if pictures do not reach the model. Grammars are known to work."""
        with self._finding:
            if not self._sees:
                check_pictures(
                    lambda question: self._answer(question, switch=NOTHING), self.settings.model, self._where
                )
            self._sees = True

    def prepare_thinking(self, tokens: int) -> None:
        """See `policies.base.prepare_thinking`: SettingError where the server's model does not do as it is told."""
        self._switch(tokens)

    def provenance(self) -> dict[str, Any]:
        """What the server really uses, as far as it can be seen from outside; see `policies.base.provenance`.

        `constraint_key` is the request field in which the grammar is sent, `thinking_key` the one that has the model
        think; None if none is. Digests are what
        GET /v1/models reports (`vlm2vla serve-model` does), `server_version` what GET /version or the header Server
        says; None where the server does not say. That a server applies all of an adapter, and not a part of it, cannot
        be seen from outside.
        """
        base, adapter = (self._offered.get(name, {}) for name in (self.settings.model, self.settings.adapter))
        return {
            "server": self._where,
            "model": self.settings.model,
            "adapter": self.settings.adapter,
            "constrained": self._way is not None,
            "constraint_key": self._way.key if self._way else None,
            "thinking_key": self._switches[True].key if True in self._switches else None,
            "model_digest": text_or_none(base.get("digest")),
            "adapter_digest": text_or_none(adapter.get("digest")),
            "server_version": self._version,
        }

    def _answer(
        self, question: Question, way: Way | None = None, switch: Switch | None = None, *, check: bool = True
    ) -> Stage:
        """The answer. check: an answer outside the grammar is a fault of the server.

        way: how its grammar is sent. switch: how the server is told to think, or not to.
        """
        started, way = time.perf_counter(), way or self._way
        if switch is None:
            switch = self._switch(question.thinking) if question.thinking else self._switches.get(False, NOTHING)
        stage, retries = self._ask(
            "chat/completions",
            self._request(question, way) | switch.fields(question.thinking),
            lambda answer: read_choice(answer, question, constrained=check and way is not None),
        )
        return dataclasses.replace(
            stage, name=question.stage, retries=retries, seconds=round(time.perf_counter() - started, 4)
        )

    def _request(self, question: Question, way: Way | None) -> dict[str, Any]:
        settings, sampling = self.settings, question.sampling
        parts = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": data_url(part)}}
            for part in question.parts()
        ]
        request: dict[str, Any] = {
            "model": settings.adapter if settings.adapter and question.adapter else settings.model,
            "messages": [{"role": "user", "content": parts}],
        }
        if settings.minimal:
            request["max_completion_tokens"] = question.limit
        else:
            request |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
            request |= {"max_tokens": question.limit, "seed": question.seed}
        if question.grammar is not None and way is not None:
            if not (question.grammar.regex if settings.constraint == "regex" else question.grammar.lark):
                raise SettingError(
                    f"The grammar of the question {question.stage!r} has no form for constraint={settings.constraint}; "
                    "choose the other one of regex and grammar."
                )
            request |= way.fields(question.grammar)
        return request

    # Requests and retries.

    def _ask(self, path: str, request: dict[str, Any] | None, read: Callable[[Any], Any]) -> tuple[Any, int]:
        """What `read` makes of the server's response, and the number of retries."""
        try:
            return with_retries(
                self._where,
                lambda: read(self._fetch(path, request)),
                retries=self.settings.retries,
                backoff=self.settings.backoff,
                sleep=self._sleep,
            )
        except StatusError as refusal:
            raise self._refusal(refusal, request) from refusal

    def _fetch(self, path: str, request: dict[str, Any] | None) -> Any:
        body = self._http.get(path) if request is None else self._http.post(path, json.dumps(request).encode())
        return read_json(body, self._http)

    def _refusal(self, refusal: StatusError, request: dict[str, Any] | None) -> SettingError:
        server, said = f"The server at {self._where}", refusal.text
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

    def _check_names(self) -> dict[str, dict[str, Any]]:
        """The models that the server offers, by name, once it has those of the settings."""
        offered, _ = self._ask("models", None, read_models)
        base, adapter = self.settings.model, self.settings.adapter
        for name in filter(None, (base, adapter)):
            if name not in offered and not knows_name(lambda request: self._ask("chat/completions", request, id), name):
                raise unknown_name(f"model on the server {self._where}", name, offered)
        if adapter and (own := text_or_none(offered.get(base, {}).get("parent"))):
            raise SettingError(
                f"The model {base!r} on {self._where} is itself an adapter, of {own!r}. Give --model {own}, and the "
                "adapter as --adapter."
            )
        parent = text_or_none(offered.get(adapter, {}).get("parent")) if adapter else None
        # A vLLM server may offer one model under several names; they share their `root`, and `parent` is the first.
        roots = [offered.get(name, {}).get("root") for name in (parent, base)]
        if parent not in (None, base) and not (roots[0] and roots[0] == roots[1]):
            raise SettingError(
                f"The adapter {adapter!r} on {self._where} belongs to the model {parent!r}, and the base model is "
                f"given as {base!r}. Give --model {parent}, or an adapter of {base!r}."
            )
        return offered

    def _find_way(self) -> Way:
        """How a grammar is sent. A model that thinks by itself is told not to, or given tokens for its reasoning."""
        thought: list[str] = []

        def find(switch: Switch, tokens: int = 0) -> Way:
            def ask(question: Question, way: Way) -> Stage:
                stage = self._answer(dataclasses.replace(question, thinking=tokens), way, switch, check=False)
                thought.append(stage.reasoning)
                return stage

            return find_way(ask, self.settings.constraint, model=self.settings.model, where=self._where)

        for switch in (NOTHING, SWITCHES[1]):
            thought.clear()
            try:
                return find(switch)
            except SettingError:
                if not any(thought):
                    raise
        return find(NOTHING, PROBE_THINKING)

    def _switch(self, tokens: int) -> Switch:
        """How the server is told to think for `tokens` tokens, or not to (0)."""
        with self._finding:
            if bool(tokens) not in self._switches:
                self._switches[bool(tokens)] = find_switch(
                    lambda question, switch: self._answer(question, None, switch, check=False),
                    tokens,
                    name=f"The model {self.settings.model!r} on {self._where}",
                    constrained=self._way is not None,
                )
            return self._switches[bool(tokens)]

    @functools.cached_property
    def _version(self) -> str | None:
        """What the server says of itself: GET /version, as vLLM has it, else its header Server."""
        url = urllib.parse.urlsplit(self.settings.url)
        client = HttpClient(f"{url.scheme}://{url.netloc}", timeout=self.settings.timeout, max_bytes=4096)
        with contextlib.suppress(StatusError, ServerError):  # it has none
            answer, _ = with_retries(
                "", lambda: read_json(client.get("version"), client), retries=1, backoff=0.0, sleep=self._sleep
            )
            if isinstance(answer, dict) and (version := text_or_none(answer.get("version"))):
                return version
        return text_or_none(self._server_header)
