"""What holds for every policy of the table: it speaks, means what it says, and follows its seed."""

from __future__ import annotations

import importlib

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim import errors
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import ExtensionError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import make_policy
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import POLICIES, PolicyContext, check_policy, find_factory, load_policy
from vlm2vla_sim.policies.baselines import MAX_MOVE, MAX_TURN
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import Decision, Outcome

in_every_format = pytest.mark.parametrize("action_format", ["vlm2vla", "prose", "integers"])
# One that needs a model is held to the same in tests/vlm, with a model.
for_every_policy = pytest.mark.parametrize("policy", [name for name in POLICIES if find_factory(name).options is None])


def play(policy: str, action_format: str, *, seed: int = 0, task: str = "carrot_on_plate") -> list[Decision | None]:
    """What the policy decides in one episode on the point robot, until it is done or has spoken ten times."""
    env = gym.make(TASKS[task].env_id, backend="point", image_size=(48, 64))
    speaker = make_policy(env, PolicySpec(policy, action_format))
    observation, info = env.reset(options={"episode_id": 2})
    speaker.reset(info["instruction"], seed)
    decisions = []
    while len(decisions) < 10 and (not decisions or decisions[-1] is not None):
        decisions.append(speaker.act(observation))
        if decisions[-1] is not None:
            assert decisions[-1].chunk is not None
            for row in decisions[-1].chunk.deltas:
                observation, *_ = env.step(np.clip(row, env.action_space.low, env.action_space.high))
    return decisions


@for_every_policy
@in_every_format
def test_its_motion_is_what_its_words_mean_in_the_format_it_was_given(policy, action_format):
    reader = get_format(action_format)
    decisions = [decision for decision in play(policy, action_format) if decision is not None]
    assert decisions
    for decision in decisions:
        assert decision.chunk is not None
        np.testing.assert_array_equal(decision.chunk.deltas, reader.read(decision.action).deltas)
        assert decision.chunk.text == decision.action
        assert decision.subtask
        assert decision.plan


@for_every_policy
def test_the_same_seed_gives_the_same_words(policy):
    def words(seed: int) -> list[str]:
        return [decision.action for decision in play(policy, "vlm2vla", seed=seed) if decision is not None]

    assert words(5) == words(5)


@for_every_policy
@pytest.mark.parametrize("task", TASKS)
def test_it_runs_every_task_to_the_end(policy, task):
    env = gym.make(TASKS[task].env_id, backend="point", image_size=(48, 64))
    result = run_episode(env, policy, spec=PolicySpec(policy))
    assert result.steps == TASKS[task].max_steps
    assert result.outcome in (Outcome.SUCCESS, Outcome.FAILURE)
    assert result.reason == "" or result.reason.startswith("done: ")


@for_every_policy
def test_its_factory_takes_a_context_and_is_found_without_making_it(policy):
    check_policy(policy)
    module, factory = POLICIES[policy].split(":")
    assert callable(getattr(importlib.import_module(module), factory))


@in_every_format
def test_hold_says_stay_and_moves_nothing(action_format):
    for decision in play("hold", action_format):
        assert decision is not None
        assert decision.chunk is not None
        np.testing.assert_array_equal(decision.chunk.deltas, [[0, 0, 0, 0, 0, 0, 1]])


def test_random_stays_within_its_bounds_and_uses_them():
    rows = np.concatenate(
        [decision.chunk.deltas for seed in range(30) for decision in play("random", "vlm2vla", seed=seed)]
    )
    moves, turns = rows[:, :3], rows[:, 3:6]
    assert np.abs(moves).max() <= MAX_MOVE + 1e-6
    assert moves.min(axis=0) == pytest.approx([-MAX_MOVE] * 3)
    assert moves.max(axis=0) == pytest.approx([MAX_MOVE] * 3)
    assert np.abs(turns[:, :2]).max() == 0
    assert np.abs(turns[:, 2]).max() == pytest.approx(MAX_TURN)
    assert set(rows[:, 6]) == {0.0, 1.0}
    assert np.abs(moves.mean(axis=0)).max() < 0.005, "it drifts nowhere"


def test_random_says_other_words_for_another_seed():
    assert play("random", "vlm2vla", seed=0)[0] != play("random", "vlm2vla", seed=1)[0]


def test_a_context_refuses_noise_that_is_no_distance():
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(errors.SettingError, match="The noise is"):
            PolicyContext("carrot_on_plate", 60, get_format("vlm2vla"), noise_cm=noise)


def test_a_policy_of_your_own_gets_the_same_context_and_may_take_noise():
    context = PolicyContext("carrot_on_plate", 60, get_format("prose"), noise_cm=2.0)
    policy = load_policy("fakes:make_words", context)
    policy.reset("put carrot on plate")
    decision = policy.act({})
    assert decision is not None
    assert decision.chunk is None, "it writes rows, and prose was asked for"


def test_a_package_that_is_missing_inside_a_policy_is_not_mistaken_for_a_wrong_name(tmp_path, monkeypatch):
    (tmp_path / "needy_policy.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ExtensionError, match=r"ModuleNotFoundError: No module named 'a_package_that_is_not_there' .*line 1"
    ):
        check_policy("needy_policy:make")
