"""Episodes as recordings for the Rerun viewer (rerun.io): pictures, the gripper's path and the objects in 3D, words.

All is on two timelines, `step` (control steps, 0 after the reset) and `time`, in the robot's base frame [m]:

- `cameras/NAME`: the image, as JPEG;
- `world/gripper`, `world/gripper/path`: the TCP, and where it was since the reset; `world/objects/NAME`: the declared
  boxes of the objects, where the backend knows the scene;
- `gripper/measured` and `gripper/told`: the opening, 0 closed .. 1 open; `success`: 0 or 1, where it is known;
- `words`: what the policy wrote, stage by stage, at the step at which it wrote it; `episode`: how it ended.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.errors import RunFolderError, SettingError, missing_extra
from vlm2vla_sim.evaluation.episode_files import episode_stem
from vlm2vla_sim.evaluation.failures import LABELS
from vlm2vla_sim.evaluation.run_folder import RERUN
from vlm2vla_sim.evaluation.setup import widowx
from vlm2vla_sim.evaluation.verdicts import misjudged
from vlm2vla_sim.types import EpisodeResult

SUFFIX = ".rrd"
JPEG_QUALITY = 90
COLOURS = {"source": (230, 120, 30), "target": (60, 120, 200), "other": (150, 150, 150)}
LINES = {"gripper/measured": (60, 120, 200), "gripper/told": (230, 160, 30), "success": (60, 170, 90)}


def load_rerun() -> Any:
    """The package `rerun`; MissingExtraError without it."""
    try:
        import rerun
        import rerun.blueprint
    except ImportError as absent:
        raise missing_extra("A recording for the Rerun viewer (--rerun)", "rerun-sdk", "rerun") from absent
    return rerun


def check_rerun_file(path: Path) -> None:
    """An error, before the episode begins, if no recording can be written to `path`."""
    load_rerun()
    if path.suffix != SUFFIX:
        raise SettingError(f"The recording is {path}; the Rerun viewer expects a name that ends with {SUFFIX}.")
    check_path(path, RunFolderError, flag="--rerun FILE.rrd", room=len(".new"))
    if path.is_dir():
        raise RunFolderError(f"{path} cannot be written: it is a folder.")


@dataclass(frozen=True)
class RerunFolder:
    """A `RecorderFactory` that writes a recording of every episode into the folder `rerun` of the run."""

    def __post_init__(self) -> None:
        load_rerun()

    def __call__(
        self, env: gym.Env[Observation, np.ndarray], task: str, episode_id: int, folder: Path, condition: str = ""
    ) -> RerunRecorder:
        """The recorder of one episode."""
        return RerunRecorder(env, folder / RERUN / condition / f"{episode_stem(task, episode_id)}{SUFFIX}")


class RerunRecorder:
    """The `Recorder` of one episode; see `evaluation.runner`."""

    def __init__(self, env: gym.Env[Observation, np.ndarray], path: Path) -> None:
        """path: the recording; one that is there is replaced when the episode has ended."""
        self.path, self.written = path, False
        self._env = _RecordingEnv(env, path)
        self.env: gym.Env[Any, Any] = self._env

    def keep(self, result: EpisodeResult) -> None:
        """Add the words and complete the file; RunFolderError where it cannot be written.

        An episode that ended before its first observation, in an error, leaves none.
        """
        self.written = self._env.keep(result)

    def drop(self) -> None:
        """Delete the recording in progress."""
        self._env.drop()


class _RecordingEnv(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Records what `reset` and `step` return, and the states that the environment has computed for them."""

    def __init__(self, env: gym.Env[Observation, np.ndarray], path: Path) -> None:
        super().__init__(env)
        self._rerun, self._path = load_rerun(), path
        self._draft = path.with_name(f"{path.name}.new")
        self._stream: Any = None

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:  # type: ignore[override]
        self.drop()
        observation, info = self.env.reset(**options)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._rerun.RecordingStream("vlm2vla_sim")
            self._stream.save(
                self._draft, default_blueprint=_blueprint(self._rerun, list(observation.get("pixels", ())))
            )
        except OSError as problem:
            raise self._not_writable(problem) from problem
        self._stream.log("world", self._rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for name, colour in LINES.items():
            self._stream.log(name, self._rerun.SeriesLines(colors=[colour], names=[name]), static=True)
        self._path_so_far: list[np.ndarray] = []
        self._step = 0
        self._record(observation, told=None, success=info["is_success"])
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._stream is not None and "fault" not in info:
            self._step += 1
            self._record(observation, told=float(info["sent_action"][6]), success=info["is_success"])
        return observation, float(reward), terminated, truncated, info

    def keep(self, result: EpisodeResult) -> bool:
        """See `RerunRecorder.keep`; whether there is a recording."""
        if self._stream is None:
            return False
        for decision in result.decisions:
            self._at(int(str(decision["step"])))
            for text, level in _words(decision):
                self._stream.log("words", self._rerun.TextLog(text, level=level))
        self._stream.log("episode", self._rerun.TextDocument(_summary(result), media_type="text/markdown"), static=True)
        self._stream.flush()
        self._stream.disconnect()
        self._stream = None
        try:
            if not self._draft.stat().st_size:
                raise OSError(0, "the Rerun SDK has written nothing (is RERUN=off set?)")
            os.replace(self._draft, self._path)
        except OSError as problem:
            raise self._not_writable(problem) from problem
        return True

    def drop(self) -> None:
        """See `RerunRecorder.drop`."""
        if self._stream is not None:
            self._stream.disconnect()
            self._stream = None
            self._draft.unlink(missing_ok=True)

    # Parts.

    def _at(self, step: int) -> None:
        self._stream.set_time("step", sequence=step)
        self._stream.set_time("time", duration=step / CONTROL_HZ)

    def _record(self, observation: Observation, *, told: float | None, success: bool | None) -> None:
        rerun, stream, status = self._rerun, self._stream, widowx(self.env).status
        self._at(self._step)
        for name, image in observation.get("pixels", {}).items():
            stream.log(f"cameras/{name}", rerun.Image(image).compress(jpeg_quality=JPEG_QUALITY))
        position = status.robot.tcp.position
        self._path_so_far.append(position)
        stream.log("world/gripper", rerun.Points3D([position], radii=0.008, colors=[(40, 40, 40)]))
        stream.log("world/gripper/path", rerun.LineStrips3D([np.array(self._path_so_far)], radii=0.002))
        stream.log("gripper/measured", rerun.Scalars(status.robot.gripper))
        if told is not None:
            stream.log("gripper/told", rerun.Scalars(told))
        if success is not None:
            stream.log("success", rerun.Scalars(float(success)))
        scene = status.scene
        if scene is None:
            return
        for body, role in (
            (scene.source, "source"),
            (scene.target, "target"),
            *((one, "other") for one in scene.others),
        ):
            w, x, y, z = body.pose.quaternion
            box = rerun.Boxes3D(
                centers=[body.pose.position],
                half_sizes=[body.extents / 2],
                quaternions=[rerun.Quaternion(xyzw=[x, y, z, w])],
                labels=[body.name],
                colors=[COLOURS[role]],
            )
            stream.log(f"world/objects/{body.name}", box)

    def _not_writable(self, problem: OSError) -> RunFolderError:
        return RunFolderError(f"The recording {self._path} cannot be written: {problem.strerror or problem}.")


def _words(decision: Any) -> list[tuple[str, str]]:
    """(text, level) of everything that was written in an entry of `decisions`."""
    lines = [(f"subtask: {decision.get('subtask', '')}", "INFO")]
    stages = decision.get("stages") or ()
    for stage in stages:
        rejected = f" (rejected: {stage['error']})" if stage.get("error") else ""
        lines.append((f"{stage['name']}: {stage['text']}{rejected}", "WARN" if rejected else "INFO"))
    named = {stage["name"] for stage in stages}
    lines += [
        (f"{name}: {decision[name]}", "INFO") for name in ("plan", "action") if name not in named and decision[name]
    ]
    if decision.get("error"):
        lines.append((f"not read: {decision['error']}", "ERROR"))
    return [*lines, *((line, "WARN") for line in misjudged(decision))]


def _summary(result: EpisodeResult) -> str:
    cause = f", {LABELS.get(result.failure, result.failure)}" if result.failure else ""
    return (
        f"# {result.task}, episode {result.episode_id}\n\n{result.instruction}\n\n"
        f"**{result.outcome.value}**{cause}, {result.steps} steps, policy `{result.policy}`, seed {result.seed}, "
        f"{result.backend}\n\n{result.reason}\n"
    )


def _blueprint(rerun: Any, cameras: list[str]) -> Any:
    views = rerun.blueprint
    pictures = [views.Spatial2DView(origin=f"cameras/{name}", name=name) for name in cameras]
    graphs = views.TimeSeriesView(contents=["gripper/**", "success"], name="gripper")
    scene = views.Spatial3DView(origin="world", name="scene")
    words = views.TextLogView(origin="words", name="words")
    right = views.Vertical(*pictures, graphs, views.TextDocumentView(origin="episode", name="episode"))
    return views.Blueprint(views.Horizontal(views.Vertical(scene, words), right))
