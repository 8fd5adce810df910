"""`vlm2vla evaluate`: episodes of several tasks, a table of success rates, and a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.flags import RunFlags
from vlm2vla_sim.cli.report import EpisodeReporter, report_errors
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.results import format_table
from vlm2vla_sim.evaluation.suite import EPISODE_TIMEOUT, SuiteRun, all_tasks, run_policies, run_suite


def evaluate(
    run: RunFlags,
    *,
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="all|NAME...")] = ("all",),
    episodes: int = 24,
    policies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE|NAME...")] = (),
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    no_video: bool = False,
    resume: bool = False,
    workers: int = 1,
    isolate: bool = False,
    episode_timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = EPISODE_TIMEOUT,
    json: bool = False,
) -> CommandResult:
    """Run episodes of some or all tasks and print success rates with their 95 % intervals.

    Results, settings, a summary and one video per episode are written to a folder; nothing in it is overwritten. A run
    that Ctrl-C, a crash or a full disk has interrupted is continued by the same command with --out DIR --resume. The
    exit status is 0 whatever the rates, 3 if all episodes and 4 if some episodes ended in an error.

    Args:
        run: Policy, backend and settings of the run.
        tasks: "all", or one or more names (see `vlm2vla tasks`).
        episodes: Number of episodes per task; SIMPLER's grid has 24.
        policies: Several policies in place of --policy, on the same episodes: .toml or .yaml files, or names. Each gets
            its own run folder below --out.
        out: Folder to write to; by default runs/<date>_<time>-<policy>-<backend>.
        no_video: Write no videos.
        resume: Continue the run in the folder --out.
        workers: Processes that run episodes at the same time.
        isolate: Run episodes in a worker process even when there is only one, so that a native crash costs one episode.
        episode_timeout: Seconds after which an episode in a worker process is stopped and tried once more.
        json: Print the summary as one line of JSON instead of the table.
    """
    if resume and out is None:
        raise SettingError("--resume needs the folder of the run to continue: add --out DIR.")
    names = all_tasks() if tasks == ("all",) else tasks
    options: dict[str, Any] = {
        "video": not no_video,
        "resume": resume,
        "workers": workers,
        "isolate": isolate or None,
        "episode_timeout": episode_timeout,
    }
    if not policies:
        settings = run.settings(tasks=names, episodes=episodes)
        made = run_suite(settings, out=out, on_result=EpisodeReporter(settings, out if resume else None), **options)
        values = {"folder": str(made.folder), **made.summary.to_json()}
        text = f"{format_table(made.summary)}\n\n{_paths(made)}"
        return CommandResult(text, values, json, code=report_errors(made.results))
    if run.policy != RunFlags.policy:
        raise SettingError("--policy and --policies were both given; name every policy with --policies.")
    several = [run.settings(tasks=names, episodes=episodes, spec=run.spec(policy)) for policy in policies]
    runs = run_policies(several, out=out, reporter=EpisodeReporter, **options)
    text = "\n\n".join(f"{label}\n{format_table(made.summary)}\n{_paths(made)}" for label, made in runs.items())
    values = {label: {"folder": str(made.folder), **made.summary.to_json()} for label, made in runs.items()}
    results = [result for made in runs.values() for result in made.results]
    return CommandResult(text, values, json, code=report_errors(results))


def _paths(run: SuiteRun) -> str:
    videos = sum(bool(result.video) for result in run.results)
    lines = [f"Results  {run.folder / 'results.jsonl'}", f"Summary  {run.folder / 'summary.json'}"]
    return "\n".join([*lines, *([f"Videos   {run.folder / 'videos'} ({videos})"] if videos else [])])
