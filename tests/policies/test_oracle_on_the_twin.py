"""The loop, through prompts and grammar alone, against contact and gravity."""

from __future__ import annotations

import gymnasium as gym

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import make_policy
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import Outcome


def test_a_model_that_knows_the_truth_solves_all_carrot_episodes_on_the_twin():
    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="mujoco", image_size=(16, 16))
    env.reset(seed=0)
    policy = make_policy(env, PolicySpec("oracle"))
    results = [run_episode(env, policy, episode_id=k, spec=PolicySpec("oracle")) for k in range(24)]
    env.close()
    assert [result.outcome for result in results] == [Outcome.SUCCESS] * 24
    assert not any(result.parse_failures for result in results)
