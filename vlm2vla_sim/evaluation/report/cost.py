"""What episodes took, how often words and motion agree, and how often the verifier was right: tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from vlm2vla_sim.evaluation.outcome_shares import PAIR_NAMES, word_shares
from vlm2vla_sim.evaluation.rates import Mean
from vlm2vla_sim.evaluation.report import charts
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.evaluation.report.episode_data import model_seconds, tokens
from vlm2vla_sim.evaluation.report.runs import ReportRun
from vlm2vla_sim.evaluation.report.sections import tasks_of
from vlm2vla_sim.evaluation.usage import usage
from vlm2vla_sim.evaluation.verdicts import COLUMNS, verdict_rows, verdict_tables
from vlm2vla_sim.types import EpisodeResult


def words(runs: Sequence[ReportRun]) -> str:
    """How often words, action text and motion agree, by task; empty where no run tells."""
    rows = []
    for task in tasks_of(runs):
        for run in runs:
            results = [result for result in run.results if result.task == task]
            count = sum(int(result.words["decisions"]) for result in results if result.words)
            if count:
                name = text(task) + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
                shares = word_shares(results)
                rows.append([name, str(count), *(_percent(shares.get(pair)) for pair in PAIR_NAMES)])
    caption = "Decisions in which words and motion agree, mean of episodes with its 95 % interval"
    return charts.table(["task", "decisions", *PAIR_NAMES.values()], rows, caption, "numbers") if rows else ""


def verdicts(runs: Sequence[ReportRun]) -> str:
    """What verifiers said against the simulator's truth, by kind of subtask; empty where none was asked."""
    rows = []
    for run in runs:
        for kind, *cells in verdict_rows(verdict_tables(run.results))[1:]:
            rows.append([text(kind) + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else ""), *cells])
    caption = "Subtasks that the verifier passed, by the simulator's truth, with 95 % intervals"
    return charts.table(["subtask", *COLUMNS], rows, caption, "numbers") if rows else ""


def _percent(mean: Mean | None) -> str:
    if mean is None or mean.mean is None or mean.low is None or mean.high is None:
        return "not known"
    return f"<b>{mean.mean:.0f} %</b> <small>({mean.low:.1f} to {mean.high:.1f})</small>"


def table(runs: Sequence[ReportRun]) -> str:
    """Time and tokens per episode, by task."""
    heading = ["task", "episodes", "s per episode", "of which models", "decisions", "tokens per episode"]
    heading += ["per decision", "unread texts", "cut off", "sent again"]
    paid = any(used.prompt_tokens is not None or used.currency for used in (usage(run.results) for run in runs))
    heading += ["prompt tokens per episode", "of which cached", "cost per episode"] if paid else []
    rows = []
    for run in runs:
        for task in tasks_of([run]):
            name = text(task) + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
            found = [result for result in run.results if result.task == task]
            rows.append([name, *_cost(found), *(_bill(found) if paid else [])])
        if len(tasks_of([run])) > 1:
            name = "all tasks" + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
            rows.append([name, *_cost(run.results), *(_bill(run.results) if paid else [])])
    return charts.table(heading, rows, "Means over episodes; counts of texts are sums", "numbers")


def _bill(results: Sequence[EpisodeResult]) -> list[str]:
    """Tokens of prompts, those from a cache, and money, per episode; "-" without a model, or without prices."""
    used, count = usage(results), len(results)
    unknown = "not known" if used.answers else "-"
    tokens = [
        unknown if number is None else f"{number / count:.0f}" for number in (used.prompt_tokens, used.cached_tokens)
    ]
    if not used.currency:
        return [*tokens, "-"]
    return [*tokens, "not known" if used.cost is None else f"{used.cost / count:.4g} {text(used.currency)}"]


def _cost(results: Sequence[EpisodeResult]) -> list[str]:
    count = len(results)
    decisions = sum(len(result.decisions) for result in results)
    written = [tokens(result) for result in results]
    known = [n for n in written if n is not None]
    asked = sum(model_seconds(result) for result in results)
    return [
        str(count),
        f"{sum(result.seconds for result in results) / count:.1f}",
        f"{asked / count:.1f}" if asked else "-",
        f"{decisions / count:.1f}",
        f"{sum(known) / count:.0f}" if len(known) == count else "-" if not asked else "not known",
        f"{sum(known) / decisions:.0f}" if len(known) == count and decisions else "-" if not asked else "not known",
        str(sum(result.parse_failures for result in results)),
        str(sum(result.truncations for result in results)),
        str(sum(result.retries for result in results)),
    ]
