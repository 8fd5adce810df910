"""Batches the questions of many callers for one text model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from vlm2vla_sim.policies.base import Question, TextModel
from vlm2vla_sim.types import Stage


class Batcher:
    """Batches the questions that arrive while a batch is being answered."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._waiting: queue.SimpleQueue[tuple[Question, Future[Stage]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def answer(self, question: Question) -> Stage:
        """Wait for the answer to one question."""
        return self.answers([question])[0]

    def answers(self, questions: Sequence[Question]) -> list[Stage]:
        """Wait for the answers, in the order of `questions`."""
        futures: list[Future[Stage]] = [Future() for _ in questions]
        for question, future in zip(questions, futures, strict=True):
            self._waiting.put((question, future))
        return [future.result() for future in futures]

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
