"""Make the environments and policies of episodes from settings.

Policies and environments do not depend on each other. Here a policy gets access to an environment's ground truth, if it
declares that it needs it.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from vlm2vla_sim.envs.backends import knows_scene
from vlm2vla_sim.envs.base import WidowXEnv, find_task
from vlm2vla_sim.envs.tasks import environment, is_built_in
from vlm2vla_sim.errors import EpisodeError, SettingError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.language.formats import ActionFormat, get_format, needs_statistics
from vlm2vla_sim.language.formats.statistics import BRIDGE, read_statistics
from vlm2vla_sim.policies import PolicyContext, TextModelFactory, check_policy, load_policy, needs_truth
from vlm2vla_sim.policies.models.action_symbols import read_symbols
from vlm2vla_sim.policies.spec import PolicySpec

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy


NO_LIMIT = -1
"""`gymnasium.make` puts no limit of its own on the steps of an episode."""


def make_env(settings: RunSettings, task: str) -> gym.Env[Any, Any]:
    """The environment in which `settings` runs the episodes of `task`."""
    found, limit = find_task(task, settings.backend), settings.max_steps
    if limit is not None and not is_built_in(found):
        found, limit = dataclasses.replace(found, max_steps=limit), None
    env_id, own = environment(found)
    options: dict[str, Any] = {**own, **settings.backend_options}
    env = gym.make(
        env_id,
        max_episode_steps=None if limit is None else NO_LIMIT,
        backend=settings.backend,
        image_size=settings.image_size,
        quality=settings.quality,
        instruction=settings.instruct(found.instruction),
        **options,
    )
    return env if limit is None else DeclaredLimit(env, limit)


class DeclaredLimit(TimeLimit):
    """Episodes of as many control steps as the run's settings say, where that is not the task's own number."""

    has_declared_limit = True


def make_policy(env: gym.Env[Any, Any], spec: PolicySpec, *, models: TextModelFactory | None = None) -> Policy:
    """The policy that `spec` describes, able to see what `env` knows (ground truth only where there is any).

    models: makes the text models of policies; by default they are loaded in this process.
    """
    inner = widowx(env)
    context = PolicyContext(
        task=inner.task,
        steps=episode_length(env),
        action_format=find_format(spec),
        see=None if inner.knows_scene is False else inner.scene_state,
        robot=lambda: inner.status.robot,
        noise_cm=spec.noise_cm,
        options=spec.options,
        goals=inner.spec_task.goals,
        arm=inner.spec_task.arm,
        geometry=inner.geometry,
        models=models,
    )
    return load_policy(spec.policy, context)


def check_spec(spec: PolicySpec, backend: str) -> None:
    """Raise an error if no episode could run with this policy on this backend."""
    check_policy(spec.policy, spec.options, noise_cm=spec.noise_cm)
    find_format(spec)
    if needs_truth(spec.policy) and knows_scene(backend) is False:
        raise SettingError(
            f"The policy {spec.policy!r} reads the simulator's ground truth, and the backend {backend!r} does not know "
            "the scene. Use another policy."
        )


def find_format(spec: PolicySpec) -> ActionFormat:
    """The action format of `spec`, with what was saved beside the trained model.

    "tokens" gets its ten symbols, "vla0" and "clap" the statistics of the training data. A policy without a model, such
    as "scripted", gets the statistics of BridgeData V2; one with a model on a server only, a SettingError.
    """
    trained = str(spec.options.get("adapter") or spec.options.get("model") or "")
    symbols = read_symbols(trained) if spec.action_format == "tokens" else None
    statistics = None
    if needs_statistics(spec.action_format):
        statistics = read_statistics(trained) if trained or spec.options.get("server") else BRIDGE
    return get_format(spec.action_format, symbols=symbols, statistics=statistics)


def episode_seed(run_seed: int, task: str, episode_id: int) -> int:
    """The seed of one episode of a run: the same for every policy, so that two policies can be compared in pairs."""
    state = np.random.SeedSequence([run_seed, zlib.crc32(task.encode()), episode_id]).generate_state(1)
    return int(state[0])


def widowx(env: gym.Env[Any, Any]) -> WidowXEnv:
    """The `WidowXEnv` inside any wrappers.

    Raises:
        EpisodeError: there is none.
        SettingError: its observations have a form that policies do not read.
    """
    inner = env.unwrapped
    if not isinstance(inner, WidowXEnv):
        raise EpisodeError(f"An episode needs a WidowXEnv; it was given {type(inner).__name__}.")
    if inner.observation != "dict":
        raise SettingError(
            f"The environment was made with observation={inner.observation!r}; policies and recordings need 'dict'."
        )
    return inner


def episode_length(env: gym.Env[Any, Any]) -> int:
    """Control steps in a full episode of `env`; SettingError where it was made longer than an episode of its task."""
    # From the outermost wrapper that has one: TimeLimit's own limit, else the task's.
    asked, task = int(env.get_wrapper_attr("_max_episode_steps")), widowx(env).spec_task
    if asked > task.max_steps and not env.has_wrapper_attr("has_declared_limit"):
        raise SettingError(
            f"The environment was made with max_episode_steps={asked}, and an episode of {task.name} has "
            f"{task.max_steps} control steps: success is judged at the last of them. Give at most {task.max_steps}, or "
            "make it of a task with other max_steps (dataclasses.replace); a run has the setting max_steps."
        )
    return asked
