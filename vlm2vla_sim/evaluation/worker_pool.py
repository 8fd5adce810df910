"""Run episodes in worker processes, so that a crash in native code costs one episode and not the run.

A segfault or a hang of a simulator cannot be caught in Python. In a worker it ends only that process: the episode is
tried once more in a new one, then reported as an error, and the others continue.

A language model is not loaded by the workers: it stays in this process, where the questions of all workers are
answered in batches (`policies.models.shared_model`).

Workers are started with "spawn": a process forked after OpenGL was used hangs at its first image.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import multiprocessing
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from vlm2vla_sim.core.portable import portable
from vlm2vla_sim.errors import BackendFaultError
from vlm2vla_sim.evaluation.runner import EpisodeRunner, Item, Job
from vlm2vla_sim.policies.models.shared_model import ModelClient, ModelService
from vlm2vla_sim.policies.vlm import VlmOptions, make_text_model, model_options
from vlm2vla_sim.types import EpisodeResult

ATTEMPTS = 2
"""Attempts at an episode whose worker dies or hangs."""
START = 120.0
"""[s] a worker is given to import what it needs."""
GRACE = 10.0
"""[s] a worker is given to close its simulator before it is killed."""


def run_in_workers(
    job: Job, items: Sequence[Item], *, count: int, timeout: float, fresh_for_task: bool
) -> Generator[EpisodeResult]:
    """The results of `items`, as they end.

    count: processes at the same time. timeout: [s] for one episode, starting the simulator included. fresh_for_task:
    whether a process serves one task only. An error that every episode would meet is raised.
    """
    pool = _WorkerPool(job, deque(items), count=count, timeout=timeout, fresh_for_task=fresh_for_task)
    try:
        yield from pool.run()
    finally:
        pool.close()


class _WorkerPool:
    """The workers of one run and what each is doing."""

    def __init__(self, job: Job, todo: deque[Item], *, count: int, timeout: float, fresh_for_task: bool) -> None:
        self._job, self._todo, self._count = job, todo, count
        self._timeout, self._fresh = timeout, fresh_for_task
        self._workers: list[_Worker] = []
        self._failures: dict[Item, list[str]] = {}
        self._models = ModelService(make_text_model)

    def run(self) -> Iterator[EpisodeResult]:
        self._assign()
        while any(worker.item for worker in self._workers):
            for worker in self._wait():
                result = self._receive(worker)
                self._assign()
                if result is not None:
                    yield result

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def _assign(self) -> None:
        """Give every idle worker an episode, and start workers while there are episodes left."""
        for worker in [worker for worker in self._workers if worker.item is None]:
            task = self._choose_task(worker.task)
            if task is None or (self._fresh and worker.task != task):
                worker.stop()
                self._workers.remove(worker)
            else:
                worker.assign(self._take(task), self._timeout)
        while len(self._workers) < self._count and (task := self._choose_task(None)) is not None:
            worker = _Worker(self._job, self._models)
            self._workers.append(worker)
            worker.assign(self._take(task), self._timeout)

    def _choose_task(self, current: str | None) -> str | None:
        """The task of a worker's next episode: its own if any is left of it, because another costs a new simulator.

        A worker without a task gets the one with the most episodes for each worker that has it; None if none is left.
        """
        left = Counter(item.task for item in self._todo)
        if current in left:
            return current
        busy = Counter(worker.task for worker in self._workers if worker.item is not None)
        return max(left, key=lambda task: left[task] / (1 + busy[task]), default=None)

    def _take(self, task: str) -> Item:
        item = next(item for item in self._todo if item.task == task)
        self._todo.remove(item)
        return item

    def _wait(self) -> list[_Worker]:
        """Workers that sent something, died, or timed out."""
        busy = [worker for worker in self._workers if worker.item is not None]
        patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = wait([worker.connection for worker in busy], timeout=patience)
        now = time.monotonic()
        return [worker for worker in busy if worker.connection in ready or worker.deadline <= now]

    def _receive(self, worker: _Worker) -> EpisodeResult | None:
        """The result of a worker's episode; None if it is tried again, or the worker only reported that it started."""
        item = worker.item
        assert item is not None
        failure = ""
        try:
            if not worker.connection.poll():
                failure = f"it did not end within {self._timeout:g} s, and its process was stopped"
            else:
                answer = worker.connection.recv()
                if answer is None:
                    worker.report_started(self._timeout)
                    return None
                worker.item = None
                if isinstance(answer, BaseException):
                    raise answer
                return self._annotate(item, answer)
        except (EOFError, ConnectionError) as error:
            failure = f"its process {worker.death()}"
            if not worker.is_started:
                raise BackendFaultError(
                    f"A worker process {worker.death()} before it could start. In your own script, call run_suite "
                    "below `if __name__ == '__main__':`, because every worker imports the script."
                ) from error
        worker.kill()
        self._workers.remove(worker)
        return self._after_failure(item, failure)

    def _after_failure(self, item: Item, failure: str) -> EpisodeResult | None:
        failures = self._failures.setdefault(item, [])
        failures.append(failure)
        if len(failures) < ATTEMPTS:
            self._todo.appendleft(item)
            return None
        reasons = "; ".join(f"attempt {n}: {reason}" for n, reason in enumerate(failures, start=1))
        return self._job.error_result(item, f"The episode broke off {len(failures)} times. {reasons}.")

    def _annotate(self, item: Item, result: EpisodeResult) -> EpisodeResult:
        failures = self._failures.get(item)
        if not failures:
            return result
        note = f"This is attempt {len(failures) + 1}; the one before broke off: {failures[-1]}."
        return dataclasses.replace(result, reason=f"{result.reason} {note}".strip())


class _Worker:
    """A worker process and the pipe to it."""

    def __init__(self, job: Job, models: ModelService[VlmOptions]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        ours, questions = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, questions, job), name="vlm2vla-worker")
        # Ctrl-C in a terminal reaches every process of the group. A worker inherits the mask, so that only the
        # parent handles it. Starting Python's resource tracker clears the mask, so the tracker is started before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        questions.close()
        models.serve(ours)
        self.is_started = False
        self.item: Item | None = None
        self.task: str | None = None
        self.deadline = 0.0

    def assign(self, item: Item, timeout: float) -> None:
        self.item, self.task = item, item.task
        self.deadline = time.monotonic() + timeout + (0 if self.is_started else START)
        try:
            self.connection.send(item)
        except ConnectionError:
            return  # It died while idle; the closed pipe is read next, as for any other death.

    def report_started(self, timeout: float) -> None:
        """The process has started: the time of its episode counts from now."""
        self.is_started = True
        self.deadline = time.monotonic() + timeout

    def death(self) -> str:
        """How the process ended, as text."""
        self._process.join(GRACE)
        code = self._process.exitcode
        if code is None:
            return "closed its pipe without ending"
        if code >= 0:
            return f"ended with exit status {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"

    def stop(self) -> None:
        """Let an idle worker close its simulator; end a busy one."""
        if self.item is None:
            self.connection.close()
            self._process.join(GRACE)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection[Any, Any], questions: Connection[Any, Any], job: Job) -> None:
    """The worker's side: run the episodes that arrive until the pipe closes."""
    faulthandler.enable()
    connection.send(None)
    runner = EpisodeRunner(job, models=lambda options: ModelClient(questions, model_options(options)))
    try:
        while True:
            connection.send(_answer(runner, connection.recv()))
    except (EOFError, ConnectionError):
        return  # The parent has finished or died.
    finally:
        runner.close()


def _answer(runner: EpisodeRunner, item: Item) -> EpisodeResult | Exception:
    try:
        return runner.run(item)
    except Exception as error:  # Any error is sent to the parent, which raises it.
        error.add_note(f"In a worker process:\n{''.join(traceback.format_exception(error))}")
        return portable(error)
