"""Runs items in threads of this process: for work that waits for a server, where a process each would only cost memory.

A thread can neither be stopped nor survive a crash of its process: what it calls has limits of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.executors.base import I, Job, Limits, R


class ThreadExecutor:
    """An `Executor` in this process. One runner serves all threads, so it must allow several calls at once."""

    isolates = False

    def run(self, job: Job[I, R], items: Iterable[I], limits: Limits) -> Generator[R, Any, None]:
        """See `Executor.run`; the results come in the order of the items, and `timeout` has no effect."""
        if limits.isolated:
            raise SettingError("Threads cannot isolate items from each other; use LocalExecutor.")
        ahead = limits.ahead or 2 * limits.workers
        waiting: deque[Future[R]] = deque()
        with closing(job.open(None)) as runner, ThreadPoolExecutor(limits.workers) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(runner.run, item))
                    if len(waiting) >= ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for one in waiting:
                    one.cancel()

    def close(self) -> None:
        """Nothing is kept from one job to the next."""
