"""Runs a policy and stores its episodes as a LeRobotDataset v3 folder with annotations.

A recording is a run like any other (the same suite, results, workers and resuming) whose episodes also keep their
images and control steps. Workers stage finished episodes in a folder; one process adds them to the data set, each as a
whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.store import check_made_with
from vlm2vla_sim.data.datasets.lerobot_layout import DecisionRecord, EpisodeAnnotation
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.recording.camera import recorded_camera
from vlm2vla_sim.data.recording.recorder import SCORED, DemonstrationFolder, read_staged, stem
from vlm2vla_sim.envs.base import CONTROL_HZ, find_task
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.errors import RunFolderError, SettingError, Vlm2VlaError
from vlm2vla_sim.evaluation.executors.base import Executor
from vlm2vla_sim.evaluation.run_folder import SETTINGS
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import SuiteRun, check_settings, run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

KEPT = "recording.json"
"""Which episodes are kept: an earlier session has deleted the others."""
RUN, STAGING = "recording", "staging"
"""In the data set's folder: the run folder, and in it the staged episodes."""


@dataclass(frozen=True)
class Recording:
    """A recorded data set."""

    folder: Path
    run: SuiteRun
    episodes: int
    """Number of episodes in the data set, those of earlier sessions included."""
    left_out: int
    """Number of failed episodes that were not kept."""
    failures: int
    """Number of failed episodes in the data set."""


def record(
    settings: RunSettings,
    out: Path,
    *,
    keep_failures: bool = False,
    resume: bool = False,
    workers: int = 1,
    executor: Executor | None = None,
    on_result: Callable[[EpisodeResult], None] | None = None,
) -> Recording:
    """Run `settings` and add the episodes to `out`, a new folder, or with `resume` one with the same settings.

    keep_failures: also keep failed episodes. workers, executor, on_result: as in `run_suite`. SettingError for an
    image size that cannot be encoded; RunFolderError for a folder that is not empty.
    """
    settings = check_settings(settings)
    if settings.suite:
        raise SettingError(
            f"A recording takes no suite ({settings.suite}): its episodes are named by task and number. Record each "
            "condition by itself, with its options and its instruction."
        )
    tasks = [find_task(task, settings.backend) for task in settings.tasks]
    known = {task.name: (task.instruction, recorded_camera(task, settings)) for task in tasks}
    if settings.image_size is None or any(side % 2 for side in settings.image_size):
        raise SettingError(f"The image size is {settings.image_size}; expected two even numbers, for the videos.")
    check_path(out, RunFolderError)
    if (
        out.exists()
        and any(path.name != KEPT for path in out.iterdir())
        and not (resume and (out / RUN / SETTINGS).is_file())
    ):
        raise RunFolderError(
            f"The folder {out} is not empty. Continue a recording in it with --resume, or choose another folder."
        )
    started_here = not out.exists()
    check_made_with(out / KEPT, {"keep_failures": keep_failures}, kind="recording", error=RunFolderError)
    writer = LeRobotWriter(out, size=settings.image_size, fps=CONTROL_HZ)
    staging = out / RUN / STAGING

    def add_staged(result: EpisodeResult) -> None:
        staged = read_staged(staging, stem(result.task, result.episode_id))
        if staged is None:
            return
        name = f"{result.task}/{result.episode_id:05d}"
        wanted = result.outcome is Outcome.SUCCESS or (keep_failures and result.outcome in SCORED)
        if wanted and name not in writer.names:
            annotation = _annotation(result, name, *known[result.task])
            writer.add_with_video(staged.video, staged.states, staged.actions, annotation, solved=staged.solved)
        staged.discard()

    def handle(result: EpisodeResult) -> None:
        add_staged(result)
        if on_result is not None:
            on_result(result)

    try:
        run = run_suite(
            settings,
            out=out / RUN,
            video=False,
            resume=resume,
            workers=workers,
            executor=executor,
            recorder=DemonstrationFolder(STAGING),
            on_result=handle,
        )
    except Vlm2VlaError:
        if started_here and {path.name for path in out.iterdir()} == {KEPT}:
            (out / KEPT).unlink()  # A run that could not start leaves no folder.
            out.rmdir()
        raise
    # Episodes that were staged but not yet added when an earlier session ended.
    for result in run.results:
        add_staged(result)
    scored = sum(result.outcome in SCORED for result in run.results)
    failed = sum(result.outcome is Outcome.FAILURE for result in run.results)
    return Recording(out, run, len(writer), scored - len(writer), failed if keep_failures else 0)


def _annotation(result: EpisodeResult, name: str, own: str, camera: Camera | None) -> EpisodeAnnotation:
    """own: the task's own instruction, which is English."""
    starts = [_to_int(decision["step"]) for decision in result.decisions] + [result.steps]
    decisions = tuple(
        DecisionRecord(
            start=start,
            stop=stop,
            subtask=str(decision["subtask"]),
            plan=str(decision["plan"]),
            action=str(decision["action"]),
        )
        for decision, start, stop in zip(result.decisions, starts[:-1], starts[1:], strict=True)
    )
    return EpisodeAnnotation(
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
        decisions=decisions,
        instruction_en=own if own != result.instruction else "",
        camera=camera,
    )


def _to_int(value: Any) -> int:
    return int(value)
