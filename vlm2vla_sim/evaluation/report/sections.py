"""The sections of a report that need no script: rates, where episodes break off, and causes."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Sequence

from vlm2vla_sim.evaluation.outcome_lines import SHARED_SCENES
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.evaluation.report import charts
from vlm2vla_sim.evaluation.report.causes import NOT_KNOWN, cause, label
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.evaluation.report.episode_data import factor
from vlm2vla_sim.evaluation.report.runs import Episode, ReportRun
from vlm2vla_sim.evaluation.results import Summary, by_level, summarize
from vlm2vla_sim.types import EpisodeResult, Outcome

SCORED = (Outcome.SUCCESS, Outcome.FAILURE)
PERCENT = ("0 %", "25 %", "50 %", "75 %", "100 %")


def tasks_of(runs: Sequence[ReportRun]) -> list[str]:
    """The tasks of all runs, in the order of the first run that has them."""
    return list(dict.fromkeys(result.task for run in runs for result in run.results))


def filter_link(words: str, *, run: int, task: str = "", why: str = "", outcome: str = "", tag: str = "") -> str:
    """A link to the gallery with its filters set. words: HTML."""
    wanted = {"run": str(run), "task": task, "cause": why, "outcome": outcome, "tag": tag}
    data = "".join(f' data-{name}="{html.escape(value)}"' for name, value in wanted.items() if value)
    return f'<a class="filter" href="#episodes"{data}>{words}</a>'


def headline(runs: Sequence[ReportRun]) -> str:
    """For each run: how many episodes succeeded, and in which task and why most others did not."""
    return "".join(_headline(number, run, len(runs) > 1) for number, run in enumerate(runs))


def _headline(number: int, run: ReportRun, several: bool) -> str:
    summary = summarize(run.results)
    rate = summary.overall.success_at_end
    who = text(run.label if several else run.policy)
    if not rate.n:
        return (
            f'<p class="verdict r{number % 6}">{who}: success is not known for any of {len(run.episodes)} episodes.</p>'
        )
    said = f"{who} succeeded in <b>{rate.k} of {rate.n}</b> episodes: {rate.percent()}."
    failed = [episode for episode in run.episodes if episode.result.outcome is Outcome.FAILURE]
    if not failed:
        return f'<p class="verdict r{number % 6}">{said} No episode failed.</p>'
    by_task = Counter(episode.result.task for episode in failed)
    parts = []
    for task, count in by_task.most_common(4):
        causes = Counter(cause(episode) for episode in failed if episode.result.task == task)
        total = summary.tasks[task].n
        why = ", ".join(
            filter_link(f"{times} {html.escape(_short(key))}", run=number, task=task, why=key)
            for key, times in causes.most_common(3)
        )
        link = filter_link(f"{text(task)}: {count} of {total} failed", run=number, task=task, outcome="failure")
        parts.append(f"<li>{link} ({why})</li>")
    rest = len(by_task) - 4
    more = f"<li>and in {rest} further {'task' if rest == 1 else 'tasks'}</li>" if rest > 0 else ""
    return f'<div class="verdict r{number % 6}"><p>{said} Failures:</p><ul>{"".join(parts)}{more}</ul></div>'


def _short(key: str) -> str:
    return label(key).removeprefix(f"{label(NOT_KNOWN)}; ")


def rates(runs: Sequence[ReportRun]) -> str:
    """The success rates of every task and run as a forest plot."""
    summaries = [summarize(run.results) for run in runs]
    several, tasks = len(runs) > 1, tasks_of(runs)
    rows = []
    for task in [*tasks, ""] if len(tasks) > 1 else tasks:
        for number, (run, summary) in enumerate(zip(runs, summaries, strict=True)):
            part = summary.tasks.get(task) if task else summary.overall
            name = f'<span class="{"again" if number else "first"}">{text(task) if task else "all tasks"}</span>'
            name += f" <small>{text(run.label)}</small>" if several else ""
            rate = part.success_at_end if part else Rate(0, 0)
            rows.append(charts.rate_row(name, rate, total=not task, kind=f"r{number % 6}"))
    return charts.forest(rows, PERCENT, "Success at the last step (SIMPLER's rule), with 95 % Wilson intervals")


def stages(runs: Sequence[ReportRun]) -> str:
    """How far episodes got, task by task, as a heat map."""
    columns: tuple[tuple[str, Callable[[Summary], Rate]], ...] = (
        ("moved the object", lambda s: s.moved_correct_object),
        ("grasped it", lambda s: s.grasped),
        ("success at any step", lambda s: s.success_once),
        ("at the last step", lambda s: s.success_at_end),
        ("released", lambda s: s.success_released),
        ("settled", lambda s: s.success_settled),
    )
    rows = []
    summaries = [summarize(run.results) for run in runs]
    for task in tasks_of(runs):
        for run, summary in zip(runs, summaries, strict=True):
            if task in summary.tasks:
                name = text(task) + (f" <small>{text(run.label)}</small>" if len(runs) > 1 else "")
                rows.append((name, [read(summary.tasks[task]) for _, read in columns]))
    return charts.heat(["task", *(name for name, _ in columns)], rows, "Episodes that got as far, of those scored")


def factors(runs: Sequence[ReportRun]) -> str:
    """Success by factor and task as heat maps, for runs whose episodes name factors."""
    parts = []
    for number, run in enumerate(runs):
        ordered = sorted(run.episodes, key=lambda episode: by_level(episode.result))
        levels = list(dict.fromkeys(filter(None, map(factor, ordered))))
        if not levels:
            continue
        tasks = tasks_of([run])
        rows = []
        for level in levels:
            chosen = [episode.result for episode in run.episodes if factor(episode) == level]
            cells = [_success([r for r in chosen if r.task == task]) for task in tasks]
            rows.append((filter_link(text(level), run=number, tag=level), [*cells, _success(chosen)]))
        heading = ["factor", *map(text, tasks), "all tasks"]
        parts.append(charts.heat(heading, rows, f"Success at the last step by factor: {run.label}", none="-"))
        if len({episode.result.condition for episode in run.episodes}) > 1:
            parts.append(f'<p class="remark">{SHARED_SCENES}</p>')
    return "".join(parts)


def _success(results: Sequence[EpisodeResult]) -> Rate:
    known = [r.success_at_end for r in results if r.outcome in SCORED and r.success_at_end is not None]
    return Rate(sum(known), len(known))


def causes(runs: Sequence[ReportRun]) -> str:
    """How often each cause ended an episode, by task; every count leads to its episodes."""
    parts = []
    for number, run in enumerate(runs):
        keys = Counter(key for key in map(cause, run.episodes) if key)
        if not keys:
            continue
        tasks = tasks_of([run])
        rows = [_cause_row(number, run.episodes, key, tasks) for key, _ in keys.most_common()]
        caption = f"Episodes without success, by cause{f': {run.label}' if len(runs) > 1 else ''}"
        parts.append(charts.table(["cause", "all tasks", *map(text, tasks)], rows, caption, "counts"))
    return "".join(parts) or "<p>No episode failed.</p>"


def _cause_row(number: int, episodes: Sequence[Episode], key: str, tasks: Sequence[str]) -> list[str]:
    found = Counter(episode.result.task for episode in episodes if cause(episode) == key)
    total = found.total()
    shown = filter_link(f"<b>{total}</b>", run=number, why=key)
    scored = sum(episode.result.outcome in SCORED for episode in episodes)
    if any(cause(e) == key and e.result.outcome in SCORED for e in episodes):
        shown += f" <small>{Rate(total, scored).percent()}</small>"
    cells = [filter_link(str(found[t]), run=number, task=t, why=key) if found[t] else "" for t in tasks]
    return [html.escape(label(key)), shown, *cells]
