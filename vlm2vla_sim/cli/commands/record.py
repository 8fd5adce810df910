"""`vlm2vla record`: demonstrations from any policy in any backend, as a LeRobot folder."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.flags import ExecutorFlags, RunFlags
from vlm2vla_sim.cli.report import EpisodeReporter, report_errors
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.data.recording.record import RUN
from vlm2vla_sim.data.recording.record import record as record_run
from vlm2vla_sim.evaluation.results import format_table


def record(
    run: RunFlags,
    where: ExecutorFlags,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="all|NAME...")] = ("all",),
    episodes: int = 24,
    keep_failures: bool = False,
    resume: bool = False,
    concurrency: Annotated[int, tyro.conf.arg(aliases=["--workers"])] = 1,
    json: bool = False,
) -> CommandResult:
    """Run episodes; keep those that succeed as a LeRobotDataset v3 folder, with the policy's text in words.jsonl.

    An episode is written completely or not at all, and none is ever overwritten. An interrupted recording is continued
    by the same command with --resume. Label the data with `vlm2vla relabel`.

    Args:
        run: Policy, backend and settings of the run.
        where: Where episodes are run.
        out: Folder of the data set, new or empty.
        tasks: "all", or one or more names (see `vlm2vla tasks`).
        episodes: Number of episodes per task. SIMPLER's grid has 24; with --layouts random there is no limit.
        keep_failures: Keep failed episodes as well, marked in the column next.success; `vlm2vla train` uses them for
            the verifier only.
        resume: Continue the recording in --out.
        concurrency: Episodes at the same time, each in a process of its own. A language model is loaded once and
            answers the questions of all of them in batches.
        json: Print one line of JSON instead of the table.
    """
    settings = run.settings(tasks=tasks, episodes=episodes)
    with closing(where.make()) as executor:
        made = record_run(
            settings,
            out,
            keep_failures=keep_failures,
            resume=resume,
            workers=concurrency,
            executor=executor,
            on_result=EpisodeReporter(settings, out / RUN if resume else None),
        )
    kept = f"{made.failures} of them failed" if keep_failures else f"{made.left_out} failed and were left out"
    text = f"{format_table(made.run.summary)}\n\nData set  {made.folder} ({made.episodes} episodes; {kept})"
    counts = {name: getattr(made, name) for name in ("episodes", "left_out", "failures")}
    values = {"folder": str(made.folder), **counts}
    return CommandResult(text, {**values, **made.run.summary.to_json()}, json, code=report_errors(made.run.results))
