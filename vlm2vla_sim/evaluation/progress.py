"""How a run stands while it goes on: the success rate so far with its interval, and the time left."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from types import TracebackType

from tqdm import tqdm

from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.evaluation.rates import Rate, wilson_interval
from vlm2vla_sim.types import EpisodeResult, Outcome

EVERY = 60.0
"""[s] between two lines, where standard error is not a terminal."""


class RunProgress:
    """Counts the episodes of a run as they end."""

    def __init__(
        self,
        todo: Iterable[tuple[str, int]],
        earlier: Iterable[EpisodeResult] = (),
        *,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the results of earlier sessions, which say nothing about the time left.

        todo: task and control steps of every episode that is still to be run. workers: episodes at the same time.
        """
        planned = list(todo)
        self._left = Counter(task for task, _ in planned)
        self._steps = dict(planned)
        self._workers, self._clock = workers, clock
        self._scored: dict[str, list[bool]] = defaultdict(list)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._began = self._last = 0.0
        self.done = self.errors = 0
        self.task = ""
        """That of the last episode that ended."""
        for result in earlier:
            self._count(result)
        self.total = self.done + len(planned)

    def add(self, result: EpisodeResult) -> None:
        """An episode has ended."""
        self._last = self._clock()
        if not self._seconds:
            self._began = self._last - result.seconds  # Loading a model before it is not repeated.
        self._seconds[result.task].append(result.seconds)
        self._left[result.task] -= 1
        self._count(result)

    def rate(self, task: str = "") -> Rate:
        """Success at the last step so far, of `task` or of all, over the episodes whose outcome is known."""
        scored = self._scored[task] if task else [one for some in self._scored.values() for one in some]
        return Rate(sum(scored), len(scored))

    def seconds_left(self) -> float | None:
        """An estimate [s]; None before the first episode of this session has ended.

        An episode takes as long as those of its task did, or else as its number of control steps says. The episodes
        that run beside the last one are half done on average.
        """
        done = [seconds for some in self._seconds.values() for seconds in some]
        if not any(done):
            return None
        left = {task: count for task, count in self._left.items() if count > 0}
        mean = sum(done) / len(done)
        beside = 0.5 * max(min(self._workers, sum(left.values())) - 1, 0) * mean
        elapsed = max(self._last - self._began, 1e-9)
        speed = min((sum(done) + beside) / elapsed, float(self._workers))
        work = sum(count * self._expected(task) for task, count in left.items())
        return max(work - beside, 0.0) / speed - (self._clock() - self._last)

    def line(self, *, at_most: bool = False) -> str:
        """Rates and time left in one line. at_most: whether the run may end before all its episodes are done."""
        parts = [f"success {_percent(self.rate())}"]
        if self.errors:
            parts.append(f"{self.errors} error{'s'[: self.errors != 1]}")
        left = self.seconds_left()
        if left is not None and self.done < self.total:
            parts.append(f"{'at most ' if at_most else ''}{format_duration(max(left, 0.0))} left")
        if len(self._scored.keys() | self._left.keys()) > 1 and self.task:
            parts.append(f"{self.task} {_percent(self.rate(self.task))}")
        return ", ".join(parts)

    def _count(self, result: EpisodeResult) -> None:
        self.done += 1
        self.task = result.task
        self.errors += result.outcome is Outcome.ERROR
        if result.outcome in (Outcome.SUCCESS, Outcome.FAILURE):
            self._scored[result.task].append(result.outcome is Outcome.SUCCESS)

    def _expected(self, task: str) -> float:
        """[s] of an episode of `task`."""
        if self._seconds.get(task):
            return sum(self._seconds[task]) / len(self._seconds[task])
        steps = sum(len(some) * self._steps[name] for name, some in self._seconds.items())
        return sum(map(sum, self._seconds.values())) * self._steps[task] / steps


class ProgressLine:
    """Shows a `RunProgress` on standard error: as a bar on a terminal, else as a line once in `EVERY` seconds."""

    def __init__(self, progress: RunProgress, *, at_most: bool = False, every: float = EVERY) -> None:
        """at_most: as in `RunProgress.line`."""
        self._progress, self._at_most, self._every = progress, at_most, every
        self._shown = time.monotonic()

    def __enter__(self) -> ProgressLine:
        self._bar = tqdm(
            total=self._progress.total,
            initial=self._progress.done,
            bar_format="{n_fmt}/{total_fmt} |{bar}| {desc}",
            dynamic_ncols=True,
            disable=None,
            file=sys.stderr,
        )
        return self

    def show(self) -> None:
        """An episode has been added."""
        line = self._progress.line(at_most=self._at_most)
        if not self._bar.disable:
            self._bar.set_description_str(line, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._shown >= self._every:
            self._shown = time.monotonic()
            to_stderr(f"PROGRESS {self._progress.done}/{self._progress.total} episodes, {line}\n")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()


def format_duration(seconds: float) -> str:
    """As people say it: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _percent(rate: Rate) -> str:
    """As short as a terminal of 80 columns asks for: "65 % (50 to 77)"."""
    if not rate.n:
        return "not known"
    low, high = wilson_interval(rate.k, rate.n)
    return f"{100 * rate.k / rate.n:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
