"""The image of the scene that the operator is asked to arrange."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.envs.tasks import is_built_in
from vlm2vla_sim.evaluation.operator.episode_log import PlannedEpisode


def wanted_image(episode: PlannedEpisode, backend: str, live: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB: SIMPLER's episode on the twin; for another task the `live` image of its first attempt."""
    task = find_task(episode.task, backend)
    if not is_built_in(task):
        return live
    twin = gym.make(task.env_id, image_size=live.shape[:2])
    image = twin.reset(options={"episode_id": episode.episode_id})[0]["pixels"]["primary"]
    twin.close()
    return image
