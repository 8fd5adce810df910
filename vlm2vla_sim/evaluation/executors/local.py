"""Runs items in processes of this machine, or one after the other in this process.

A language model is not loaded by the workers: it stays in this process, where the questions of all workers are
answered in batches (`policies.models.shared_model`).

Workers are started with "spawn": a process forked after OpenGL was used hangs at its first image.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import signal
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import closing
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from vlm2vla_sim.evaluation.executors.base import I, Job, Limits, R
from vlm2vla_sim.evaluation.executors.scheduler import Scheduler, WorkerDiedError
from vlm2vla_sim.evaluation.executors.serving import answer_of
from vlm2vla_sim.policies.models.shared_model import ModelClient, ModelService
from vlm2vla_sim.policies.vlm import VlmOptions, make_text_model, model_options

START = 120.0
"""[s] a worker is given to import what it needs."""
GRACE = 10.0
"""[s] a worker is given to close its simulator before it is killed."""


class LocalExecutor:
    """An `Executor` on this machine."""

    isolates = False

    def run(self, job: Job[I, R], items: Iterable[I], limits: Limits) -> Generator[R, Any, None]:
        """See `Executor.run`. A single worker that need not be isolated is this process."""
        if limits.workers == 1 and not limits.isolated:
            with closing(job.open(None)) as runner:
                for item in items:
                    yield runner.run(item)
            return
        with closing(Scheduler(job, items, limits, _Processes(job))) as scheduler:
            yield from scheduler.run()

    def close(self) -> None:
        """Nothing is kept from one job to the next."""


class _Processes:
    """A `WorkerPool` of child processes."""

    start_limit: float | None = START
    start_attempts = 1
    start_hint = (
        "In your own script, start it below `if __name__ == '__main__':`, because every worker imports the script."
    )

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job, self._models = job, ModelService(make_text_model)

    def start(self) -> _Process:
        return _Process(self._job, self._models)

    def wait(self, workers: Sequence[_Process], timeout: float | None) -> Collection[_Process]:
        ready = wait([worker.connection for worker in workers], timeout=timeout)
        return [worker for worker in workers if worker.connection in ready]


class _Process:
    """A worker process and the pipe to it."""

    def __init__(self, job: Job[Any, Any], models: ModelService[VlmOptions]) -> None:
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

    def send(self, item: object) -> None:
        try:
            self.connection.send(item)
        except ConnectionError:
            return  # It died while idle; the closed pipe is read next, as for any other death.

    def receive(self) -> object:
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError) as gone:
            raise WorkerDiedError(self._death()) from gone

    def stop(self) -> None:
        self.connection.close()
        self._process.join(GRACE)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _death(self) -> str:
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


def _serve(connection: Connection[Any, Any], questions: Connection[Any, Any], job: Job[Any, Any]) -> None:
    """The worker's side: run the items that arrive until the pipe closes."""
    faulthandler.enable()
    connection.send(None)
    runner = job.open(lambda options: ModelClient(questions, model_options(options)))
    try:
        while True:
            connection.send(answer_of(runner, connection.recv()))
    except (EOFError, ConnectionError):
        return  # The parent has finished or died.
    finally:
        runner.close()
