"""Records demonstrations while an episode runs: images, states, and the control steps that were sent to the arm.

A rollout's video has captions and its results have no control steps, so neither can be used for training. The recorded
action is the one the arm received, after the workspace and step limits, with the image before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from vlm2vla_sim.core.atomic import replacing
from vlm2vla_sim.core.file_names import file_name
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.errors import DataError, SettingError
from vlm2vla_sim.types import EpisodeResult, Outcome
from vlm2vla_sim.video.encoder import DataSetVideo

SCORED = (Outcome.SUCCESS, Outcome.FAILURE)
"""Outcomes of episodes that ran to their end."""


@dataclass(frozen=True, eq=False)
class StagedEpisode:
    """A finished episode that is not in a data set yet."""

    video: Path
    arrays: Path
    states: np.ndarray
    """(T, 7) float32, as in `data.episode.Trajectory`."""
    actions: np.ndarray
    """(T, 7) float32."""
    solved: np.ndarray
    """(T,) bool: whether the environment saw the task solved after each action."""

    def discard(self) -> None:
        """Delete its files."""
        self.arrays.unlink(missing_ok=True)
        self.video.unlink(missing_ok=True)


@dataclass(frozen=True)
class DemonstrationFolder:
    """A `RecorderFactory` that stages every episode in a folder, named by task and episode number."""

    name: str
    """Of the folder, below the run folder."""

    def __call__(
        self, env: gym.Env[Observation, np.ndarray], task: str, episode_id: int, folder: Path, condition: str = ""
    ) -> EpisodeRecorder:
        """The recorder of one episode."""
        return EpisodeRecorder(DemonstrationRecorder(env, folder / self.name / condition, stem(task, episode_id)))


class EpisodeRecorder:
    """The `Recorder` of one episode; see `evaluation.runner`."""

    def __init__(self, recorder: DemonstrationRecorder) -> None:
        self.env: gym.Env[Any, Any] = recorder
        self._recorder = recorder

    def keep(self, result: EpisodeResult) -> None:
        """Finish the files, or delete them if the episode did not run to its end."""
        self._recorder.keep(result)

    def drop(self) -> None:
        """Delete the episode."""
        self._recorder.drop()


class DemonstrationRecorder(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Records one episode; after `keep` it is in the folder as a video and a file of arrays."""

    def __init__(self, env: gym.Env[Observation, np.ndarray], folder: Path, stem: str) -> None:
        """folder, stem: the episode becomes folder/stem.mp4 and folder/stem.npz."""
        super().__init__(env)
        self._folder, self._stem = folder, stem
        self._video: DataSetVideo | None = None
        self._before: Observation = {}

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:  # type: ignore[override]
        """Start an episode; an unfinished recording is deleted. SettingError for an environment without images."""
        self.drop()
        self._before, info = self.env.reset(**options)
        if "pixels" not in self._before:
            raise SettingError("Recording needs images, but the environment renders none (image_size=None).")
        self._folder.mkdir(parents=True, exist_ok=True)
        size = self._before["pixels"]["primary"].shape[:2]
        self._video = DataSetVideo(self._folder / f"{self._stem}.mp4", size=size, fps=CONTROL_HZ)
        self._states: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._solved: list[bool] = []
        return self._before, info

    def step(self, action: np.ndarray) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """See `WidowXEnv.step`; records the action as sent to the arm, with the observation before it."""
        image = self._before["pixels"]["primary"]  # before the step, after which it cannot be drawn
        observation, reward, terminated, truncated, info = self.env.step(action)
        if "fault" not in info:
            assert self._video is not None
            self._video.add(image)
            self._states.append(np.array(self._before["agent_pos"], np.float32))
            self._actions.append(info["sent_action"].astype(np.float32))
            self._solved.append(bool(info["is_success"]))  # None on a real robot: only the end is judged
        self._before = observation
        return observation, float(reward), terminated, truncated, info

    def keep(self, result: EpisodeResult) -> None:
        """Finish the files, or delete them if the episode did not run to its end."""
        if self._video is None:
            return
        if result.outcome not in SCORED or not self._states:
            self.drop()
            return
        self._video.close()
        self._video = None
        with replacing(self._folder / f"{self._stem}.npz") as draft, draft.open("wb") as file:
            np.savez(file, states=self._states, actions=self._actions, solved=self._solved)

    def drop(self) -> None:
        """Delete the episode in progress."""
        if self._video is not None:
            self._video.abandon()
            self._video = None


def read_staged(folder: Path, stem: str) -> StagedEpisode | None:
    """The staged episode of this name; None if it is missing or incomplete."""
    video, arrays = folder / f"{stem}.mp4", folder / f"{stem}.npz"
    if not (video.is_file() and arrays.is_file()):
        return None
    try:
        with np.load(arrays, allow_pickle=False) as values:
            return StagedEpisode(video, arrays, values["states"], values["actions"], values["solved"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{arrays} cannot be read: {error}.") from error


def stem(task: str, episode_id: int) -> str:
    """The file name, without a suffix, of an episode."""
    return f"{file_name(task)}-{episode_id:05d}"
