"""`--concurrency N` with a chat server: N requests are in flight, and the results are those of one after the other."""

from __future__ import annotations

import dataclasses
import re
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lane import need

need("remote", "starlette", "uvicorn", "httpx2")

from vlm2vla_sim.evaluation.settings import RunSettings  # noqa: E402
from vlm2vla_sim.evaluation.suite import run_suite  # noqa: E402
from vlm2vla_sim.policies.base import Question  # noqa: E402
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE  # noqa: E402
from vlm2vla_sim.serving import model_server  # noqa: E402
from vlm2vla_sim.serving.model_server import ModelServer, ServedModel  # noqa: E402
from vlm2vla_sim.types import EpisodeResult, Stage  # noqa: E402

EPISODES_AT_ONCE = 3


class Counted:
    """Counts the requests in flight in front of a chat server's application, and the connections they come on."""

    def __init__(self, app: Any) -> None:
        self.app, self.now, self.most = app, 0, 0
        self.connections: set[tuple[str, int]] = set()
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = scope["path"].endswith("/chat/completions")
        self.connections.add(tuple(scope["client"]))
        self.requests += asked
        self.now += asked
        self.most = max(self.most, self.now)
        try:
            await self.app(scope, receive, send)
        finally:
            self.now -= asked


class Patient:
    """Answers by prompt and seed alone. Its first action waits until as many requests are in flight as it is told."""

    def __init__(self) -> None:
        self.wanted = 1
        self.counted: Counted | None = None
        self.images: set[int] = set()

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        assert self.counted is not None
        if any("spoon" in question.prompt or "carrot" in question.prompt for question in questions):
            deadline = time.monotonic() + 60
            while self.counted.most < self.wanted and time.monotonic() < deadline:
                time.sleep(0.01)
        return [Stage(question.stage, self._say(question), 5, finish="stop") for question in questions]

    def _say(self, question: Question) -> str:
        number = zlib.crc32(repr((question.prompt, question.seed)).encode()) % 5
        self.images.add(len(question.images))
        texts = (*NONSENSE, "retry", f"[[{number}, 0, 0, 1]]")
        thing = "spoon" if "spoon" in question.prompt else "carrot"
        grammar = question.grammar
        return next((t for t in texts if grammar and re.fullmatch(grammar.regex, t)), f"1. grasp the {thing}")


def content(result: EpisodeResult) -> EpisodeResult:
    """The result without what takes time."""
    made: tuple[Any, ...] = result.decisions
    decisions = tuple(
        {**decision, "stages": [{**stage, "seconds": 0} for stage in decision["stages"]]} for decision in made
    )
    return dataclasses.replace(result, seconds=0, versions={}, provenance={}, decisions=decisions)


def test_as_many_requests_are_in_flight_as_episodes_and_the_results_are_the_same(tmp_path: Path, monkeypatch):
    model, made = Patient(), model_server._Service.app

    def counted(service: Any) -> Counted:
        model.counted = Counted(made(service))
        return model.counted

    monkeypatch.setattr(model_server._Service, "app", counted)
    with ModelServer(ServedModel(model, "base")) as server:
        settings = RunSettings(
            policy="vlm",
            policy_options={"model": "base", "server": server.url, "verifier": "adapter", "max_attempts": 4},
            tasks=("spoon_on_towel", "carrot_on_plate"),
            episodes=2,
            backend="point",
            image_size=(48, 64),
        )
        alone = run_suite(settings, out=tmp_path / "1", video=False)
        counts = model.counted
        assert counts is not None
        assert counts.most == 1
        before = len(counts.connections)
        model.wanted = EPISODES_AT_ONCE
        together = run_suite(settings, out=tmp_path / "n", video=False, workers=EPISODES_AT_ONCE)
    assert counts.most == EPISODES_AT_ONCE
    assert len(counts.connections) - before <= EPISODES_AT_ONCE
    assert counts.requests > 10 * len(counts.connections)
    assert list(map(content, together.results)) == list(map(content, alone.results))
    assert len({str(result.decisions) for result in alone.results}) > 1
    assert model.images <= {0, 1, 2}  # an image is sent with its question, and with no later one
    overall, before_it = together.summary.overall, alone.summary.overall
    assert overall.tokens
    assert overall.tokens == before_it.tokens
    assert overall.tokens_per_second
    assert overall.retries == 0
