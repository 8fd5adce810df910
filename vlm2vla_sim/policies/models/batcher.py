"""Batches the questions of many callers for one text model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from vlm2vla_sim.policies.base import Question, TextModel
from vlm2vla_sim.types import Stage

PATIENCE = 0.02
"""[s] to wait for the next caller's question before a batch begins: about what a policy takes from an answer to its
next question, where no motion lies between them."""


class Batcher:
    """Batches the questions that arrive while a batch is being answered, or shortly before it begins."""

    def __init__(self, model: TextModel, *, callers: Callable[[], int] = lambda: 1) -> None:
        """callers: how many callers may have a question at the same time; the batch is not held for more than these."""
        self._model, self._callers = model, callers
        self._waiting: queue.SimpleQueue[tuple[Question, Future[Stage]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def answer(self, question: Question) -> Stage:
        """Wait for the answer to one question."""
        return self.answers([question])[0]

    def answers(self, questions: Sequence[Question]) -> list[Stage]:
        """Wait for the answers, in the order of `questions`."""
        futures = [self.ask(question) for question in questions]
        return [future.result() for future in futures]

    def ask(self, question: Question) -> Future[Stage]:
        """The answer to come. A future that is cancelled before its batch begins costs the model nothing."""
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

    def _gather(self) -> list[tuple[Question, Future[Stage]]]:
        """The next batch: all that wait, and those that come within `PATIENCE` of the last one."""
        asked = [self._waiting.get()]
        while True:
            try:
                asked.append(self._waiting.get(timeout=PATIENCE if len(asked) < self._callers() else 0))
            except queue.Empty:
                return asked

    def _answer_alone(self, question: Question, future: Future[Stage]) -> None:
        try:
            future.set_result(self._model.answer([question])[0])
        except Exception as error:  # goes to the one who waits
            future.set_exception(error)
