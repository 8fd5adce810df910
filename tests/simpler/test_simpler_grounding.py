"""Scenes with several candidates on the SIMPLER scenes: cards that can be read, stacked doubles, contacts of each."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.envs.base import WidowXEnv, make_task_env
from vlm2vla_sim.envs.tasks import SUITE_TASKS
from vlm2vla_sim.evaluation.episode import run_episode


def test_cards_look_as_on_the_twin_upright_and_in_their_places(true_scenes):
    task = SUITE_TASKS["carrot_on_digit_3"]
    twin, true = (WidowXEnv(task, backend=backend) for backend in ("mujoco", "simpler"))
    with twin, true:
        seen, rendered = (env.reset(options={"episode_id": 0})[0]["pixels"]["primary"] for env in (twin, true))
        simulated = twin._backend
        numbers = simulated.segmentation()
        for number in np.unique(numbers):
            if simulated.body_name(int(number)).endswith("_card"):
                card = numbers == number
                difference = np.abs(seen.astype(float) - rendered)[card].mean()
                turned = np.abs(seen.astype(float)[card] - rendered[card][::-1]).mean()
                assert difference < 40 < turned, simulated.body_name(int(number))


def test_of_two_carrots_the_one_on_the_towel_is_lifted_and_each_has_its_contacts(true_scenes):
    env = make_task_env(SUITE_TASKS["lift_carrot_on_towel"], backend="simpler", image_size=None)
    with env:
        inner = env.unwrapped
        env.reset(options={"episode_id": 0})
        scene = inner.scene_state()
        other, plate = scene.others
        assert (scene.touches_target, scene.touching) == (True, frozenset())
        assert scene.touches[other.name].touching == {plate.name}
        for upper, lower in ((scene.source, scene.target), (other, plate)):
            assert np.linalg.norm((upper.pose.position - lower.pose.position)[:2]) < 0.03
        result = run_episode(env, "scripted", episode_id=0)
    assert (result.success_at_end, result.grasped, result.goals_reached) == (True, True, 1.0)
