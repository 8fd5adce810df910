"""Keeps what a demonstration is made of while an episode runs: pictures, states, and the steps that were really sent.

A rollout leaves a film with captions and lines about it; nobody can learn to act from those. And the step that a policy
asked for is not the one the arm was given, where the workspace or the step limit cut it: only the latter, with the
picture before it, says what leads where.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from vlm2vla_sim.core.atomic import replacing
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.errors import DataError, SettingError
from vlm2vla_sim.evaluation.policy_spec import widowx
from vlm2vla_sim.types import EpisodeResult, Outcome
from vlm2vla_sim.video.mp4 import Mp4Writer

SCORED = (Outcome.SUCCESS, Outcome.FAILURE)
"""Outcomes after which an episode is whole."""


@dataclass(frozen=True, eq=False)
class Staged:
    """An episode that was kept, on its way into a data set."""

    video: Path
    numbers: Path
    states: np.ndarray
    """(T, 7) float32, as in `data.episode.Trajectory`."""
    actions: np.ndarray
    """(T, 7) float32."""

    def drop(self) -> None:
        """Delete what is left of it."""
        self.numbers.unlink(missing_ok=True)
        self.video.unlink(missing_ok=True)


@dataclass(frozen=True)
class DemonstrationFolder:
    """A `RecorderFactory` that leaves every episode in a folder, under the name of its task and number."""

    path: Path

    def __call__(self, env: gym.Env[Observation, np.ndarray], task: str, episode_id: int) -> EpisodeRecorder:
        """The recorder of one episode."""
        return EpisodeRecorder(DemonstrationRecorder(env, self.path, stem(task, episode_id)))


@dataclass(frozen=True)
class EpisodeRecorder:
    """See `evaluation.runner.Recorder`."""

    env: DemonstrationRecorder

    def keep(self, result: EpisodeResult) -> None:
        """Finish the files, or drop them when the episode was not run to its end."""
        self.env.keep(result)

    def drop(self) -> None:
        """Forget the episode."""
        self.env.drop()


class DemonstrationRecorder(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """An environment that keeps one episode; after `keep`, it lies in the folder as a film and its numbers."""

    def __init__(self, env: gym.Env[Observation, np.ndarray], folder: Path, stem: str) -> None:
        """folder, stem: the episode becomes folder/stem.mp4 and folder/stem.npz."""
        super().__init__(env)
        self._folder, self._stem = folder, stem
        self._film: Mp4Writer | None = None
        self._before: Observation = {}

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:  # type: ignore[override]
        """Start an episode; what was kept of an earlier one is dropped."""
        self.drop()
        self._before, info = self.env.reset(**options)
        if "pixels" not in self._before:
            raise SettingError("A demonstration needs pictures; the environment draws none (image_size=None).")
        self._folder.mkdir(parents=True, exist_ok=True)
        size = self._before["pixels"]["primary"].shape[:2]
        self._film = Mp4Writer(self._folder / f"{self._stem}.mp4", size=size, fps=CONTROL_HZ)
        self._states: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        return self._before, info

    def step(self, action: np.ndarray) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """See `WidowXEnv.step`; the step is kept as the arm is given it, with what was seen before it."""
        inner = widowx(self.env)
        target = inner.status.robot.target.position
        sent, _ = motion.limit(action, target=target, workspace=inner.spec_task.scene.workspace)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if "fault" not in info:
            assert self._film is not None
            self._film.add(self._before["pixels"]["primary"])
            self._states.append(np.array(self._before["agent_pos"], np.float32))
            self._actions.append(sent.astype(np.float32))
        self._before = observation
        return observation, float(reward), terminated, truncated, info

    def keep(self, result: EpisodeResult) -> None:
        """Finish the files, or drop them when the episode was not run to its end."""
        if self._film is None:
            return
        if result.outcome not in SCORED or not self._states:
            self.drop()
            return
        self._film.close()
        self._film = None
        with replacing(self._folder / f"{self._stem}.npz") as draft, draft.open("wb") as file:
            np.savez(file, states=np.array(self._states), actions=np.array(self._actions))

    def drop(self) -> None:
        """Forget the episode that is under way."""
        if self._film is not None:
            self._film.abandon()
            self._film = None


def read_staged(folder: Path, stem: str) -> Staged | None:
    """The episode that was kept under this name, or None when there is none, or only a part of one."""
    video, numbers = folder / f"{stem}.mp4", folder / f"{stem}.npz"
    if not (video.is_file() and numbers.is_file()):
        return None
    try:
        with np.load(numbers, allow_pickle=False) as values:
            return Staged(video, numbers, values["states"], values["actions"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{numbers} cannot be read: {error}.") from error


def stem(task: str, episode_id: int) -> str:
    """What the files of an episode are called."""
    return f"{task}-{episode_id:05d}"
