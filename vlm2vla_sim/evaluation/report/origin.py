"""Where the figures of a report come from: settings, versions, digests, the commands, and what is missing."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vlm2vla_sim.evaluation.report import charts
from vlm2vla_sim.evaluation.report.causes import NOT_KNOWN, cause
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.evaluation.report.reproduce import commands
from vlm2vla_sim.evaluation.report.runs import Episode, ReportRun
from vlm2vla_sim.evaluation.with_suite import left_out_sentence
from vlm2vla_sim.types import Outcome


def missing(runs: Sequence[ReportRun], embedded: int, linked: int, unreadable: Sequence[str]) -> list[str]:
    """Sentences about what the report cannot show. embedded, linked: numbers of videos; unreadable: why, for each."""
    found = [sentence for run in runs for sentence in _missing(run)]
    if linked:
        found.append(
            f"{linked} of {embedded + linked} videos are not in this page: they are read from the run folder, so that "
            "the page has to stay where it is. --embed-videos always puts all of them in."
        )
    if unreadable:
        found.append(f"{len(unreadable)} videos cannot be read and are not shown. First: {unreadable[0]}")
    return found


def _missing(run: ReportRun) -> Iterator[str]:
    results, count = run.results, len(run.episodes)
    if run.planned is not None and count < run.planned:
        yield f"{run.label} is not finished: {count} of {run.planned} episodes. Its rates are those so far."
    if run.planned is None:
        yield f"{run.label}: the number of planned episodes is not known, so neither is whether the run is finished."
    for settings in run.settings:
        if settings.get("left_out"):
            count = len(settings.get("conditions") or ())
            yield f"{run.label}: {left_out_sentence(settings['left_out'], count, str(settings.get('backend')))}"
    without = sum(episode.video is None for episode in run.episodes)
    if without:
        gone = sum(episode.video is None and bool(episode.result.video) for episode in run.episodes)
        yield f"{run.label}: {without} of {count} episodes have no video{f' ({gone} files are gone)' if gone else ''}."
    for outcome, words in (
        (Outcome.UNKNOWN, "an outcome that nobody knows"),
        (Outcome.ERROR, "an error and are not scored"),
        (Outcome.ABORTED, "a person's stop and are not scored"),
    ):
        number = sum(result.outcome is outcome for result in results)
        if number:
            yield f"{run.label}: {number} of {count} episodes ended in {words}."
    unknown = sum(cause(episode).startswith(NOT_KNOWN) for episode in run.episodes)
    if unknown:
        yield (
            f"{run.label}: the cause of {unknown} failures is not known, because the run's version does not record it, "
            "or the scene is not known. How far they got is shown instead."
        )
    if not any(result.words for result in results):
        yield f"{run.label}: whether words and motion agree is not known."
    if not any(result.provenance for result in results):
        yield f"{run.label}: the policy does not tell which weights it used, or used none."


def reproduce(runs: Sequence[ReportRun]) -> str:
    """The commands as HTML."""
    parts = []
    for run in runs:
        found, notes = commands(run)
        lines = "".join(f'<pre class="command">{html.escape(line)}</pre>' for line in found)
        said = "".join(f'<p class="remark">{text(note)}</p>' for note in notes)
        title = f"<h4>{text(run.label)}</h4>" if len(runs) > 1 else ""
        parts.append(f"{title}{lines}{said}")
    return "".join(parts)


def settings(runs: Sequence[ReportRun]) -> str:
    """Settings, versions and digests of all runs as one table; a row that differs between runs is marked."""
    columns = [_flat(values) for run in runs for values in (_recorded(run),)]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = []
    for name in names:
        values = [column.get(name, "not recorded") for column in columns]
        mark = ' <small class="differs">differs</small>' if len(set(values)) > 1 else ""
        rows.append([f"{text(name)}{mark}", *(f'<span class="value">{text(value)}</span>' for value in values)])
    folders = [["folder", *(text(", ".join(map(str, run.folders))) for run in runs)]]
    return charts.table(
        ["", *(text(run.label) for run in runs)], folders + rows, "As recorded in the run folders", "origin"
    )


def _recorded(run: ReportRun) -> Mapping[str, Any]:
    """The settings of the run's first folder, and where they lack them, versions and weights of its episodes."""
    recorded = dict(run.settings[0]) if run.settings else {}
    for name in ("versions", "provenance"):
        seen = list(_unlike(run.episodes, name))
        if len(seen) == 1 and not recorded.get(name):
            recorded[name] = seen[0]
        elif len(seen) > 1:
            recorded[f"{name} of its episodes"] = f"{len(seen)} different"
    first = run.episodes[0].result
    recorded.pop("conditions", None)  # `suite` names them, with their digest
    return {"policy": first.policy, "backend": first.backend, "profile": first.profile, **recorded}


def _unlike(episodes: Sequence[Episode], name: str) -> Iterator[Mapping[str, Any]]:
    seen: set[str] = set()
    for episode in episodes:
        values = getattr(episode.result, name)
        key = json.dumps(values, sort_keys=True)
        if values and key not in seen:
            seen.add(key)
            yield values


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{before}{name}."))
        elif value not in ("", None, {}, []):
            found[f"{before}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found
