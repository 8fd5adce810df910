"""Who is being tested: a policy by name, the way it writes its actions, and what it may see of an environment.

Policies and environments know nothing of each other. This is where the two are introduced, so that no policy gets more
to see than it asked for, and every result says under which name it was made.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import EpisodeError, SettingError
from vlm2vla_sim.language.formats import ActionFormat, get_format
from vlm2vla_sim.policies import PolicyContext, PolicyOptions, load_policy
from vlm2vla_sim.policies.models.rare_tokens import read_symbols

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy


@dataclass(frozen=True)
class PolicySpec:
    """Whose episode it is: what `results.jsonl` says about the policy."""

    policy: str
    action_format: str = "vlm2vla"
    noise_cm: float = 0.0
    policy_options: PolicyOptions = field(default_factory=dict)
    """What only this policy takes, such as {"model": "google/gemma-3-12b-it"}."""


def make_policy(env: gym.Env[Any, Any], spec: PolicySpec) -> Policy:
    """The policy that `spec` names, able to see what `env` knows (ground truth only where there is any)."""
    inner = widowx(env)
    context = PolicyContext(
        task=inner.task,
        steps=episode_length(env),
        action_format=find_format(spec.action_format, spec.policy_options),
        see=inner.scene_state,
        robot=lambda: inner.status.robot,
        noise_cm=spec.noise_cm,
        options=spec.policy_options,
        arm=inner.spec_task.arm,
    )
    return load_policy(spec.policy, context)


def find_format(name: str, options: PolicyOptions) -> ActionFormat:
    """The format called `name`; "tokens" gets its ten symbols from the folder of what was trained: adapter or model."""
    trained = options.get("adapter") or options.get("model") or ""
    symbols = read_symbols(str(trained)) if name == "tokens" else None
    return get_format(name, symbols=symbols)


def episode_seed(run_seed: int, task: str, episode_id: int) -> int:
    """The seed of one episode of a run: the same for every policy, so that two policies can be compared in pairs."""
    words = np.random.SeedSequence([run_seed, zlib.crc32(task.encode()), episode_id]).generate_state(1)
    return int(words[0])


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
    """Control steps in a full episode of `env`."""
    # The outermost answer: TimeLimit's own limit where there is one, else the task's.
    return int(env.get_wrapper_attr("_max_episode_steps"))
