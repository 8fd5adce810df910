"""Run episodes of some tasks and write their results, with the settings and versions, to a run folder.

A run survives crashes of episodes and workers, Ctrl-C and a full disk, and can be resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.file_names import file_name
from vlm2vla_sim.core.finder import is_place
from vlm2vla_sim.envs.backends import check_backend_options, is_real_robot, knows_scene, needs_own_process
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.envs.instruction_check import check_instruction
from vlm2vla_sim.envs.tasks import TASKS, Task, task_places
from vlm2vla_sim.errors import EpisodeError, SettingError
from vlm2vla_sim.evaluation.comparison.stopping import StopRule, StopWatch
from vlm2vla_sim.evaluation.conditions import PLAIN
from vlm2vla_sim.evaluation.executors.base import Executor, Limits
from vlm2vla_sim.evaluation.executors.local import LocalExecutor
from vlm2vla_sim.evaluation.metrics import make_metric, short_name
from vlm2vla_sim.evaluation.progress import ProgressLine, RunProgress
from vlm2vla_sim.evaluation.results import RunSummary, sort_results, summarize
from vlm2vla_sim.evaluation.run_folder import RunFolder, default_folder
from vlm2vla_sim.evaluation.runner import EpisodeJob, Item, RecorderFactory
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.setup import check_spec
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.evaluation.stop_record import StopState
from vlm2vla_sim.evaluation.trackers.figures import episode_values, final_values
from vlm2vla_sim.evaluation.trackers.tracking import Tracking
from vlm2vla_sim.evaluation.with_suite import check_conditions
from vlm2vla_sim.policies import check_together
from vlm2vla_sim.types import EpisodeResult

EPISODE_TIMEOUT = 3600.0
"""[s] after which an episode in a worker process is stopped; generous, for large models on slow machines."""


@dataclass(frozen=True)
class SuiteRun:
    """A finished run."""

    folder: Path
    results: tuple[EpisodeResult, ...]
    """By task and episode, including those from before a --resume."""
    summary: RunSummary
    stopped: StopState | None = None
    """Where a run with a `StopRule` has ended."""


class InterruptedRunError(KeyboardInterrupt):
    """Ctrl-C during a run: the finished episodes are on disk, and the run in `folder` can be resumed."""

    def __init__(self, folder: Path, done: int, total: int) -> None:
        super().__init__(
            f"Interrupted: {done} of {total} episodes are done and kept in {folder}. "
            f"Continue with the same command and --out {folder} --resume."
        )
        self.folder = folder


def run_suite(
    settings: RunSettings,
    *,
    out: str | Path | None = None,
    video: bool = True,
    resume: bool = False,
    workers: int = 1,
    isolate: bool | None = None,
    episode_timeout: float = EPISODE_TIMEOUT,
    executor: Executor | None = None,
    shard: Shard | None = None,
    stop: StopRule | None = None,
    recorder: RecorderFactory | None = None,
    trackers: Sequence[str] = (),
    on_result: Callable[[EpisodeResult], None] | None = None,
) -> SuiteRun:
    """Run `settings.episodes` episodes of every task and write results, summary and videos to a folder.

    Args:
        settings: what is run; saved as `settings.json`.
        out: the folder, new or empty; by default runs/<date>_<time>-<policy>-<backend>.
        video: whether every episode leaves a video.
        resume: continue the run in `out`; episodes that are done are not repeated.
        workers: processes that run episodes at the same time. A language model is loaded once, in this process or in
            the executor's replicas, and answers the questions of all of them in batches.
        isolate: run episodes in worker processes even if there is only one; by default where the backend needs it.
        episode_timeout: seconds after which an episode in a worker process is stopped (and tried once more).
        executor: where the episodes are run; by default `LocalExecutor()`. A run may be resumed with another.
        shard: run this part of the episodes only; `merge.merge_runs` makes one run of all parts.
        stop: compare the run with a baseline while it goes on, and stop it as soon as that is decided. The episodes are
            run in rounds of one of every task, in a random order that `settings.json` records.
        recorder: wraps the environment of every episode, to record it (see `data.recording`).
        trackers: where the figures of every episode are sent: names of `trackers.base.TRACKERS`, or your own as
            "package.module:NAME". One that fails while the run goes on is counted in `summary.json`.
        on_result: called with every new result.

    An error before the first episode has ended, such as a model that cannot be loaded, leaves no folder behind.
    An episode whose worker dies or hangs is repeated once, then counts as an error, and the run continues. Ctrl-C
    raises `InterruptedRunError` once all finished episodes are on disk.
    """
    settings = check_settings(settings)
    if workers < 1:
        raise SettingError(
            f"{workers} workers were asked for (--concurrency, episodes at the same time); expected 1 or more."
        )
    if video and settings.image_size is None:
        raise SettingError(
            "Videos were requested, but image_size=None renders no images. Leave the videos out (video=False, "
            "--no-video)."
        )
    if not episode_timeout > 0:
        raise SettingError(f"The time limit of an episode is {episode_timeout} s; expected more than 0.")
    alone = needs_own_process(settings.backend)
    executor = executor or LocalExecutor()
    limits = Limits(workers, episode_timeout, alone if isolate is None else isolate or alone)
    if is_real_robot(settings.backend) and (workers > 1 or limits.isolated or executor.isolates):
        raise SettingError("There is one robot and one operator: run with one worker, not isolated.")
    if workers > 1:
        check_together(settings.spec.policy, settings.spec.options)
    tracking = Tracking(trackers)
    watch = None if stop is None else StopWatch(stop, settings)
    items = _items(settings, shard, watch)
    if watch is not None:
        limits = dataclasses.replace(limits, ahead=2 * max(workers, len(settings.plan) // settings.episodes))
    folder = RunFolder(
        default_folder(settings) if out is None else Path(out),
        settings,
        resume=resume,
        shard=shard,
        stopping=watch and watch.record,
    )
    with closing(folder):
        job = EpisodeJob(settings, folder.path, video, recorder)
        done, names = {result.key for result in folder.earlier}, _names(settings)
        todo = [i for i in items if (names[i.task], i.condition, i.episode_id) not in done]
        tasks = [find_task(item.task, settings.backend) for item in todo]
        progress = RunProgress(
            [(task.name, settings.max_steps or task.max_steps) for task in tasks], folder.earlier, workers=workers
        )
        try:
            tracking.open(folder.tracked_run)
            return _collect(executor.run(job, todo, limits), folder, watch, progress, tracking, on_result=on_result)
        except Exception:
            folder.discard_unused()
            raise


def _items(settings: RunSettings, shard: Shard | None, watch: StopWatch | None) -> list[Item]:
    """The episodes of a run or of its shard, in the order in which they are run."""
    if watch is None:
        items = [Item(task, k, condition) for task, condition, k in settings.plan]
        return items if shard is None else shard.of(items)
    if shard is not None:
        raise SettingError(
            "A shard cannot stop when the comparison is decided (--shard, --stop-when): it does not see the "
            "episodes of the others. Run all of it in one folder, or leave --stop-when out."
        )
    return [Item(task, k, condition) for task, condition, k in watch.plan]


def run_policies(
    several: Sequence[RunSettings],
    *,
    out: str | Path | None = None,
    reporter: Callable[[RunSettings, Path | None], Callable[[EpisodeResult], None]] | None = None,
    **options: Any,
) -> dict[str, SuiteRun]:
    """Run every one of `several` settings, which differ in their policy; label -> its run, in their order.

    out: the folder, in which each policy gets a run folder named by its label; by default runs/<date>_<time>-policies.
    reporter: makes `on_result` of a run from its settings and, where it is resumed, its folder. options: as for
    `run_suite`. SettingError where two policies have the same label.
    """
    several = [check_settings(settings) for settings in several]
    labels = [settings.spec.label for settings in several]
    if len({file_name(label) for label in labels}) != len(labels):
        raise SettingError(f"Two policies have the same name: {', '.join(labels)}. Give each its own.")
    parent = default_folder(None) if out is None else Path(out)
    runs: dict[str, SuiteRun] = {}
    for label, settings in zip(labels, several, strict=True):
        folder = parent / file_name(label)
        on_result = reporter(settings, folder if options.get("resume") else None) if reporter else None
        runs[label] = run_suite(settings, out=folder, on_result=on_result, **options)
    return runs


def check_settings(settings: RunSettings) -> RunSettings:
    """The same settings, task sets expanded; an error for any with which no episode could run.

    Each task is left as what `find_task` finds it by: its name, its instruction, or "package.module:NAME".
    """
    places = [place for name in settings.tasks for place in _places(name)]
    tasks = [find_task(place, settings.backend) for place in places]
    task_names = [task.name for task in tasks]
    if len(set(task_names)) != len(task_names):
        raise SettingError(f"Two tasks have the same name in results: {', '.join(task_names)}. Leave one out.")
    check_backend_options(settings.backend, settings.backend_options)
    check_spec(settings.spec, settings.backend)
    check_conditions(settings)
    names = [short_name(name) for name in settings.metrics]
    for name in settings.metrics:
        make_metric(name)
    if len(set(names)) != len(names):
        raise SettingError(
            f"Two metrics have the same name in results: {', '.join(names)}. Leave one out, or rename it."
        )
    for task, place in zip(tasks, places, strict=True):
        for condition in settings.conditions or (PLAIN,):
            if not condition.name or place in condition.tasks:
                _check_episodes(settings.under(condition.name, place), task)
    return settings.with_tasks(
        task.instruction if task.own else place if is_place(place.partition("#")[0]) else task.name
        for task, place in zip(tasks, places, strict=True)
    )


def _check_episodes(settings: RunSettings, task: Task) -> None:
    """An error where the episodes of `task` cannot be run, or would be judged by something else than is asked."""
    told = settings.instruct(task.instruction)
    if knows_scene(settings.backend):
        check_instruction(told, task)
    if settings.layouts == "grid" and settings.episodes > len(task.layouts) and not task.own:
        raise EpisodeError(
            f"{settings.episodes} episodes of {task.name} were asked for, but its grid has {len(task.layouts)}. Ask "
            "for at most that many, or for random layouts (--layouts random)."
        )


def _names(settings: RunSettings) -> dict[str, str]:
    """What `find_task` takes -> the task's name in results."""
    return {place: find_task(place, settings.backend).name for place in settings.tasks}


def _places(name: str) -> tuple[str, ...]:
    """What `find_task` finds each task of `name` by; several for a user's task set."""
    return task_places(name) if is_place(name) else (name,)


def all_tasks() -> tuple[str, ...]:
    """The names of all tasks, in SIMPLER's order."""
    return tuple(TASKS)


def _collect(
    episodes: Generator[EpisodeResult, Any, None],
    folder: RunFolder,
    watch: StopWatch | None,
    progress: RunProgress,
    tracking: Tracking,
    *,
    on_result: Callable[[EpisodeResult], None] | None,
) -> SuiteRun:
    results = list(folder.earlier)
    stopped = _look(watch, results)
    try:
        with ProgressLine(progress, at_most=watch is not None) as shown, closing(episodes):
            for result in () if stopped else episodes:
                folder.append(result)
                results.append(result)
                stopped = _look(watch, [result])
                progress.add(result)
                shown.show()
                tracking.log(episode_values(result, progress), progress.done)
                if on_result is not None:
                    on_result(result)
                if stopped is not None:
                    break
        if stopped is not None:
            folder.record_stop(stopped)
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(folder.path, len(folder.read()), progress.total) from stop
    finally:
        # From the disk: Ctrl-C may come after a result was written and before it is counted here.
        results = folder.read()
        summary = summarize(results)
        folder.write_summary(summary)
        tracking.close(final_values(summary))
        if reported := tracking.report():
            summary = dataclasses.replace(summary, trackers=reported)
            folder.write_summary(summary)
    return SuiteRun(folder.path, tuple(sort_results(results)), summary, stopped)


def _look(watch: StopWatch | None, results: Iterable[EpisodeResult]) -> StopState | None:
    """The state at the stop that one of `results` decides, if any does."""
    if watch is None:
        return None
    return next((state for state in map(watch.add, results) if state is not None), None)
