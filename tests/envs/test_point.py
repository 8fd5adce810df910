"""The public fakes behave as their docstrings promise, because other people's tests stand on them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier


def make(task="carrot_on_plate", **options) -> gym.Env:
    return gym.make(TASKS[task].env_id, backend="point", **{"image_size": (60, 80), **options})


@pytest.mark.parametrize("task", TASKS)
def test_the_point_robot_is_a_proper_gymnasium_environment(task):
    check_env(make(task).unwrapped, skip_render_check=True)


def test_the_point_goes_exactly_where_it_is_told():
    env = make()
    env.reset(seed=0)
    start = env.unwrapped.status.robot.tcp.position
    for _ in range(4):
        observation, *_ = env.step(np.array([0.01, -0.02, 0.005, 0, 0, 0, 1], np.float32))
    np.testing.assert_allclose(env.unwrapped.status.robot.tcp.position - start, [0.04, -0.08, 0.02], atol=1e-6)
    np.testing.assert_allclose(observation["agent_pos"][3:], [0, 0, 0, 1], atol=1e-6)


def test_the_picture_shows_the_point_where_it_is():
    env = make()
    env.reset(options={"episode_id": 0})

    def centre() -> np.ndarray:
        image = env.unwrapped._observation["pixels"]["primary"]
        return np.argwhere((image == (30, 30, 30)).all(axis=-1)).mean(axis=0)

    before = centre()
    for _ in range(3):
        env.step(np.array([0.03, 0.02, 0, 0, 0, 0, 1], np.float32))
    down, right = centre() - before
    assert down < -5, "forward is up in the image"
    assert right < -5, "left is left in the image"


def test_an_object_is_held_between_closing_near_it_and_opening_again():
    env = make()
    env.reset(options={"episode_id": 0})
    scene = env.unwrapped.scene_state()
    way = scene.source.pose.position - env.unwrapped.status.robot.tcp.position
    steps = int(np.ceil(np.abs(way).max() / 0.03))
    for _ in range(steps):
        env.step(np.array([*(way / steps), 0, 0, 0, 1], np.float32))
    assert not env.unwrapped.scene_state().grasped
    for _ in range(3):
        env.step(np.array([0, 0, 0, 0, 0, 0, 0], np.float32))
    assert env.unwrapped.scene_state().grasped
    for _ in range(3):
        *_, info = env.step(np.array([0, 0.02, 0.03, 0, 0, 0, 0], np.float32))
    assert info["moved_correct_object"]
    lifted = env.unwrapped.scene_state().source.pose.position - scene.source.pose.position
    np.testing.assert_allclose(lifted, [0, 0.06, 0.09], atol=1e-6)
    for _ in range(3):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
    dropped = env.unwrapped.scene_state()
    assert not dropped.grasped
    assert dropped.touching == {"table"}
    np.testing.assert_allclose(dropped.source.pose.position[2], scene.source.pose.position[2], atol=1e-6)


def test_the_text_model_says_its_script_and_remembers_the_questions():
    model = FakeTextModel({"plan": ["first", "second"], "action": ["[[0, 0, 0, 1]]"]})
    image = np.zeros((4, 4, 3), np.uint8)
    said = [model.answer([Question("plan", f"question {n}", (image,))])[0].text for n in range(3)]
    assert said == ["first", "second", "second"]
    assert model.answer([Question("action", "now act", seed=3)])[0].name == "action"
    assert model.prompts[-1] == ("action", "now act")
    assert [len(images) for images in model.images] == [1, 1, 1, 0]
    with pytest.raises(KeyError):
        model.answer([Question("verify", "done?")])


def test_the_verifier_says_its_script_and_remembers_the_questions():
    verifier = FakeVerifier([False, True])
    image = np.zeros((4, 4, 3), np.uint8)
    judged = [verifier.judge(image, image, current="grasp", following="lift") for _ in range(3)]
    assert [judgement.advance for judgement in judged] == [False, True, True]
    assert [judgement.stage.text for judgement in judged] == ["retry", "advance", "advance"]
    assert verifier.questions == [("grasp", "lift")] * 3
