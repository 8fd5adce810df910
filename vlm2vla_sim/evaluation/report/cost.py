"""What episodes took, and how often words and motion agree: tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm2vla_sim.evaluation.report import charts
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.evaluation.report.episode_data import model_seconds, tokens
from vlm2vla_sim.evaluation.report.runs import ReportRun
from vlm2vla_sim.evaluation.report.sections import tasks_of
from vlm2vla_sim.types import EpisodeResult


def words(runs: Sequence[ReportRun]) -> str:
    """How often words, action text and motion agree, by task; empty where no run tells."""
    pairs = {"said_written": "words and text", "written_moved": "text and motion", "said_moved": "words and motion"}
    rows = []
    for task in tasks_of(runs):
        for run in runs:
            found = [e.line["words"] for e in run.episodes if e.result.task == task and e.line.get("words")]
            if found:
                name = text(task) + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
                count = sum(one["decisions"] for one in found)
                rows.append([name, str(count), *(_agreement(found, pair) for pair in pairs)])
    caption = "Agreement of plan words, action text and measured motion, mean over episodes"
    return charts.table(["task", "decisions", *pairs.values()], rows, caption, "numbers") if rows else ""


def _agreement(found: Sequence[Mapping[str, Any]], pair: str) -> str:
    """The mean share over episodes in which it is known."""
    known = [float(one[pair]) for one in found if one.get(pair) is not None]
    return f"{100 * sum(known) / len(known):.0f} %" if known else "not known"


def table(runs: Sequence[ReportRun]) -> str:
    """Time and tokens per episode, by task."""
    heading = ["task", "episodes", "s per episode", "of which models", "decisions", "tokens per episode"]
    heading += ["per decision", "unread texts", "cut off", "sent again"]
    rows = []
    for run in runs:
        for task in tasks_of([run]):
            name = text(task) + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
            rows.append([name, *_cost([r for r in run.results if r.task == task])])
        if len(tasks_of([run])) > 1:
            name = "all tasks" + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
            rows.append([name, *_cost(run.results)])
    return charts.table(heading, rows, "Means over episodes; counts of texts are sums", "numbers")


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
