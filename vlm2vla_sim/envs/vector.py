"""Several environments at once, in processes that are safe to start after a picture was drawn.

Gymnasium's AsyncVectorEnv forks by default, and a process forked after OpenGL was used hangs for ever at its first
picture (measured with EGL and OSMesa). `make_vec` starts its workers with "forkserver" instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from vlm2vla_sim.errors import EpisodeError, unknown_name

MODES = ("async", "sync")


def make_vec(
    env_id: str,
    num_envs: int = 2,
    *,
    mode: str = "async",
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    wrappers: tuple[Callable[[gym.Env], gym.Env], ...] = (),
    **options: Any,
) -> VectorEnv:
    """A vector of `num_envs` environments `env_id`.

    mode: "async" for one process each, "sync" for all in this one. wrappers: applied to each environment in order; they
    must be picklable. options: for `gym.make`, such as backend=, image_size=.
    """
    if mode not in MODES:
        raise unknown_name("vector mode", mode, MODES)
    if num_envs < 1:
        raise EpisodeError(f"num_envs is {num_envs}; expected 1 or more.")
    makers = [partial(_make, env_id, wrappers, options)] * num_envs
    if mode == "sync":
        return SyncVectorEnv(makers, autoreset_mode=autoreset_mode)
    return AsyncVectorEnv(makers, context="forkserver", autoreset_mode=autoreset_mode)


def _make(env_id: str, wrappers: tuple[Callable[[gym.Env], gym.Env], ...], options: dict[str, Any]) -> gym.Env:
    # Named with the package, so that a fresh process imports it and thereby registers the id.
    env = gym.make(env_id if ":" in env_id else f"vlm2vla_sim:{env_id}", **options)
    for wrapper in wrappers:
        env = wrapper(env)
    return env
