"""Gives items to worker processes that may die or hang, wherever they are.

A segfault or a hang of a simulator cannot be caught in Python. In a worker it ends only that process: the item is tried
once more in a new one, then reported as broken, and the others continue.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from vlm2vla_sim.errors import BackendFaultError
from vlm2vla_sim.evaluation.executors.base import I, Job, Limits, R

ATTEMPTS = 2
"""Attempts at an item whose worker dies or hangs."""


class WorkerDiedError(Exception):
    """A worker ended by itself."""

    def __init__(self, how: str, *, of_its_own: bool = True) -> None:
        """how: a verb phrase, such as "was killed by SIGKILL". of_its_own: not with the machine it was on."""
        super().__init__(how)
        self.how, self.of_its_own = how, of_its_own


class Worker(Protocol):
    """A process that runs one item at a time. It says first that it has started."""

    def send(self, item: Any) -> None:
        """Begin with `item`. A worker that has died says so in `receive`."""
        ...

    def receive(self) -> object:
        """What `WorkerPool.wait` has found: None once it has started, then a result or the error for each item.

        WorkerDiedError if it has ended.
        """
        ...

    def stop(self) -> None:
        """Let an idle worker release what it holds, then end it."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class WorkerPool(Protocol):
    """Starts workers and waits for them."""

    start_limit: float | None
    """[s] for a worker to start; None where it may wait for a free place."""
    start_attempts: int
    """How many workers in a row may die before they have started."""
    start_hint: str
    """What to do about workers that cannot start."""

    def start(self) -> Worker:
        """A new worker."""
        ...

    def wait(self, workers: Sequence[Any], timeout: float | None) -> Collection[Any]:
        """Those of `workers` that have something to say, as soon as there are any; none after `timeout` seconds."""
        ...


@dataclass(eq=False)
class _Place(Generic[I]):
    """A worker, and what it does."""

    worker: Worker
    deadline: float
    started: bool = False
    item: I | None = None
    group: str | None = None


class Scheduler(Generic[I, R]):
    """The workers of one job."""

    def __init__(self, job: Job[I, R], items: Iterable[I], limits: Limits, pool: WorkerPool) -> None:
        self._job, self._source, self._limits, self._pool = job, iter(items), limits, pool
        self._todo: deque[I] = deque()
        self._unfinished: dict[I, int] = {}  # item -> its number, in their order
        self._taken, self._has_more = 0, True
        self._places: list[_Place[I]] = []
        self._failures: dict[I, list[str]] = {}
        self._failed_starts = 0

    def run(self) -> Iterator[R]:
        """The results, as they come."""
        self._assign()
        while self._todo or any(place.item is not None for place in self._places):
            for place in self._wait():
                answer = self._receive(place)
                self._assign()
                yield from answer

    def close(self) -> None:
        """End all workers."""
        for place in self._places:
            place.worker.stop() if place.started and place.item is None else place.worker.kill()
        self._places.clear()

    def _assign(self) -> None:
        """Give every idle worker an item, and start workers while there are items left."""
        self._assign_idle()  # before the next items are read, which may take a while
        if self._take():
            self._assign_idle()
        while len(self._places) < self._limits.workers and self._starting() < len(self._todo):
            limit = self._pool.start_limit
            self._places.append(_Place(self._pool.start(), float("inf") if limit is None else time.monotonic() + limit))

    def _take(self) -> bool:
        """Read as many items as `Limits.ahead` allows; whether there was one."""
        before, ahead = self._taken, self._limits.ahead
        while self._has_more and (
            ahead is None or not self._unfinished or self._taken - next(iter(self._unfinished.values())) < ahead
        ):
            try:
                item = next(self._source)
            except StopIteration:
                self._has_more = False
                break
            self._unfinished[item] = self._taken
            self._taken += 1
            self._todo.append(item)
        return self._taken > before

    def _assign_idle(self) -> None:
        """Give every idle worker an item; end those for which there is none, and will be none."""
        for place in [place for place in self._places if place.started and place.item is None]:
            group = self._choose_group(place.group)
            if group is None and self._has_more:
                continue  # it waits for the first item, which keeps `_take` from reading on
            if group is None or (self._job.fresh_for_group and place.group not in (None, group)):
                self._places.remove(place)
                place.worker.stop()
            else:
                self._give(place, group)

    def _starting(self) -> int:
        return sum(not place.started for place in self._places)

    def _give(self, place: _Place[I], group: str) -> None:
        item = next(item for item in self._todo if self._job.group(item) == group)
        self._todo.remove(item)
        place.item, place.group = item, group
        place.deadline = time.monotonic() + self._limits.timeout
        place.worker.send(item)

    def _choose_group(self, current: str | None) -> str | None:
        """The group of a worker's next item: its own if any is left of it, because another costs a new start.

        A worker without a group gets the one with the most items for each worker that has it; None if none is left.
        """
        left = Counter(self._job.group(item) for item in self._todo)
        if current in left:
            return current
        busy = Counter(place.group for place in self._places if place.item is not None)
        return max(left, key=lambda group: left[group] / (1 + busy[group]), default=None)

    def _wait(self) -> list[_Place[I]]:
        """Workers that sent something, died, or timed out."""
        waiting = [place for place in self._places if place.item is not None or not place.started]
        end = min(place.deadline for place in waiting)
        patience = None if end == float("inf") else max(0.0, end - time.monotonic())
        ready = self._pool.wait([place.worker for place in waiting], patience)
        now = time.monotonic()
        return [place for place in waiting if place.worker in ready or place.deadline <= now]

    def _receive(self, place: _Place[I]) -> list[R]:
        """The result of a worker's item; none if it is tried again, or the worker only said that it has started."""
        item = place.item
        try:
            if not self._pool.wait([place.worker], 0):
                raise WorkerDiedError("hung")
            answer = place.worker.receive()
        except WorkerDiedError as died:
            place.worker.kill()
            self._places.remove(place)
            if item is None:
                self._after_failed_start(died)
                return []
            return self._after_failure(item, died)
        if item is None:
            if isinstance(answer, BaseException):
                raise answer
            place.started, self._failed_starts = True, 0
            return []
        place.item = None
        if isinstance(answer, BaseException):
            raise answer
        del self._unfinished[item]
        return [self._annotate(item, answer)]  # type: ignore[arg-type]

    def _after_failed_start(self, died: WorkerDiedError) -> None:
        self._failed_starts += 1
        if self._failed_starts >= self._pool.start_attempts:
            how = f"did not start within {self._pool.start_limit:g} s" if died.how == "hung" else died.how
            raise BackendFaultError(f"A worker process {how} before it could start. {self._pool.start_hint}") from died

    def _after_failure(self, item: I, died: WorkerDiedError) -> list[R]:
        if not died.of_its_own:  # the machine has gone: that says nothing about the item
            self._todo.appendleft(item)
            return []
        how = f"it did not end within {self._limits.timeout:g} s, and its process was stopped"
        failures = self._failures.setdefault(item, [])
        failures.append(how if died.how == "hung" else f"its process {died.how}")
        if len(failures) < ATTEMPTS:
            self._todo.appendleft(item)
            return []
        del self._unfinished[item]
        reasons = "; ".join(f"attempt {n}: {reason}" for n, reason in enumerate(failures, start=1))
        return [self._job.broken(item, f"broke off {len(failures)} times. {reasons}.")]

    def _annotate(self, item: I, result: R) -> R:
        failures = self._failures.get(item)
        if not failures:
            return result
        note = f"This is attempt {len(failures) + 1}; the one before broke off: {failures[-1]}."
        return self._job.annotated(result, note)
