"""From single episodes to rates with intervals: read `results.jsonl`, count, and print a table.

Errors, aborted episodes and episodes of unknown outcome are counted separately, never as failures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.json_lines import read_lines
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.conditions import UNCHANGED
from vlm2vla_sim.evaluation.limits import limit_lines, other_limits
from vlm2vla_sim.evaluation.outcome_lines import SHARED_SCENES, more_tables, tracker_lines
from vlm2vla_sim.evaluation.outcome_shares import align, failure_shares, word_shares
from vlm2vla_sim.evaluation.rates import Mean, Rate
from vlm2vla_sim.evaluation.usage import bill, usage_fields
from vlm2vla_sim.evaluation.verdicts import VerdictTable, verdict_tables
from vlm2vla_sim.types import EpisodeResult, Outcome


@dataclass(frozen=True)
class Summary:
    """Summary of a set of episodes. Every success rate is over the `n` episodes whose outcome is known."""

    n: int
    """Episodes that ended in success or failure."""
    n_error: int
    """Episodes that ended in an error of the simulator, the link or this package."""
    n_aborted: int
    """Episodes that the operator stopped."""
    n_unknown: int
    """Episodes that ran to their end and whose outcome is unknown."""
    success_at_end: Rate
    """SIMPLER's official rule: success at the last step."""
    success_once: Rate
    success_released: Rate
    """Success at the last step with the object released."""
    success_settled: Rate
    """Success at the last step with the object at rest on the target, over the episodes for which it is known."""
    grasped: Rate
    consecutive_grasp: Rate
    moved_correct_object: Rate
    on_target: Rate
    parse_failure_rate: Rate
    """Action texts that could not be parsed, of all that were written. They are correlated within an episode, so the
    interval is too narrow to compare two policies with."""
    steps: int
    clipped_steps: int
    """Control steps cut short to keep the arm in its workspace."""
    decisions: int
    mean_first_success_step: float | None
    """Over the episodes that succeeded at some step."""
    seconds: float
    progress: Mean = dataclasses.field(default_factory=lambda: Mean.of(()))
    """Of the episodes that an operator scored, 0 .. 100."""
    truncations: int = 0
    """Answers of the model that were cut off at their token limit, and not carried out."""
    retries: int = 0
    """Requests that were sent again because a server did not answer."""
    tokens: int | None = None
    """Tokens in the model's answers, of those whose number is known; None where none is."""
    tokens_per_second: float | None = None
    """The same tokens, per second of waiting for these answers. Episodes at the same time wait at the same time: a
    model that answers N of them writes up to N times as many."""
    prompt_tokens: int | None = None
    """In the prompts, pictures included; None, here and below, where a server does not say it of every answer."""
    cached_tokens: int | None = None
    """Of these, the ones that the server took from its cache."""
    cost: float | None = None
    """Of all answers, in `currency`, by the policy's prices; None without prices."""
    currency: str = ""
    """Of `cost`; empty without prices."""
    metrics: dict[str, Rate | Mean] = dataclasses.field(default_factory=dict)
    """Of each metric: a rate if its values are true or false, else a mean."""
    failures: dict[str, Rate] = dataclasses.field(default_factory=dict)
    """Of each cause of failure (`failures.LABELS`): its share of the failures whose cause is known."""
    words: dict[str, Mean] = dataclasses.field(default_factory=dict)
    """Of each pair of plan, action text and arm (`agreement.PAIRS`): the share of decisions in which they agree,
    0 .. 100, mean of the episodes."""
    verdicts: dict[str, VerdictTable] = dataclasses.field(default_factory=dict)
    """Of each kind of subtask that a verifier was asked about: how often it was right."""

    def to_json(self) -> dict[str, object]:
        """Plain values, as in `summary.json`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: value.to_json() if isinstance(value, (Rate, Mean)) else value for name, value in values.items()}
        several: dict[str, Mapping[str, Rate | Mean | VerdictTable]] = {"metrics": self.metrics}
        several |= {"failures": self.failures, "words": self.words, "verdicts": self.verdicts}
        return {**plain, **{what: {name: one.to_json() for name, one in of.items()} for what, of in several.items()}}


@dataclass(frozen=True)
class RunSummary:
    """A whole run: all episodes together, and task by task."""

    overall: Summary
    tasks: dict[str, Summary]
    factors: dict[str, dict[str, Summary]] = dataclasses.field(default_factory=dict)
    """With a suite: factor -> level -> its episodes."""
    conditions: dict[str, Summary] = dataclasses.field(default_factory=dict)
    """With a suite: condition -> its episodes."""
    trackers: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Of each tracker: episodes of the last session that it was told of, calls that failed, and the first error."""
    max_steps: dict[str, int] = dataclasses.field(default_factory=dict)
    """Task -> control steps of its episodes, where they are not the task's own."""

    def to_json(self) -> dict[str, object]:
        """Plain values: `summary.json`. What a run does not have, such as a suite, is left out."""
        values: dict[str, object] = {"overall": self.overall.to_json(), "tasks": _plain(self.tasks)}
        if self.conditions:
            values["factors"] = {factor: _plain(levels) for factor, levels in self.factors.items()}
            values["conditions"] = _plain(self.conditions)
        rest = {"max_steps": self.max_steps, "trackers": self.trackers}
        return {**values, **{name: value for name, value in rest.items() if value}}


def _plain(parts: Mapping[str, Summary]) -> dict[str, object]:
    return {name: summary.to_json() for name, summary in parts.items()}


def sort_results(results: Iterable[EpisodeResult]) -> list[EpisodeResult]:
    """By task, in SIMPLER's order, then by condition and episode, whatever the order in which they ended."""
    order = {name: number for number, name in enumerate(TASKS)}
    return sorted(results, key=lambda result: (order.get(result.task, len(order)), *result.key))


def summarize(results: Iterable[EpisodeResult]) -> RunSummary:
    """The summary of all results, and of those of each task, factor, level and condition."""
    ordered = sort_results(results)

    def by(field: str, of: Iterable[EpisodeResult] = ordered) -> dict[str, list[EpisodeResult]]:
        groups: dict[str, list[EpisodeResult]] = {}
        for result in of:
            groups.setdefault(getattr(result, field), []).append(result)
        return groups

    tagged = sorted((result for result in ordered if result.condition), key=by_level)
    return RunSummary(
        overall=_summarize(ordered),
        tasks={task: _summarize(found) for task, found in by("task").items()},
        factors={
            factor: {level: _summarize(part) for level, part in by("level", found).items()}
            for factor, found in by("factor", tagged).items()
        },
        conditions={name: _summarize(found) for name, found in by("condition", tagged).items()},
        max_steps=other_limits(ordered),
    )


def by_level(result: EpisodeResult) -> tuple[bool, str, str]:
    """Sorts by factor and level; what is changed in nothing comes first."""
    return result.factor != UNCHANGED, result.factor, result.level


def _summarize(results: Sequence[EpisodeResult]) -> Summary:
    scored = [result for result in results if result.outcome in (Outcome.SUCCESS, Outcome.FAILURE)]
    ended = [result for result in results if result.outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN)]
    first = [result.first_success_step for result in scored if result.first_success_step is not None]
    unreadable = sum(result.parse_failures for result in ended)
    readable = sum(not decision.get("error") for result in ended for decision in result.decisions)

    def share(holds: Callable[[EpisodeResult], bool | None]) -> Rate:
        known = [held for held in map(holds, scored) if held is not None]
        return Rate(sum(known), len(known))

    return Summary(
        n=len(scored),
        n_error=sum(result.outcome is Outcome.ERROR for result in results),
        n_aborted=sum(result.outcome is Outcome.ABORTED for result in results),
        n_unknown=sum(result.outcome is Outcome.UNKNOWN for result in results),
        success_at_end=share(lambda result: result.success_at_end),
        success_once=share(lambda result: result.success_once),
        success_released=share(lambda result: result.success_released),
        success_settled=share(lambda result: result.success_settled),
        grasped=share(lambda result: result.grasped),
        consecutive_grasp=share(lambda result: result.consecutive_grasp),
        moved_correct_object=share(lambda result: result.moved_correct_object),
        on_target=share(lambda result: result.on_target),
        parse_failure_rate=Rate(unreadable, unreadable + readable),
        steps=sum(result.steps for result in ended),
        clipped_steps=sum(result.clipped_steps for result in ended),
        decisions=sum(len(result.decisions) for result in ended),
        mean_first_success_step=sum(first) / len(first) if first else None,
        seconds=round(sum(result.seconds for result in results), 3),
        progress=Mean.of_progress([result.progress for result in scored if result.progress is not None]),
        truncations=sum(result.truncations for result in results),
        retries=sum(result.retries for result in results),
        **usage_fields(results),
        metrics=_summarize_metrics(ended),
        failures=failure_shares(scored),
        words=word_shares(ended),
        verdicts=verdict_tables(ended),
    )


def _summarize_metrics(results: Sequence[EpisodeResult]) -> dict[str, Rate | Mean]:
    names = dict.fromkeys(name for result in results for name in result.metrics)
    summary: dict[str, Rate | Mean] = {}
    for name in names:
        known = [value for result in results if (value := result.metrics.get(name)) is not None]
        if known and all(isinstance(value, bool) for value in known):
            summary[name] = Rate(sum(map(bool, known)), len(known))
        else:
            summary[name] = Mean.of([float(value) for value in known])
    return summary


def format_table(summary: RunSummary) -> str:
    """The summary as lines of text for a terminal: one per task, and one for all tasks if there are several.

    With a suite, one per factor and level comes first.
    """
    tasks = list(summary.tasks.items())
    if len(tasks) > 1:
        tasks.append(("all tasks", summary.overall))
    rows = [*level_rows(summary), *tasks]
    metrics = list(dict.fromkeys(name for _, row in rows for name in row.metrics))
    columns = ["success at the last step", "at any step", "released", "settled", "grasped", "moved"]
    columns += ["parse errors", "clipped"]
    scored = ["progress"] if summary.overall.progress.n else []
    cells = [
        ["", *columns, "errors", *scored, *metrics],
        *(
            [
                *(name, *_cells(row), *(str(row.progress) for _ in scored)),
                *(str(row.metrics.get(metric, "-")) for metric in metrics),
            ]
            for name, row in rows
        ),
    ]
    lines = align(cells)
    rule = "-" * max(map(len, lines))
    body = lines[1:] if len(tasks) == 1 else [*lines[1:-1], rule, lines[-1]]
    if len(rows) > len(tasks):
        body.insert(len(rows) - len(tasks), rule)
    overall = summary.overall
    counts = (
        ("aborted", overall.n_aborted),
        ("of unknown outcome", overall.n_unknown),
        ("truncated answers", overall.truncations),
        ("retried requests", overall.retries),
    )
    more = "".join(f"; {what}: {count}" for what, count in counts if count)
    if overall.tokens_per_second is not None:
        more += f"; tokens per second of an answer: {overall.tokens_per_second:g}"
    more += bill(overall.prompt_tokens, overall.cached_tokens, overall.cost, overall.currency)
    foot = f"In brackets: 95 % Wilson interval. Episodes scored: {overall.n}; errors: {overall.n_error}"
    more_lines = more_tables({name: (part.failures, part.words) for name, part in tasks}, overall.verdicts)
    more_lines = [*limit_lines(summary.max_steps), *more_lines, *tracker_lines(summary.trackers)]
    shared = [SHARED_SCENES] if len(summary.conditions) > 1 else []
    return "\n".join([lines[0], rule, *body, "", f"{foot}{more}.", *shared, *more_lines])


def level_rows(summary: RunSummary) -> list[tuple[str, Summary]]:
    """The summary of every level of a suite's factors, named "factor: level"."""
    return [
        (f"{factor}: {level}", part) for factor, levels in summary.factors.items() for level, part in levels.items()
    ]


def _cells(summary: Summary) -> list[str]:
    rules = summary.success_once, summary.success_released, summary.success_settled
    parse_errors = summary.parse_failure_rate
    return [
        str(summary.success_at_end),
        *(f"{rate.k}/{rate.n}" if rate.n else "-" for rate in (*rules, summary.grasped, summary.moved_correct_object)),
        f"{parse_errors.k}/{parse_errors.n}",
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
            "Was the file edited? Fix or remove that line."
        ) from error
