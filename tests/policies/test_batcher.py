"""A batch is made of the questions that wait, and is not held for callers that are not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.batcher import Batcher
from vlm2vla_sim.types import Stage


class Sizes:
    """Answers with the prompt, and keeps the size of every batch."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.batches = seconds, []

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        time.sleep(self.seconds)
        self.batches.append(len(questions))
        if any(question.prompt == "bad" for question in questions):
            raise ValueError("bad")
        return [Stage(question.stage, question.prompt, finish="stop") for question in questions]


def ask_together(batcher: Batcher, prompts: Sequence[str]) -> list[str]:
    answers: dict[str, str] = {}

    def ask(prompt: str) -> None:
        try:
            answers[prompt] = batcher.answer(Question("plan", prompt)).text
        except ValueError as error:
            answers[prompt] = f"error: {error}"

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[prompt] for prompt in prompts]


def test_questions_that_come_together_are_one_batch(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.models.batcher.PATIENCE", 60.0)  # a slow machine starts threads slowly
    model = Sizes()
    prompts = [f"question {k}" for k in range(6)]
    assert ask_together(Batcher(model, callers=lambda: 6), prompts) == prompts
    assert model.batches == [6]


def test_questions_that_come_while_a_batch_is_answered_are_the_next_batch():
    begun, go_on = threading.Event(), threading.Event()

    class Held(Sizes):
        def answer(self, questions: Sequence[Question]) -> list[Stage]:
            begun.set()
            assert go_on.wait(60)
            return super().answer(questions)

    model = Held()
    batcher = Batcher(model)
    first = batcher.ask(Question("plan", "first"))
    assert begun.wait(60)
    later = [batcher.ask(Question("plan", prompt)) for prompt in ("a", "b", "c")]
    go_on.set()
    assert [answer.result(60).text for answer in (first, *later)] == ["first", "a", "b", "c"]
    assert model.batches == [1, 3]


def test_a_single_caller_does_not_wait(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.models.batcher.PATIENCE", 3600.0)  # waited for once, it is never over
    batcher = Batcher(Sizes())
    answers = [batcher.ask(Question("plan", "?")) for _ in range(3)]
    assert [answer.result(timeout=60).text for answer in answers] == ["?"] * 3


def test_a_question_that_breaks_the_model_does_not_fail_the_others():
    answers = ask_together(Batcher(Sizes(), callers=lambda: 3), ["a", "bad", "b"])
    assert answers == ["a", "error: bad", "b"]


def test_several_questions_of_one_caller_keep_their_order():
    batcher = Batcher(Sizes())
    texts = [stage.text for stage in batcher.answers([Question("plan", str(k)) for k in range(5)])]
    assert texts == list("01234")
    with pytest.raises(ValueError, match="bad"):
        batcher.answers([Question("plan", "bad")])
