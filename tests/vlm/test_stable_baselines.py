"""Stable-Baselines3 takes the environment in every form of observation, as a user of that library would try it."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
from lane import need

need("vlm", "torch", "stable_baselines3")

from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.env_checker import check_env  # noqa: E402

from vlm2vla_sim.envs.tasks import TASKS  # noqa: E402

ID = TASKS["carrot_on_plate"].env_id
POLICIES = [
    ("image", "CnnPolicy", "mujoco"),
    ("flat", "MultiInputPolicy", "mujoco"),
    ("flat", "MultiInputPolicy", "point"),
]


def make(observation: str, backend: str) -> gym.Env:
    return gym.make(ID, backend=backend, image_size=(48, 64), observation=observation)


@pytest.mark.parametrize("observation", ["image", "flat"])
def test_its_checker_finds_nothing_but_the_scale_of_the_actions(observation):
    env = make(observation, "point")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
    # The actions are metres, radians and an opening, as in the data that policies are trained on.
    assert all("symmetric and normalized Box action space" in text for text in said), said
    env.close()


@pytest.mark.parametrize(("observation", "policy", "backend"), POLICIES)
def test_ppo_learns_a_step(observation, policy, backend):
    env = make(observation, backend)
    model = PPO(policy, env, n_steps=8, batch_size=8, n_epochs=1, seed=0, device="cpu")
    before = [weight.detach().clone() for weight in model.policy.parameters()]
    model.learn(total_timesteps=8)
    assert any((old != new).any() for old, new in zip(before, model.policy.parameters(), strict=True))
    seen, _ = env.reset(seed=0)
    action, _ = model.predict(seen)
    assert action in env.action_space
    assert np.isfinite(env.step(action)[1])
    env.close()


def test_the_nested_dictionary_is_what_it_does_not_take():
    """The reason for the form "flat"; when this fails, the documentation of the forms has to change."""
    with pytest.raises(NotImplementedError, match="Nested"):
        PPO("MultiInputPolicy", make("dict", "point"), n_steps=8, batch_size=8, device="cpu")
