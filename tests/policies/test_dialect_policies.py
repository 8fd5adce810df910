"""Policies that speak formats of other projects: the pose, the span of a row, the ensemble, the statistics."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim import LanguageActions
from vlm2vla_sim.core.control_steps import split
from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import find_format
from vlm2vla_sim.language.formats import DIALECTS, ActionStatistics, get_format
from vlm2vla_sim.language.formats.statistics import BRIDGE, save_statistics
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.policies.ensemble import Ensemble
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.testing import FakeTextModel
from vlm2vla_sim.types import ActionChunk, Outcome

VLA0 = get_format("vla0", statistics=ActionStatistics((-0.05,) * 6 + (0,), (0.05,) * 6 + (1,)))
"""0 is -5 cm, 500 nothing, 1000 5 cm; the gripper 0 to 1000."""


def point(**options) -> gym.Env:
    return gym.make(TASKS["carrot_on_plate"].env_id, backend="point", image_size=(32, 48), **options)


def look(x: float = 0.3, opening: float = 1.0) -> dict[str, object]:
    pose = np.array([x, 0, 0.2, 0, 0, 0, opening], np.float32)
    return {"pixels": {"primary": np.zeros((8, 8, 3), np.uint8)}, "agent_pos": pose}


def direct(answers: list[str], spoken, **settings) -> LanguageActionPolicy:
    """A policy without plan and verifier that answers with these actions."""
    how = LoopSettings(reasoning=False, **settings)
    policy = LanguageActionPolicy(FakeTextModel({"action": answers}), spoken, None, settings=how)
    policy.reset("put carrot on plate")
    return policy


@pytest.mark.parametrize("name", DIALECTS)
def test_the_scripted_policy_moves_a_carrot_in_every_dialect(name):
    env = point()
    result = run_episode(env, "scripted", episode_id=3, spec=PolicySpec("scripted", name))
    env.close()
    assert (result.outcome, result.parse_failures, result.action_format) == (Outcome.SUCCESS, 0, name)


@pytest.mark.parametrize("name", ["goal-json", "choice", "vla0", "lap"])
@pytest.mark.parametrize("policy", ["hold", "random", "oracle"])
def test_the_other_policies_speak_them_too(name, policy):
    env = point()
    result = run_episode(env, policy, episode_id=3, spec=PolicySpec(policy, name))
    env.close()
    assert result.parse_failures == 0
    assert result.outcome in (Outcome.SUCCESS, Outcome.FAILURE), result.reason
    if policy == "oracle":
        assert result.provenance["format"]["name"] == name


def test_a_goal_leads_from_the_controllers_target_and_without_one_from_what_is_seen():
    text = '{"goals": [{"position": [33, 0, 20], "rotation": [0, 0, 0], "gripper": "open"}]}'
    policy = direct([text, text], get_format("goal-json"))
    assert policy.act(look(0.30)).chunk.deltas[0, 0] == pytest.approx(0.03)
    assert policy.act(look(0.35)).chunk.deltas[0, 0] == pytest.approx(-0.02)
    env = LanguageActions(point(), action_format="goal-json")
    env.reset(options={"episode_id": 0})
    after = env.step(text)[0]["agent_pos"]
    np.testing.assert_allclose(after[:6], [0.33, 0, 0.2, 0, 0, 0], atol=1e-3)


def test_a_phrase_keeps_what_the_gripper_was_told_not_how_far_it_has_come():
    policy = direct(["close gripper", "move up 3 cm", "open gripper", "stay"], get_format("choice"))
    told = [policy.act(look(opening=opening)).chunk.deltas[0, 6] for opening in (1, 0.7, 0.4, 0.4)]
    assert told == [0, 0, 1, 1]
    pose = CommandedPose()
    assert pose.now({}) is None
    assert pose.now(look(opening=0.4))[6] == 0


def test_a_row_of_a_second_takes_five_steps_and_more_if_the_arm_needs_them():
    def steps(*row: float, gripper: float = 1.0) -> np.ndarray:
        return np.array(list(split(np.array([row], np.float32), gripper=gripper, least=5)))

    np.testing.assert_allclose(steps(0.03, 0, 0, 0, 0, 0, 1), [[0.006, 0, 0, 0, 0, 0, 1]] * 5, atol=1e-7)
    assert len(steps(0.3, 0, 0, 0, 0, 0, 1)) == 12
    closing = steps(0.03, 0, 0, 0, 0, 0, 0)
    np.testing.assert_allclose(closing[:, 0], [0.015, 0.015, 0, 0, 0], atol=1e-7)
    assert closing[:, 6].tolist() == [1, 1, 0, 0, 0]
    assert len(steps(0, 0, 0, 0, 0, 0, 1)) == len(steps(0, 0, 0, 0, 0, 0, 0)) == 5
    executor = Executor()
    assert len(list(executor.steps(get_format("lap").read("move up 3 cm, open gripper")))) == 5
    assert len(list(executor.steps(get_format("prose").read("move up 3 cm, open gripper")))) == 2


def test_rows_of_control_steps_go_to_the_arm_as_they_are():
    chunk = VLA0.read("1000 500 500 500 500 500 1000 500 500 500 500 500 500 0")
    taken = [step.action for step in Executor().steps(chunk)]
    np.testing.assert_allclose(taken, [[0.05, 0, 0, 0, 0, 0, 1], [0] * 7], atol=1e-7)


def test_the_ensemble_weighs_older_predictions_half_and_shifts_them():
    ensemble = Ensemble(3)
    rows = lambda *xs: np.array([[x, 0, 0, 0, 0, 0, g] for x, g in xs])  # noqa: E731
    assert ensemble.add(rows((1, 1), (2, 1), (3, 0)))[:, 0].tolist() == [1, 2, 3]
    ensemble.carried_out(1)
    mixed = ensemble.add(rows((4, 0), (5, 0)))
    np.testing.assert_allclose(mixed[:, 0], [(4 + 0.5 * 2) / 1.5, (5 + 0.5 * 3) / 1.5])
    assert mixed[:, 6].tolist() == [0, 0]
    ensemble.carried_out(1)
    third = ensemble.add(rows((7, 1)))
    np.testing.assert_allclose(third[:, 0], [(7 + 0.5 * 3 + 0.5 * 5) / 2])
    ensemble.carried_out(1)
    np.testing.assert_allclose(ensemble.add(rows((9, 1)))[:, 0], [9])


def test_the_ensemble_uses_all_there_are_while_there_are_few():
    ensemble, means = Ensemble(4), []
    for value in (1.0, 2.0, 4.0, 8.0, 16.0):
        means.append(ensemble.add(np.full((6, 7), value))[0, 0])
        ensemble.carried_out(1)
    expected = [1, (2 + 0.5) / 1.5, (4 + 1.5) / 2, (8 + 3.5) / 2.5, (16 + 7) / 2.5]
    np.testing.assert_allclose(means, expected)


def test_the_policy_carries_out_the_mean_of_its_last_predictions():
    texts = ["1000 500 500 500 500 500 1000 600 500 500 500 500 500 1000", "800 500 500 500 500 500 1000"]
    policy = direct(texts, VLA0, ensemble=8, max_rows=1)
    assert policy.act(look()).chunk.deltas[:, 0] == pytest.approx([0.05])
    second = policy.act(look()).chunk
    assert second.deltas[:, 0] == pytest.approx([(0.03 + 0.5 * 0.01) / 1.5])
    assert (second.stepwise, second.text) == (True, texts[1])


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [("vla0", {}, "max_rows is not set"), ("prose", {"max_rows": 1}, "a row of 'prose' is no control step")],
)
def test_an_ensemble_of_what_is_no_control_step_is_refused(name, settings, said):
    spoken = VLA0 if name == "vla0" else get_format(name)
    with pytest.raises(SettingError, match=rf"ensemble is 8, but {said}.*max_rows=1"):
        direct([], spoken, ensemble=8, **settings)


def test_the_first_rows_of_a_chunk_are_of_its_kind():
    policy = direct(["500 500 500 500 500 500 0 500 500 500 500 500 500 0"], VLA0, max_rows=1)
    chunk = policy.act(look()).chunk
    assert (len(chunk.deltas), chunk.stepwise) == (1, True)
    assert ActionChunk(chunk.deltas, "").row_steps == 0


def test_statistics_come_from_the_trained_model_and_only_a_policy_without_one_has_those_of_bridge(tmp_path):
    assert find_format(PolicySpec("scripted", "vla0")).statistics == BRIDGE
    for options in ({"model": str(tmp_path)}, {"model": "base", "adapter": str(tmp_path)}):
        with pytest.raises(SettingError, match=r"action_statistics\.json cannot be read.*--adapter"):
            find_format(PolicySpec("vlm", "clap", options=options))
    save_statistics(VLA0.statistics, tmp_path)
    assert find_format(PolicySpec("vlm", "vla0", options={"model": "base", "adapter": str(tmp_path)})) == VLA0
