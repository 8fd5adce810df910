"""The image of the scene that the operator is asked to arrange."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.envs.tasks import is_built_in
from vlm2vla_sim.evaluation.operator.episode_log import PlannedEpisode


class WantedScenes:
    """The images of a session's scenes, each made once."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._images: dict[tuple[str, int], np.ndarray] = {}

    def image(self, episode: PlannedEpisode, live: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB; `live` is what the camera sees before the first attempt."""
        key = (episode.task, episode.episode_id)
        if key not in self._images:
            self._images[key] = wanted_image(episode, self._backend, live)
        return self._images[key]


def wanted_image(episode: PlannedEpisode, backend: str, live: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB: SIMPLER's episode on the twin; for another task the `live` image of its first attempt."""
    task = find_task(episode.task, backend)
    if not is_built_in(task):
        return live
    twin = gym.make(task.env_id, image_size=live.shape[:2])
    image = twin.reset(options={"episode_id": episode.episode_id})[0]["pixels"]["primary"]
    twin.close()
    return image
