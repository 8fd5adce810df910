"""The same chain on the real twin: words in, physics, a video and a result out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import Outcome


def test_the_scripted_policy_puts_the_carrot_on_the_plate_and_the_video_shows_it(tmp_path, read_video):
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0")
    result = run_episode(
        env, "scripted", episode_id=3, spec=PolicySpec("scripted", "prose"), videos=tmp_path / "videos"
    )
    last = env.unwrapped._observation["pixels"]["primary"]
    env.close()
    assert result.outcome is Outcome.SUCCESS
    assert result.success_released
    assert result.versions["mujoco"]
    frames = read_video(tmp_path / result.video)
    assert len(frames) == 61
    height, width, _ = last.shape
    assert np.abs(frames[-1][:height, :width].astype(int) - last).mean() < 4, "the last frame is the last picture"
    changed = np.abs(frames[-1][:height].astype(int) - frames[0][:height]).max(axis=-1) > 60
    assert changed.mean() > 0.01, "the carrot is elsewhere, and so is the arm"


@pytest.mark.parametrize("policy", ["hold", "random"])
def test_a_lower_bound_scores_nothing(policy):
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXStackCube-v0", image_size=(48, 64))
    result = run_episode(env, policy, episode_id=1)
    env.close()
    assert result.outcome is Outcome.FAILURE
    assert not result.success_once


def test_worker_processes_and_this_one_make_bit_identical_episodes(tmp_path: Path):
    settings = RunSettings("random", ("spoon_on_towel", "eggplant_in_basket"), 2, image_size=(48, 64))
    here = run_suite(settings, out=tmp_path / "here", video=False)
    there = run_suite(settings, out=tmp_path / "there", video=False, workers=2)
    for one, other in zip(here.results, there.results, strict=True):
        assert dataclasses.replace(one, seconds=0, versions={}) == dataclasses.replace(other, seconds=0, versions={})
        assert one.versions["mujoco"] == other.versions["mujoco"]
    assert any(result.clipped_steps for result in here.results)
