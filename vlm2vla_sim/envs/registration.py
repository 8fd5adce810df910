"""Register the four tasks, and one for a task in your own words, with Gymnasium, when `vlm2vla_sim` is imported.

Gymnasium 1.x reads no plugin entry points: an id exists only once its package was imported, which
`gym.make("vlm2vla_sim:vlm2vla/...")` does by itself.
"""

from __future__ import annotations

import gymnasium as gym

from vlm2vla_sim.envs.tasks import OWN_TASK_ID, TASKS


def register_environments() -> None:
    """Make every task of `TASKS` known; again is harmless."""
    for task in TASKS.values():
        if task.env_id not in gym.registry:
            gym.register(
                id=task.env_id,
                entry_point="vlm2vla_sim.envs.base:WidowXEnv",
                max_episode_steps=task.max_steps,
                kwargs={"task": task.name},
            )
    if OWN_TASK_ID not in gym.registry:
        gym.register(id=OWN_TASK_ID, entry_point="vlm2vla_sim.envs.base:WidowXEnv", max_episode_steps=60)
