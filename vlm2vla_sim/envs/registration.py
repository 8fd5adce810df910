"""Registers the environments with Gymnasium when `vlm2vla_sim` is imported.

Gymnasium 1.x reads no plugin entry points: an id exists only after its package was imported, which
`gym.make("vlm2vla_sim:vlm2vla/...")` does by itself.
"""

from __future__ import annotations

import gymnasium as gym

from vlm2vla_sim.envs.tasks import OWN_TASK_ID, TASKS


def register_environments() -> None:
    """Register every task of `TASKS`, and `OWN_TASK_ID` for a task of your own. May be called again."""
    for task in TASKS.values():
        if task.env_id not in gym.registry:
            gym.register(
                id=task.env_id,
                entry_point="vlm2vla_sim.envs.base:WidowXEnv",
                max_episode_steps=task.max_steps,
                kwargs={"task": task.name},
            )
    if OWN_TASK_ID not in gym.registry:
        # The entry point limits the steps: the limit is that of the task.
        gym.register(id=OWN_TASK_ID, entry_point="vlm2vla_sim.envs.base:make_task_env")
