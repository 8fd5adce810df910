"""Requirements on success rates, and reports that CI systems read: JUnit XML and a Markdown summary."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.failures import LABELS
from vlm2vla_sim.evaluation.outcome_shares import failure_rows
from vlm2vla_sim.evaluation.rates import Rate, wilson_interval
from vlm2vla_sim.evaluation.results import RunSummary, level_rows
from vlm2vla_sim.types import EpisodeResult, Outcome

JUDGED_BY = ("point", "lower")
"""What a required rate is compared with: the rate itself, or the lower end of its 95 % interval."""
OVERALL = ""


EACH = "each-condition"
"""Stands for every condition of a suite."""


@dataclass(frozen=True)
class Requirement:
    """The success rate that a task, a condition, or all together, has to reach."""

    task: str
    """A task or a condition of a suite; `OVERALL` for all together."""
    rate: float
    """0 .. 1."""

    def __str__(self) -> str:
        return f"{self.task or 'overall'} {100 * self.rate:g} %"


def read_requirements(given: Sequence[str], tasks: Sequence[str], conditions: Sequence[str] = ()) -> list[Requirement]:
    """The requirements written as "0.8", for all tasks together, or "TASK=0.8", "CONDITION=0.8".

    tasks, conditions: the names there are; "each-condition=0.8" is for every condition that is not named itself.

    SettingError for a rate that is not above 0 and at most 1, and for a name that is given twice or not run.
    """
    names = [*tasks, *conditions, *([EACH] if conditions else [])]
    found: dict[str, Requirement] = {}
    for text in given:
        task, _, number = text.rpartition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = math.nan
        if not 0 < rate <= 1:
            raise SettingError(
                f"A required success rate is {text!r}; expected 0.8, or TASK=0.8, above 0 and at most 1."
            )
        if task and task not in names:
            raise unknown_name("task or condition of this run" if conditions else "task of this run", task, names)
        if task in found:
            raise SettingError(f"Two success rates are required of {task or 'all tasks together'}; leave one out.")
        found[task] = Requirement(task, rate)
    each = found.pop(EACH, None)
    if each is not None:
        found |= {name: Requirement(name, each.rate) for name in conditions if name not in found}
    return list(found.values())


def missed(summary: RunSummary, requirements: Iterable[Requirement], by: str = "point") -> list[str]:
    """A sentence for every requirement that the run does not meet. by: one of `JUDGED_BY`.

    A task without a scored episode meets none: its rate is unknown.
    """
    if by not in JUDGED_BY:
        raise unknown_name("way to judge a success rate", by, JUDGED_BY)
    sentences = []
    for required in requirements:
        parts = {**summary.conditions, **summary.tasks, OVERALL: summary.overall}
        part = parts.get(required.task)
        rate = Rate(0, 0) if part is None else part.success_at_end
        reached = _reached(rate, by)
        if reached is None:
            sentences.append(f"{required} is required, and no episode was scored.")
        elif reached < required.rate:
            end = ", the lower end of its interval" if by == "lower" else ""
            sentences.append(f"{required} is required; reached: {100 * reached:.1f} %{end} ({rate.k} of {rate.n}).")
    return sentences


def _reached(rate: Rate, by: str) -> float | None:
    if not rate.n:
        return None
    return wilson_interval(rate.k, rate.n)[0] if by == "lower" else rate.k / rate.n


def junit(results: Iterable[EpisodeResult], sentences: Iterable[str] = ()) -> str:
    """JUnit XML: a test suite for each task and condition, a test case for each episode and each missed requirement.

    A failed episode is a `failure`, an error of the simulator or the link an `error`, an episode that was aborted or
    whose outcome is unknown `skipped`.
    """
    root = ElementTree.Element("testsuites", name="vlm2vla evaluate")
    suites: dict[str, ElementTree.Element] = {}
    for result in results:
        name = ".".join(filter(None, (result.condition, result.task)))
        if name not in suites:
            suites[name] = ElementTree.SubElement(root, "testsuite", name=name)
        case = ElementTree.SubElement(
            suites[name],
            "testcase",
            classname=f"{result.policy}.{name}",
            name=f"episode {result.episode_id}",
            time=f"{result.seconds:.3f}",
        )
        kind = _KINDS.get(result.outcome)
        if kind is not None:
            cause = LABELS.get(result.failure or "", "")
            said = (
                ": ".join(filter(None, (cause, result.reason))) or f"{result.outcome.value} after {result.steps} steps"
            )
            ElementTree.SubElement(case, kind, message=_printable(said))
        if result.video:
            ElementTree.SubElement(case, "system-out").text = _printable(f"video: {result.video}")
    required = list(sentences)
    if required:
        suite = ElementTree.SubElement(root, "testsuite", name="required success rates")
        for sentence in required:
            case = ElementTree.SubElement(suite, "testcase", classname="required", name=_printable(sentence))
            ElementTree.SubElement(case, "failure", message=_printable(sentence))
    for suite in root:
        suite.set("tests", str(len(suite)))
        for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(name, str(len(suite.findall(f"./testcase/{kind}"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


_KINDS = {
    Outcome.FAILURE: "failure",
    Outcome.ERROR: "error",
    Outcome.ABORTED: "skipped",
    Outcome.UNKNOWN: "skipped",
}


def _printable(text: str) -> str:
    """`text` without the control characters that XML cannot hold."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def markdown(summary: RunSummary, sentences: Iterable[str] = (), *, title: str = "") -> str:
    """The rates as a GitHub-flavoured Markdown table, for the summary of a CI job."""
    lines = [f"### {title}", ""] if title else []
    lines += ["| task | success at the last step | at any step | errors |", "|---|---|---|---|"]
    parts = [*summary.tasks.items(), *([("all tasks", summary.overall)] if len(summary.tasks) > 1 else [])]
    for name, part in [*level_rows(summary), *parts]:
        once = part.success_once
        lines.append(f"| {name} | {part.success_at_end} | {once.k}/{once.n} | {part.n_error} |")
    failures = failure_rows({name: part.failures for name, part in parts})
    if failures:
        heading, *body = (f"| {' | '.join(row)} |" for row in failures)
        lines += ["", heading.replace("|  |", "| why episodes failed |", 1), "|---" * len(failures[0]) + "|", *body]
    lines += ["", "95 % Wilson intervals in brackets."]
    lines += [f"- **Not reached:** {sentence}" for sentence in sentences]
    return "\n".join(lines) + "\n"
