"""An answer that was cut off is recorded, counted and asked again; it is never carried out, whatever its stage."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings, StageSampling
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.policies.verifier import ModelVerifier
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier
from vlm2vla_sim.types import Outcome, Stage

GOOD = {
    "subtasks": ["1. grasp the carrot\n2. put it on the plate"],
    "plan": ["move down"],
    "action": ["[[3, 0, -8, 1]]"],
}
LIMITS = {"subtasks": 192, "plan": 96, "action": 2048}


def look() -> dict[str, object]:
    return {"pixels": {"primary": np.zeros((8, 8, 3), np.uint8)}, "agent_pos": np.zeros(7, np.float32)}


def policy_with(answers, name: str = "vlm2vla", **settings) -> LanguageActionPolicy:
    model = FakeTextModel({**GOOD, **answers})
    policy = LanguageActionPolicy(model, get_format(name), FakeVerifier(), settings=LoopSettings(**settings))
    policy.reset("put carrot on plate", 1)
    return policy


@pytest.mark.parametrize("stage", GOOD)
def test_an_answer_that_was_cut_off_is_asked_again_although_it_can_be_read(stage: str) -> None:
    # Each of them reads well: the list lacks its second subtask, the others may lack anything.
    begun = {"subtasks": "1. grasp the carrot", "plan": "move", "action": "[[9, 0, 0, 1]]"}[stage]
    cut = Stage(stage, begun, tokens=LIMITS[stage], finish="length")
    policy = policy_with({stage: [cut, cut, *GOOD[stage]]})
    decision = policy.act(look())
    tried = [one for one in decision.stages if one.name == stage]
    assert [one.finish for one in tried] == ["length", "length", "stop"]
    assert all(one.error.startswith(f"The answer was cut off after {LIMITS[stage]} tokens") for one in tried[:2])
    assert all(f"Raise LoopSettings.sampling.{stage}.max_tokens" in one.error for one in tried[:2])
    assert (decision.plan, decision.action) == ("move down", "[[3, 0, -8, 1]]")
    assert decision.parse_failures == (2 if stage == "action" else 0)
    assert policy._subtasks == ("grasp the carrot", "put it on the plate")


@pytest.mark.parametrize("stage", GOOD)
def test_an_answer_that_stays_cut_off_holds_the_arm_and_the_reason_is_told(stage: str) -> None:
    cut = Stage(stage, GOOD[stage][0], tokens=LIMITS[stage], finish="length")
    decision = policy_with({stage: [cut]}, resample=1).act(look())
    assert decision.chunk is None
    assert decision.error.startswith(f"{stage}: The answer was cut off after {LIMITS[stage]} tokens")
    assert [one.name for one in decision.stages][-2:] == [stage, stage], "nothing is asked that builds on it"
    greedy = policy_with({stage: [cut]}, sampling=StageSampling().greedy()).act(look())
    assert [one.name for one in greedy.stages].count(stage) == 1, "a greedy model would say the same"


def test_the_limit_of_free_answers_is_named_by_its_option() -> None:
    cut = Stage("action", "[[3, 0, -8, 1]]", tokens=30, finish="length")
    decision = policy_with({"action": [cut]}, constrained=False, free_tokens=30, resample=0).act(look())
    assert "cut off after 30 tokens, the limit that was asked for. Raise free_tokens." in decision.error


def test_an_answer_that_ends_before_its_limit_was_cut_off_by_something_else() -> None:
    cut = Stage("plan", "move", tokens=17, finish="length")
    decision = policy_with({"plan": [cut]}, resample=0).act(look())
    assert "after 17 tokens, before the limit of 96 that was asked for: the model's context or" in decision.error


def test_an_answer_of_as_many_tokens_as_were_asked_for_was_cut_off_where_nobody_says_why_it_ended() -> None:
    unknown = Stage("plan", "move", tokens=96)
    decision = policy_with({"plan": [unknown, "move down"]}).act(look())
    assert [one.finish for one in decision.stages if one.name == "plan"] == ["length", "stop"]
    whole = dataclasses.replace(unknown, tokens=96, finish="stop")
    assert policy_with({"plan": [whole]}).act(look()).plan == "move", "the model ended it with its last token"


def test_an_answer_that_ended_in_another_way_is_not_used() -> None:
    filtered = Stage("action", "[[3, 0, -8, 1]]", tokens=9, finish="content_filter")
    decision = policy_with({"action": [filtered]}, resample=0).act(look())
    assert decision.chunk is None
    assert "The answer ended with 'content_filter', not with 'stop'." in decision.error


def test_an_episode_counts_what_was_cut_off() -> None:
    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(32, 32))
    cut = Stage("action", "[[3, 0, -8, 1]]", tokens=2048, finish="length")
    policy = policy_with({"action": [cut]}, resample=1, max_attempts=3)
    result = run_episode(env, policy, spec=PolicySpec("fake"))
    assert result.outcome is Outcome.FAILURE
    assert (result.truncations, result.parse_failures) == (6, 6)
    assert {str(decision["deltas"]) for decision in result.decisions} == {"None"}
    env.close()


# Where nobody says why an answer ended --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prose", "integers"])
def test_where_nobody_says_why_an_answer_ended_a_format_that_does_not_show_it_is_refused(name: str) -> None:
    text = get_format(name).example
    with pytest.raises(
        SettingError, match=rf"does not say .*finish_reason.*format {name!r} do not show where they end"
    ):
        policy_with({"action": [Stage("action", text)]}, name).act(look())
    assert policy_with({"action": [text]}, name).act(look()).chunk is not None, "the model says 'stop'"


def test_a_list_that_is_closed_shows_its_end_and_bare_rows_do_not() -> None:
    closed, bare = "Here: [[3, 0, -8, 1], [0, 0, 0, 0]]", "[3, 0, -8, 1]"
    assert policy_with({"action": [Stage("action", closed)]}).act(look()).chunk.deltas.shape == (2, 7)
    decision = policy_with({"action": [Stage("action", bare), Stage("action", closed)]}).act(look())
    assert decision.parse_failures == 1, "bare rows may be the first of several, so it is asked again"
    assert "this text does not show where it ends" in decision.stages[-2].error
    assert policy_with({"action": [bare]}).act(look()).chunk.deltas.shape == (1, 7), "the model says 'stop'"


# The verifier ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constrained", [True, False])
def test_a_verdict_that_was_cut_off_is_retry_and_says_so(constrained: bool) -> None:
    begun = Stage("verify", "advance", tokens=16 if constrained else 128, finish="length")
    verifier = ModelVerifier(FakeTextModel({"verify": [begun]}), constrained=constrained)
    picture = np.zeros((4, 4, 3), np.uint8)
    judgement = verifier.judge(picture, picture, current="grasp the carrot", following="")
    assert not judgement.advance
    assert judgement.stage.error.startswith("The answer was cut off after")
    assert judgement.stage.error.endswith("Taken as retry.")
    assert judgement.stage.finish == "length"
