"""`vlm2vla evaluate`: episodes of several tasks, a table of success rates, and a run folder."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vlm2vla_sim.cli.flags import ExecutorFlags, RunFlags, StopFlags
from vlm2vla_sim.cli.report import EpisodeReporter, report_errors
from vlm2vla_sim.cli.result import TOO_LOW, CommandResult
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation import gates
from vlm2vla_sim.evaluation.comparison.stopping import StopRule
from vlm2vla_sim.evaluation.rerun_files import RerunFolder
from vlm2vla_sim.evaluation.results import RunSummary, format_table
from vlm2vla_sim.evaluation.run_folder import RERUN
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.evaluation.suite import (
    EPISODE_TIMEOUT,
    SuiteRun,
    check_settings,
    run_policies,
    run_suite,
)
from vlm2vla_sim.evaluation.with_suite import left_out_sentence
from vlm2vla_sim.policies import published_steps

REPORT = "report.html"
"""The page that --report writes."""


def evaluate(
    run: RunFlags,
    where: ExecutorFlags,
    stop: StopFlags,
    *,
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="all|NAME...")] = ("all",),
    episodes: int | None = None,
    suite: Annotated[str, tyro.conf.arg(metavar="NAME[,NAME]|FILE")] = "",
    policies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE|NAME...")] = (),
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    no_video: bool = False,
    resume: bool = False,
    concurrency: Annotated[int, tyro.conf.arg(aliases=["--workers"])] = 1,
    isolate: bool = False,
    episode_timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = EPISODE_TIMEOUT,
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N")] = None,
    min_success: Annotated[tuple[str, ...], tyro.conf.arg(metavar="RATE|TASK=RATE...")] = (),
    min_success_by: Literal["point", "lower"] = "point",
    junit: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    report: bool = False,
    tracker: Annotated[tuple[str, ...], tyro.conf.arg(metavar="trackio|wandb|tensorboard|MODULE:NAME...")] = (),
    rerun: bool = False,
    json: bool = False,
) -> CommandResult:
    """Run episodes of some or all tasks and print success rates with their 95 % intervals.

    Results, settings, a summary and one video per episode are written to a folder; nothing in it is overwritten. A run
    that Ctrl-C, a crash or a full disk has interrupted is continued by the same command with --out DIR --resume. The
    exit status is 0 whatever the rates, 3 if all episodes and 4 if some episodes ended in an error, and 5 if a rate of
    --min-success is not reached.

    Args:
        run: Policy, backend and settings of the run.
        where: Where episodes are run; a run may be resumed with another executor.
        stop: Whether the run stops as soon as its comparison with a baseline is decided.
        tasks: "all", or one or more names (see `vlm2vla tasks`).
        episodes: Number of episodes per task, and condition; by default 24 (all of SIMPLER's grid), or as the suite
            says.
        suite: Run the conditions of a suite (see `vlm2vla suites`), or of your own .toml file. --tasks then chooses
            among its tasks.
        policies: Several policies in place of --policy, on the same episodes: .toml or .yaml files, or names. Each gets
            its own run folder below --out.
        out: Folder to write to; by default runs/<date>_<time>-<policy>-<backend>.
        no_video: Write no videos.
        resume: Continue the run in the folder --out.
        concurrency: Episodes at the same time, each in a process of its own. A language model is loaded once and
            answers the questions of all of them in batches.
        isolate: Run episodes in a worker process even when there is only one, so that a native crash costs one episode.
        episode_timeout: Seconds after which an episode in a worker process is stopped and tried once more.
        shard: Run part I of N (0 to N - 1) of the episodes, into a folder of its own; `vlm2vla merge` makes one run of
            all parts.
        min_success: Required success rates at the last step, 0 to 1: of all tasks together (0.8), of one task
            (carrot_on_plate=0.5), or with a suite of one condition (spanish=0.5) or every one (each-condition=0.9).
        min_success_by: Compare a required rate with the measured one (point), or with the lower end of its interval
            (lower).
        junit: Write a JUnit XML file, a test case for each episode, for CI systems.
        markdown: Append a Markdown table, for example to $GITHUB_STEP_SUMMARY.
        report: Write report.html into the run folder, or into that of all --policies: the page of `vlm2vla report`.
        tracker: Send the figures of every episode to experiment trackers: trackio, wandb, tensorboard, or your own as
            package.module:NAME.
        rerun: Write a recording for the Rerun viewer (rerun.io) of every episode, to rerun/ in the run folder.
        json: Print the summary as one line of JSON instead of the table.
    """
    if resume and out is None:
        raise SettingError("--resume needs the folder of the run to continue: add --out DIR.")
    part = None if shard is None else Shard.parse(shard)
    options: dict[str, Any] = {
        "video": not no_video,
        "resume": resume,
        "workers": concurrency,
        "isolate": isolate or None,
        "episode_timeout": episode_timeout,
        "shard": part,
        "trackers": tracker,
        "recorder": RerunFolder() if rerun else None,
        "stop": _rule(stop, several=bool(policies), gates=bool(min_success)),
    }
    reporter = functools.partial(EpisodeReporter, shard=part)
    files = _CiFiles(min_success, min_success_by, junit, markdown)
    if not policies:
        settings = run.settings(tasks=tasks, episodes=episodes, suite=suite)
        _say_left_out(settings)
        _say_limit(settings)
        files.check([settings])
        on_result = reporter(settings, out if resume else None)
        with closing(where.make()) as executor:
            made = run_suite(settings, out=out, executor=executor, on_result=on_result, **options)
        values = {"folder": str(made.folder), **made.summary.to_json(), **_stopped_values(made, stop)}
        page = _report([made], made.folder, write=report)
        text = f"{format_table(made.summary)}\n\n{_stopped(made, stop)}{_paths(made)}\n{page}"
        return CommandResult(text, values, json, code=files.finish({settings.spec.label: made}))
    if run.policy != RunFlags.policy:
        raise SettingError("--policy and --policies were both given; name every policy with --policies.")
    several = [run.settings(tasks=tasks, episodes=episodes, suite=suite, spec=run.spec(policy)) for policy in policies]
    _say_left_out(several[0])
    for settings in several:
        _say_limit(settings)
    files.check(several)
    with closing(where.make()) as executor:
        runs = run_policies(several, out=out, reporter=reporter, executor=executor, **options)
    text = "\n\n".join(f"{label}\n{format_table(made.summary)}\n{_paths(made)}" for label, made in runs.items())
    made_runs = list(runs.values())
    text += f"\n\n{_report(made_runs, made_runs[0].folder.parent, write=report)}"
    values = {label: {"folder": str(made.folder), **made.summary.to_json()} for label, made in runs.items()}
    return CommandResult(text, values, json, code=files.finish(runs))


@dataclass(frozen=True)
class _CiFiles:
    """The requirements on the rates, and the files for CI."""

    min_success: tuple[str, ...]
    by: str
    junit: Path | None
    markdown: Path | None

    def check(self, several: Sequence[RunSettings]) -> None:
        """An error, before the first episode, for what cannot be checked or written at the end."""
        for settings in several:
            names = [find_task(task, settings.backend).name for task in check_settings(settings).tasks]
            self._requirements(names, [condition.name for condition in settings.conditions])
        for path in (self.junit, self.markdown):
            if path is None:
                continue
            check_path(path, RunFolderError, flag="--junit FILE, --markdown FILE", room=0)
            if path.is_dir() or not path.absolute().parent.is_dir():
                raise RunFolderError(f"{path} cannot be written: its folder does not exist, or it is a folder.")

    def finish(self, runs: Mapping[str, SuiteRun]) -> int:
        """Write the files, print what is not reached, and return the exit status."""
        results = [result for made in runs.values() for result in made.results]
        sentences: list[str] = []
        tables: list[str] = []
        for label, made in runs.items():
            found = gates.missed(made.summary, self._of(made.summary), self.by)
            sentences += [f"{label}: {sentence}" for sentence in found] if len(runs) > 1 else found
            tables.append(gates.markdown(made.summary, found, title=label))
        try:
            if self.junit is not None:
                self.junit.write_text(gates.junit(results, sentences), encoding="utf-8")
            if self.markdown is not None:
                with self.markdown.open("a", encoding="utf-8") as file:
                    file.write("\n".join(tables))
        except OSError as full:
            raise RunFolderError(f"{full.filename} cannot be written: {full.strerror}.") from full
        for sentence in sentences:
            sys.stderr.write(f"Success rate: {sentence}\n")
        return report_errors(results) or (TOO_LOW if sentences else 0)

    def _of(self, summary: RunSummary) -> list[gates.Requirement]:
        return self._requirements(list(summary.tasks), list(summary.conditions))

    def _requirements(self, tasks: Sequence[str], conditions: Sequence[str]) -> list[gates.Requirement]:
        return gates.read_requirements(self.min_success, tasks, conditions)


def _say_left_out(settings: RunSettings) -> None:
    if settings.left_out:
        sys.stderr.write(f"{left_out_sentence(settings.left_out, len(settings.conditions), settings.backend)}\n")


def _say_limit(settings: RunSettings) -> None:
    """What is known of the policy's published evaluation, where its episodes had another length."""
    published = published_steps(settings.policy, settings.policy_options)
    if published is not None and published != settings.max_steps:
        sys.stderr.write(
            f"{settings.spec.label} was evaluated by its authors with episodes of {published} control steps; this run "
            f"has {settings.max_steps or 'those of SIMPLER'}. --max-steps {published} gives it as many.\n"
        )


def _report(runs: Sequence[SuiteRun], folder: Path, *, write: bool) -> str:
    """Write the page of the runs, if it is asked for; a line with its path, or with the command that writes it."""
    path = folder / REPORT
    if not write:
        return f"Report   {shlex.join(['vlm2vla', 'report', *(str(run.folder) for run in runs), '--out', str(path)])}"
    from vlm2vla_sim.evaluation.report.page import write_report

    write_report([run.folder for run in runs], path)
    return f"Report   {path}"


def _rule(stop: StopFlags, *, several: bool, gates: bool) -> StopRule | None:
    rule = stop.rule()
    if rule is not None and several:
        raise SettingError("--stop-when decides about one policy: give it as --policy, and run each by itself.")
    if rule is not None and gates:
        raise SettingError(
            "--min-success is judged by the rate of a whole run, and --stop-when ends it when its results say so. Give "
            "one of them."
        )
    return rule


def _stopped_values(run: SuiteRun, stop: StopFlags) -> dict[str, Any]:
    return {"stopped": run.stopped and dataclasses.asdict(run.stopped)} if stop.stop_when else {}


def _stopped(run: SuiteRun, stop: StopFlags) -> str:
    state = run.stopped
    if state is None:
        return ""
    said = {"worse": "Worse than", "not worse": "Not worse than"}.get(state.verdict, "Undecided against")
    return (
        f"{said} {stop.baseline} after {state.pairs} pairs: {100 * state.difference:+.1f} points "
        f"({100 * state.low:+.1f} to {100 * state.high:+.1f}). "
        f"See {shlex.join(['vlm2vla', 'compare', stop.baseline, str(run.folder)])}\n\n"
    )


def _paths(run: SuiteRun) -> str:
    videos = sum(bool(result.video) for result in run.results)
    lines = [f"Results  {run.folder / 'results.jsonl'}", f"Summary  {run.folder / 'summary.json'}"]
    lines += [f"Videos   {run.folder / 'videos'} ({videos})"] if videos else []
    return "\n".join([*lines, *([f"Rerun    {run.folder / RERUN}"] if (run.folder / RERUN).is_dir() else [])])
