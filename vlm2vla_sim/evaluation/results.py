"""From single episodes to rates with intervals: read `results.jsonl`, count, and print a table.

A success rate without its interval invites conclusions that 24 episodes cannot carry: 12 of 24 is compatible with any
true rate from 31 to 69 %. And a crash counted as a failure, or dropped silently, makes a weak machine look like a weak
policy: errors and aborted episodes are counted apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from vlm2vla_sim.core.json_lines import read_lines
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.types import EpisodeResult, Outcome

CONFIDENCE = 0.95


def wilson_interval(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval for a rate of which `k` of `n` independent trials were seen, n >= 1; both ends in 0 .. 1.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22 (1927), 209-212; as formula (4) in Brown, Cai and DasGupta, Statistical Science
    16 (2001), 101-133, who recommend it for small n.

    >>> [round(100 * end, 1) for end in wilson_interval(12, 24)]
    [31.4, 68.6]
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} of {n} is no rate; expected 0 <= k <= n and n >= 1.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    return (0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half)


@dataclass(frozen=True)
class Rate:
    """`k` of `n`."""

    k: int
    n: int

    @property
    def rate(self) -> float | None:
        """The share, or None of nothing: a run in which every episode broke has no success rate, not one of 0."""
        return self.k / self.n if self.n else None

    def to_json(self) -> dict[str, object]:
        """k, n, rate and the ends of its interval, null where there is nothing to divide."""
        low, high = wilson_interval(self.k, self.n) if self.n else (None, None)
        return {"k": self.k, "n": self.n, "rate": self.rate, "low": low, "high": high}

    def __str__(self) -> str:
        if not self.n:
            return "-"
        low, high = wilson_interval(self.k, self.n)
        return f"{self.k}/{self.n} {100 * self.k / self.n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True)
class Summary:
    """What a set of episodes amounts to. Every rate is over the `n` episodes that say something about the policy."""

    n: int
    """Episodes that ended in success or failure."""
    n_error: int
    """Episodes that the simulator, the link or our own code broke."""
    n_aborted: int
    """Episodes that a person stopped."""
    success_at_end: Rate
    """SIMPLER's official rule: success at the last step."""
    success_once: Rate
    success_released: Rate
    """Success at the last step with the object let go."""
    grasped: Rate
    consecutive_grasp: Rate
    moved_correct_object: Rate
    on_target: Rate
    parse_failure_rate: Rate
    """Action texts that could not be read, of all that were written. They come in groups, an episode at a time, so the
    interval is too narrow to compare two policies with: it says how well this run pins the rate down."""
    steps: int
    clipped_steps: int
    """Control steps cut short to keep the arm in its workspace."""
    decisions: int
    mean_first_success_step: float | None
    """Over the episodes that succeeded at some step."""
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Plain values, as in `summary.json`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value.to_json() if isinstance(value, Rate) else value for name, value in values.items()}


@dataclass(frozen=True)
class RunSummary:
    """A whole run: all episodes together, and task by task."""

    overall: Summary
    tasks: dict[str, Summary]

    def to_json(self) -> dict[str, object]:
        """Plain values: `summary.json`."""
        tasks = {name: summary.to_json() for name, summary in self.tasks.items()}
        return {"overall": self.overall.to_json(), "tasks": tasks}


def sort_results(results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """By task, in SIMPLER's order, then by episode: the same whatever order they ended in."""
    order = {name: number for number, name in enumerate(TASKS)}
    return sorted(results, key=lambda result: (order.get(result.task, len(order)), result.task, result.episode_id))


def summarize(results: Iterable[EpisodeResult]) -> RunSummary:
    """Count everything, overall and per task."""
    ordered = sort_results(results)
    tasks = dict.fromkeys(result.task for result in ordered)
    return RunSummary(
        overall=_summarize(ordered),
        tasks={task: _summarize([result for result in ordered if result.task == task]) for task in tasks},
    )


def _summarize(results: Sequence[EpisodeResult]) -> Summary:
    scored = [result for result in results if result.outcome in (Outcome.SUCCESS, Outcome.FAILURE)]
    first = [result.first_success_step for result in scored if result.first_success_step is not None]
    unreadable = sum(result.parse_failures for result in scored)
    readable = sum(not decision.get("error") for result in scored for decision in result.decisions)

    def share(holds: Callable[[EpisodeResult], bool]) -> Rate:
        return Rate(sum(holds(result) for result in scored), len(scored))

    return Summary(
        n=len(scored),
        n_error=sum(result.outcome is Outcome.ERROR for result in results),
        n_aborted=sum(result.outcome is Outcome.ABORTED for result in results),
        success_at_end=share(lambda result: result.success_at_end),
        success_once=share(lambda result: result.success_once),
        success_released=share(lambda result: result.success_released),
        grasped=share(lambda result: result.grasped),
        consecutive_grasp=share(lambda result: result.consecutive_grasp),
        moved_correct_object=share(lambda result: result.moved_correct_object),
        on_target=share(lambda result: result.on_target),
        parse_failure_rate=Rate(unreadable, unreadable + readable),
        steps=sum(result.steps for result in scored),
        clipped_steps=sum(result.clipped_steps for result in scored),
        decisions=sum(len(result.decisions) for result in scored),
        mean_first_success_step=sum(first) / len(first) if first else None,
        seconds=round(sum(result.seconds for result in results), 3),
    )


def format_table(summary: RunSummary) -> str:
    """The summary as lines of text for a terminal: one a task, and one for all of them when there are several."""
    rows = list(summary.tasks.items())
    if len(rows) > 1:
        rows.append(("all tasks", summary.overall))
    cells = [
        ["", "success at the last step", "at any step", "let go", "grasped", "moved", "unread", "clipped", "errors"],
        *([name, *_cells(row)] for name, row in rows),
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    rule = "-" * max(map(len, lines))
    body = lines[1:] if len(rows) == 1 else [*lines[1:-1], rule, lines[-1]]
    aborted = f", {summary.overall.n_aborted} aborted" if summary.overall.n_aborted else ""
    foot = f"In brackets: 95 % Wilson interval. {summary.overall.n} episodes scored, {summary.overall.n_error} errors"
    return "\n".join([lines[0], rule, *body, "", f"{foot}{aborted}."])


def _cells(summary: Summary) -> list[str]:
    once, released = summary.success_once, summary.success_released
    unread = summary.parse_failure_rate
    return [
        str(summary.success_at_end),
        *(f"{rate.k}/{rate.n}" for rate in (once, released, summary.grasped, summary.moved_correct_object)),
        f"{unread.k}/{unread.n}",
        f"{summary.clipped_steps}/{summary.steps}",
        str(summary.n_error),
    ]


def read_results(path: Path) -> list[EpisodeResult]:
    """The episodes in a `results.jsonl`, in the order they ended. An incomplete last line is left out.

    RunFolderError if the file cannot be read, or if a line is not an episode.
    """
    try:
        return [_read_line(line, number, path) for number, line in enumerate(read_lines(path), start=1)]
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(f"The results {path} cannot be read: {error.strerror}.") from error


def _read_line(line: str, number: int, path: Path) -> EpisodeResult:
    try:
        return EpisodeResult.from_json(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"Line {number} of {path} is not an episode ({type(error).__name__}: {error}). "
            "Was the file edited? Mend or remove that line."
        ) from error
