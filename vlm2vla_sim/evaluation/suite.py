"""A run: every task, every episode, one folder of results.

Without it an evaluation is a loop in a notebook: it stops at the first crash, cannot be continued, and nobody knows
afterwards what it was made with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vlm2vla_sim.envs.backends import check_backend_options, is_real_robot, needs_own_process
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import EpisodeError, SettingError, Vlm2VlaError
from vlm2vla_sim.evaluation.policy_spec import find_format
from vlm2vla_sim.evaluation.results import RunSummary, sort_results, summarize
from vlm2vla_sim.evaluation.run_folder import RunFolder, RunSettings, default_folder
from vlm2vla_sim.evaluation.runner import EpisodeRunner, Item, Job, RecorderFactory
from vlm2vla_sim.evaluation.worker_pool import run_in_workers
from vlm2vla_sim.policies import check_policy
from vlm2vla_sim.types import EpisodeResult, Outcome

EPISODE_TIMEOUT = 3600.0
"""[s] after which an episode in a worker process is given up; generous, for large models on slow machines."""


@dataclass(frozen=True)
class SuiteRun:
    """A finished run."""

    folder: Path
    results: tuple[EpisodeResult, ...]
    """By task and episode, those of earlier sessions included."""
    summary: RunSummary


class InterruptedRunError(KeyboardInterrupt):
    """Ctrl-C during a run: what was done is on disk, and `folder` can be continued."""

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
    recorder: RecorderFactory | None = None,
    on_result: Callable[[EpisodeResult], None] | None = None,
) -> SuiteRun:
    """Run `settings.episodes` episodes of every task and leave results, summary and videos in a folder.

    Args:
        settings: what is run; saved as `settings.json`.
        out: the folder, new or empty; by default runs/<date>_<time>-<policy>-<backend>.
        video: whether every episode leaves a video.
        resume: continue the run in `out` instead of refusing to touch it; episodes that are done are not repeated.
        workers: processes that run episodes at the same time.
        isolate: run episodes in worker processes even if there is only one; by default where the backend needs it.
        episode_timeout: seconds after which an episode in a worker process is given up (and tried once more).
        recorder: wraps the environment of every episode, to keep what happens in it (see `data.recording`).
        on_result: called with every new result.

    An error before the first episode has ended, such as a model that cannot be loaded, leaves no folder behind.
    A worker that dies or hangs costs its episode one repetition, then the episode is an error, and the run goes on.
    Ctrl-C raises `InterruptedRunError` once everything that was done is on disk.
    """
    settings = check_settings(settings)
    if workers < 1:
        raise SettingError(f"{workers} workers were asked for; expected 1 or more.")
    if video and settings.image_size is None:
        raise SettingError("Videos were asked for, but nothing is drawn (image_size=None); leave the videos out.")
    if not episode_timeout > 0:
        raise SettingError(f"The time limit of an episode is {episode_timeout} s; expected more than 0.")
    alone = needs_own_process(settings.backend)
    isolated = alone if isolate is None else isolate or alone
    if is_real_robot(settings.backend) and (workers > 1 or isolated):
        raise SettingError("There is one robot and one person beside it: run with one worker, not isolated.")
    folder = RunFolder(default_folder(settings) if out is None else Path(out), settings, resume=resume)
    with closing(folder):
        job = Job(settings, folder.videos if video else None, folder.logs, recorder)
        done = {(result.task, result.episode_id) for result in folder.earlier}
        items = [Item(task, k) for task in settings.tasks for k in range(settings.episodes)]
        todo = [i for i in items if (find_task(i.task, settings.backend).name, i.episode_id) not in done]
        if workers == 1 and not isolated:
            episodes = _run_here(job, todo)
        else:
            episodes = run_in_workers(job, todo, count=workers, timeout=episode_timeout, fresh_for_task=alone)
        try:
            return _collect(episodes, folder, total=len(items), on_result=on_result)
        except Vlm2VlaError:
            folder.discard_unused()
            raise


def check_settings(settings: RunSettings) -> RunSettings:
    """The same settings with tasks by name; an error names whatever no episode could be run with."""
    tasks = [find_task(name, settings.backend) for name in settings.tasks]
    check_backend_options(settings.backend, settings.backend_options)
    check_policy(settings.policy, settings.policy_options, noise_cm=settings.noise_cm)
    find_format(settings.action_format, settings.policy_options)
    if settings.layouts not in ("grid", "random"):
        raise SettingError(f"layouts is {settings.layouts!r}; expected 'grid' or 'random'.")
    for task in tasks:
        settings.said(task.instruction)
        if settings.layouts == "grid" and settings.episodes > len(task.layouts) and not task.own:
            raise EpisodeError(
                f"{settings.episodes} episodes of {task.name} were asked for, but SIMPLER's grid has "
                f"{len(task.layouts)}. Ask for at most that many, or for random layouts (--layouts random)."
            )
    return settings.with_tasks(task.instruction if task.own else task.name for task in tasks)


def all_tasks() -> tuple[str, ...]:
    """The names of all tasks, in SIMPLER's order."""
    return tuple(TASKS)


def _run_here(job: Job, items: Sequence[Item]) -> Generator[EpisodeResult]:
    with closing(EpisodeRunner(job)) as runner:
        for item in items:
            yield runner.run(item)


def _collect(
    episodes: Generator[EpisodeResult],
    folder: RunFolder,
    *,
    total: int,
    on_result: Callable[[EpisodeResult], None] | None,
) -> SuiteRun:
    results = list(folder.earlier)
    bar = tqdm(total=total, initial=len(results), unit="episode", disable=None, file=sys.stderr, smoothing=0.1)
    try:
        with bar, closing(episodes):
            for result in episodes:
                folder.append(result)
                results.append(result)
                bar.set_description(result.task, refresh=False)
                bar.set_postfix_str(_score(results), refresh=False)
                bar.update()
                if on_result is not None:
                    on_result(result)
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(folder.path, len(folder.read()), total) from stop
    finally:
        # From the disk: Ctrl-C may have come after a result was written and before it was counted here.
        results = folder.read()
        summary = summarize(results)
        folder.write_summary(summary)
    return SuiteRun(folder.path, tuple(sort_results(results)), summary)


def _score(results: Sequence[EpisodeResult]) -> str:
    succeeded = sum(result.outcome is Outcome.SUCCESS for result in results)
    failed = sum(result.outcome is Outcome.FAILURE for result in results)
    errors = sum(result.outcome is Outcome.ERROR for result in results)
    return f"success {succeeded}/{succeeded + failed}" + (f", {errors} errors" if errors else "")
