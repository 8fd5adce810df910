"""`vlm2vla compare`: is B worse than A, where, and could this comparison have shown it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.failures import LABELS
from vlm2vla_sim.evaluation.outcome_lines import REPEATED_SCENES, TESTED_BY_SCENE
from vlm2vla_sim.evaluation.outcome_shares import failure_shares

if TYPE_CHECKING:
    from vlm2vla_sim.evaluation.comparison.compare import Cell, Comparison
    from vlm2vla_sim.evaluation.stop_record import StopRecord

NOT_WORSE, WORSE, UNDERPOWERED, NOT_COMPARABLE = 0, 1, 2, 3
"""Exit statuses."""


def compare(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    /,
    *,
    rule: str = "success_at_end",
    margin: float = 15.0,
    confidence: float = 0.95,
    allow: tuple[str, ...] = (),
    markdown: bool = False,
    json: bool = False,
) -> CommandResult:
    """Compare policies: the first run is the baseline, every further one a candidate.

    Episodes are paired by task, episode, seed and, with a suite, condition; the rates of each pair of runs are compared
    with McNemar's exact test, per task, per factor and overall, with Holm's correction over all tests. Runs without
    common episodes are compared as independent samples.

    A run is a folder of `vlm2vla evaluate`, or of a session; FOLDER#POLICY names one of several policies in it, and
    A,B merges the runs of one policy with several seeds. LeRobot's eval_info.json is a run, too; it names no seeds, so
    two of them are independent samples unless each is given as eval_info.json#seed=N, its --seed.

    Where a run may have stopped early (evaluate --stop-when decided), its rounds up to the stop are compared, with a
    test and intervals that hold whenever it stopped.

    Exit status: 0 not worse, 1 worse, 2 underpowered, 3 not comparable (other conditions, a folder that cannot be
    read, or wrong usage).

    Args:
        runs: The baseline and the candidates. A session of several policies may be named alone.
        rule: Which success counts: success_at_end (SIMPLER's), success_once, success_released or success_settled.
        margin: The largest drop of the overall rate, in points, that counts as not worse.
        confidence: Of the intervals; the tests have the level 1 minus it.
        allow: Conditions that may differ, such as backend, or versions for all versions of the simulator.
        markdown: Print a Markdown table, for the summary of a CI job.
        json: Print JSON.
    """
    from vlm2vla_sim.evaluation.comparison.compare import compare as compare_sides
    from vlm2vla_sim.evaluation.comparison.sides import policies_in, read_side

    if len(runs) == 1:
        runs = tuple(f"{runs[0]}#{policy}" for policy in policies_in(runs[0]))
    if len(runs) < 2:
        raise SettingError("Name two runs or more: the baseline first, then the candidates.")
    baseline, *candidates = map(read_side, runs)
    found = compare_sides(baseline, candidates, rule=rule, margin=margin / 100, confidence=confidence, allow=allow)
    verdicts = {comparison.verdict.value for comparison in found}
    code = WORSE if "worse" in verdicts else UNDERPOWERED if "underpowered" in verdicts else NOT_WORSE
    values = {"comparisons": [comparison.to_json() for comparison in found]}
    text = "\n\n".join(_text(comparison, markdown=markdown) for comparison in found)
    return CommandResult(text, values, json, code)


compare.error_status = NOT_COMPARABLE  # type: ignore[attr-defined]  # 1 and 2 are verdicts here


def _text(found: Comparison, *, markdown: bool) -> str:
    heading = [
        "task" if not found.levels else "task or factor",
        "baseline",
        "candidate",
        "difference [points]",
        "only one succeeded",
        "p",
        "p (Holm)",
    ]
    rows = [heading, *(_row(cell) for cell in found.cells)]
    table = _markdown(rows) if markdown else columns(rows)
    paired = f"paired by {found.pairing.value}" if found.overall.only_baseline is not None else "unpaired"
    lines = [
        f"baseline   {found.baseline.name} ({found.baseline.policy})",
        f"candidate  {found.candidate.name} ({found.candidate.policy})",
        "",
        table,
        "",
        f"{found.rule}, {paired}; the difference is candidate minus baseline, with its "
        f"{100 * found.confidence:g} % interval.",
    ]
    lines += _levels(found, markdown=markdown)
    lines += _causes(found)
    if found.stopping is not None:
        lines.append(_stopping(found.stopping))
    if found.left_out:
        lines.append("Left out: " + ", ".join(f"{count} {reason}" for reason, count in found.left_out.items()) + ".")
    if found.allowed:
        lines.append(f"Different, as allowed: {'; '.join(found.allowed)}.")
    if found.repeated_scenes:
        lines.append(TESTED_BY_SCENE if found.tests_scenes else REPEATED_SCENES)
    lines.append(_verdict(found))
    return "\n".join(lines)


def _levels(found: Comparison, *, markdown: bool) -> list[str]:
    """A table of the levels of a suite's factors, which are not tested one by one; none outside a suite."""
    if not found.levels:
        return []
    heading = ["factor: level", "baseline", "candidate", "difference [points]", "only one succeeded"]
    rows = [heading, *(_row(cell)[: len(heading)] for cell in found.levels)]
    return ["", _markdown(rows) if markdown else columns(rows), ""]


def _causes(found: Comparison) -> list[str]:
    """A line for each side that failed: how often for which known cause."""
    lines = []
    for what, side in (("baseline", found.baseline), ("candidate", found.candidate)):
        shares = failure_shares(side.episodes)
        counts = [f"{LABELS[label]} {rate.k}" for label, rate in shares.items() if rate.k]
        if counts:
            lines.append(f"Failures of the {what}: {', '.join(counts)}.")
    return lines


def _stopping(record: StopRecord) -> str:
    planned, state = len(record.rounds), record.state
    if state is None:
        ended = "it has not ended"
    elif state.rounds < planned:
        ended = f"stopped early, after {state.rounds} of {planned} rounds"
    else:
        ended = f"all {planned} rounds were run"
    return (
        f"A run that stops when decided against {record.baseline} ({ended}): p and intervals are anytime-valid\n"
        "(betting confidence sequence); Holm's correction is over the tasks, and the overall test stands alone."
    )


def _row(cell: Cell) -> list[str]:
    discordant = "-" if cell.only_baseline is None else f"{cell.only_baseline} / {cell.only_candidate}"
    return [
        cell.name,
        f"{cell.baseline.k}/{cell.baseline.n}",
        f"{cell.candidate.k}/{cell.candidate.n}",
        f"{100 * cell.difference:+.1f} ({100 * cell.low:+.1f} to {100 * cell.high:+.1f})",
        discordant,
        f"{cell.p:.3g}",
        f"{cell.p_adjusted:.3g}",
    ]


def _verdict(found: Comparison) -> str:
    power = found.overall.detectable
    could = (
        ""
        if found.stopping is not None
        else "No drop would be found here with a probability of 80 %."
        if power is None
        else f"A true overall drop of {100 * power:.0f} points would be found here with a probability of 80 %."
    )
    margin = f"{100 * found.margin:g} points"
    better = [cell.name for cell in found.cells if cell.is_better]
    if found.verdict == "worse":
        said = f"Worse: {', '.join(cell.name for cell in found.cells if cell.is_worse)}."
    elif found.verdict == "not worse":
        said = f"Not worse by {margin} or more." + (f" Better: {', '.join(better)}." if better else "")
    else:
        said = f"Underpowered: nothing is significantly worse, but a drop of {margin} is not excluded."
    return f"{said} {could}".rstrip()


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
