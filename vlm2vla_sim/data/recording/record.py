"""Runs a policy and keeps its episodes as a data set: a LeRobotDataset v3 folder with words beside it.

It is a run like any other (the same suite, results, workers, resuming), whose episodes leave their pictures and steps
as well. An episode comes into the data set whole or not at all: workers put it aside, one process puts it in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.data.datasets.lerobot_layout import EpisodeWords, Said
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.recording.recorder import SCORED, DemonstrationFolder, read_staged, stem
from vlm2vla_sim.envs.base import CONTROL_HZ
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.run_folder import SETTINGS, RunSettings
from vlm2vla_sim.evaluation.suite import SuiteRun, check_settings, run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

RUN, STAGING = "recording", "staging"
"""Inside the data set: the run that made it, and in that, episodes on their way."""


@dataclass(frozen=True)
class Recording:
    """A data set that was recorded."""

    folder: Path
    run: SuiteRun
    episodes: int
    """In the data set, those of earlier sessions included."""
    left_out: int
    """Episodes that failed and were not asked for."""


def record(
    settings: RunSettings,
    out: Path,
    *,
    keep_failures: bool = False,
    resume: bool = False,
    workers: int = 1,
    on_result: Callable[[EpisodeResult], None] | None = None,
) -> Recording:
    """Run `settings` and keep the episodes in `out`, a new folder, or with `resume` one that was begun like this.

    keep_failures: keep episodes that failed as well. workers, on_result: as in `run_suite`.
    """
    settings = check_settings(settings)
    if settings.image_size is None or any(side % 2 for side in settings.image_size):
        raise SettingError(f"The image size is {settings.image_size}; expected two even numbers, for the videos.")
    if out.exists() and any(out.iterdir()) and not (resume and (out / RUN / SETTINGS).is_file()):
        raise RunFolderError(
            f"The folder {out} is not empty. Continue a recording in it with --resume, or choose another folder."
        )
    writer = LeRobotWriter(out, size=settings.image_size, fps=CONTROL_HZ)
    staging = out / RUN / STAGING

    def put_in(result: EpisodeResult) -> None:
        staged = read_staged(staging, stem(result.task, result.episode_id))
        if staged is None:
            return
        name = f"{result.task}/{result.episode_id:05d}"
        wanted = result.outcome is Outcome.SUCCESS or (keep_failures and result.outcome in SCORED)
        if wanted and name not in writer.names:
            writer.add_filmed(staged.video, staged.states, staged.actions, _words(result, name))
        staged.drop()

    def hear(result: EpisodeResult) -> None:
        put_in(result)
        if on_result is not None:
            on_result(result)

    run = run_suite(
        settings,
        out=out / RUN,
        video=False,
        resume=resume,
        workers=workers,
        recorder=DemonstrationFolder(staging),
        on_result=hear,
    )
    # What was run, but did not come into the data set before an earlier session ended.
    for result in run.results:
        put_in(result)
    scored = sum(result.outcome in SCORED for result in run.results)
    return Recording(out, run, len(writer), scored - len(writer))


def _words(result: EpisodeResult, name: str) -> EpisodeWords:
    starts = [_whole(decision["step"]) for decision in result.decisions] + [result.steps]
    said = tuple(
        Said(
            start=start,
            stop=stop,
            subtask=str(decision["subtask"]),
            plan=str(decision["plan"]),
            action=str(decision["action"]),
        )
        for decision, start, stop in zip(result.decisions, starts[:-1], starts[1:], strict=True)
    )
    return EpisodeWords(
        name=name,
        instruction=result.instruction,
        outcome=result.outcome.value,
        task=result.task,
        episode_id=result.episode_id,
        seed=result.seed,
        layouts=result.layouts,
        policy=result.policy,
        action_format=result.action_format,
        backend=result.backend,
        said=said,
    )


def _whole(value: Any) -> int:
    return int(value)
