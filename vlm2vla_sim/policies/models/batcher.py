"""Batches the questions of many callers for one text model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

from vlm2vla_sim.policies.base import ContinuousModel, PendingAnswer, Question, TextModel, as_continuous
from vlm2vla_sim.types import Stage

_Asked: TypeAlias = tuple[Question, Future[Stage]]

PATIENCE = 0.02
"""[s] to wait for the next caller's question before a batch begins: about what a policy takes from an answer to its
next question, where no motion lies between them."""


class Batcher:
    """Answers the questions of many callers together.

    A model with continuous batching (`policies.base.ContinuousModel`) takes in each question when it comes, beside
    those in progress. Another is asked in batches: the questions that arrive while a batch is being answered, or
    shortly before it begins.
    """

    def __init__(self, model: TextModel, *, callers: Callable[[], int] = lambda: 1) -> None:
        """callers: how many callers may have a question at the same time; the batch is not held for more than these."""
        self._model, self._callers = model, callers
        self._waiting: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        together = as_continuous(model)
        work = self._work if together is None else lambda: self._work_continuously(together)
        threading.Thread(target=work, daemon=True).start()

    def answer(self, question: Question) -> Stage:
        """Wait for the answer to one question."""
        return self.answers([question])[0]

    def answers(self, questions: Sequence[Question]) -> list[Stage]:
        """Wait for the answers, in the order of `questions`."""
        futures = [self.ask(question) for question in questions]
        return [future.result() for future in futures]

    def ask(self, question: Question) -> Future[Stage]:
        """The answer to come. Cancel it if nobody waits any more: the model leaves it out, or breaks off."""
        future: Future[Stage] = Future()
        self._waiting.put((question, future))
        return future

    def _work(self) -> None:
        while True:
            asked = [(question, future) for question, future in self._gather() if future.set_running_or_notify_cancel()]
            if not asked:
                continue
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

    def _work_continuously(self, model: ContinuousModel) -> None:
        asked: list[tuple[PendingAnswer, _Asked]] = []
        while True:
            asked += self._begin(model, wait=not asked)
            try:
                model.advance()
            except Exception:  # of one of them, or of all: each is asked again alone
                model.give_up()
                for _, (question, future) in asked:
                    if future.set_running_or_notify_cancel():
                        self._answer_alone(question, future)
                asked = []
                continue
            for answer, (_, future) in asked:
                if future.cancelled():
                    answer.cancel()
            ended = [pair for pair in asked if pair[0].done]
            if ended:
                asked = [pair for pair in asked if not pair[0].done]
            for answer, (_, future) in ended:
                if future.set_running_or_notify_cancel():
                    _settle(future, answer.stage)

    def _begin(self, model: ContinuousModel, *, wait: bool) -> list[tuple[PendingAnswer, _Asked]]:
        """Have the model take in all questions that wait. wait: for the first one to come."""
        begun: list[tuple[PendingAnswer, _Asked]] = []
        while True:
            try:
                question, future = self._waiting.get(block=wait and not begun)
            except queue.Empty:
                return begun
            if future.cancelled():
                continue
            try:
                begun.append((model.begin(question), (question, future)))
            except Exception as error:  # goes to the one who waits
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)

    def _gather(self) -> list[_Asked]:
        """The next batch: all that wait, and those that come within `PATIENCE` of the last one."""
        asked = [self._waiting.get()]
        while True:
            try:
                asked.append(self._waiting.get(timeout=PATIENCE if len(asked) < self._callers() else 0))
            except queue.Empty:
                return asked

    def _answer_alone(self, question: Question, future: Future[Stage]) -> None:
        _settle(future, lambda: self._model.answer([question])[0])


def _settle(future: Future[Stage], answer: Callable[[], Stage]) -> None:
    try:
        future.set_result(answer())
    except Exception as error:  # goes to the one who waits
        future.set_exception(error)
