"""The closed loop: what it asks, in which order, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.envs.motion import split
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings, StageSampling
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier
from vlm2vla_sim.types import Outcome, Stage

FORMAT = get_format("vlm2vla")
GOOD = {
    "subtasks": ["1. grasp the carrot\n2. put it on the plate"],
    "plan": ["move down", "lift it", "lower it"],
    "action": ["[[3, 0, -8, 1]]", "[[0, 0, 5, 0], [0, 2, 0, 0], [0, 0, 0, 1]]"],
}


def look(shade: int) -> dict[str, object]:
    return {"pixels": {"primary": np.full((8, 8, 3), shade, np.uint8)}, "agent_pos": np.zeros(7, np.float32)}


def policy_with(model, verdicts: Sequence[bool] = (True,), **settings) -> tuple[LanguageActionPolicy, FakeVerifier]:
    verifier = FakeVerifier(verdicts)
    policy = LanguageActionPolicy(model, FORMAT, verifier, settings=LoopSettings(**settings))
    policy.reset("put carrot on plate", 1)
    return policy, verifier


class Recorder(FakeTextModel):
    """Keeps the questions whole."""

    def __init__(self, answers) -> None:
        super().__init__(answers)
        self.questions: list[Question] = []

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        self.questions += questions
        return super().answer(questions)


def test_asks_the_three_stages_in_order_and_lists_the_subtasks_only_once():
    model = FakeTextModel(GOOD)
    policy, verifier = policy_with(model, (False, True))
    first = policy.act(look(1))
    assert [stage.name for stage in first.stages] == ["subtasks", "plan", "action"]
    assert (first.subtask, first.plan, first.action) == ("grasp the carrot", "move down", "[[3, 0, -8, 1]]")
    np.testing.assert_allclose(first.chunk.deltas[0], [0.03, 0, -0.08, 0, 0, 0, 1], atol=1e-6)
    second = policy.act(look(2))
    assert [stage.name for stage in second.stages] == ["verify", "plan", "action"]
    assert second.subtask == "grasp the carrot", "the verifier said: again"
    third = policy.act(look(3))
    assert third.subtask == "put it on the plate", "the verifier said: done"
    assert [stage for stage, _ in model.prompts].count("subtasks") == 1
    assert verifier.questions == [("grasp the carrot", "put it on the plate")] * 2


def test_the_verifier_sees_the_picture_from_before_and_the_one_from_after():
    seen = []

    class Watcher(FakeVerifier):
        def judge(self, before, after, *, current, following, state=""):
            seen.append((int(before[0, 0, 0]), int(after[0, 0, 0])))
            return super().judge(before, after, current=current, following=following, state=state)

    policy = LanguageActionPolicy(FakeTextModel(GOOD), FORMAT, Watcher((False,)))
    policy.reset("put carrot on plate")
    for shade in (10, 20, 30):
        policy.act(look(shade))
    assert seen == [(10, 20), (20, 30)]


def test_each_stage_is_asked_with_the_papers_sampling_and_the_action_with_the_formats_grammar():
    model = Recorder(GOOD)
    policy, _ = policy_with(model)
    policy.act(look(1))
    asked = {question.stage: question for question in model.questions}
    assert [(q.sampling.temperature, q.sampling.top_p) for q in model.questions] == [
        (0.5, 0.95),
        (0.1, 0.95),
        (0.5, 0.95),
    ]
    assert asked["action"].grammar == FORMAT.grammar()
    assert asked["plan"].grammar is None
    assert "move down" in asked["action"].prompt, "the plan is part of the question about the action"
    assert len({question.seed for question in model.questions}) == 3


def test_the_same_seed_asks_with_the_same_seeds_and_another_one_with_others():
    seeds = []
    for seed in (5, 5, 6):
        model = Recorder(GOOD)
        policy, _ = policy_with(model)
        policy.reset("put carrot on plate", seed)
        policy.act(look(1))
        seeds.append([question.seed for question in model.questions])
    assert seeds[0] == seeds[1] != seeds[2]


def test_greedy_keeps_the_limits_and_drops_the_chance():
    greedy = StageSampling().greedy()
    assert greedy.plan == Sampling(temperature=0.0, top_p=1.0, max_tokens=StageSampling().plan.max_tokens)
    assert StageSampling().out_of_distribution().subtasks.temperature == 1.0


def test_a_verifier_that_always_says_yes_ends_the_episode_after_the_last_subtask_and_says_so():
    policy, verifier = policy_with(FakeTextModel(GOOD), (True,))
    decisions = [policy.act(look(k)) for k in range(3)]
    assert decisions[2] is None
    assert decisions[0] is not None
    assert decisions[1] is not None
    assert verifier.questions[-1] == ("put it on the plate", "")
    assert policy.ended == "done: the verifier advanced past the last of 2 subtasks"


def test_a_verifier_that_always_says_no_ends_after_the_allowed_attempts_and_says_so():
    policy, _ = policy_with(FakeTextModel(GOOD), (False,), max_attempts=4)
    made = 0
    while policy.act(look(made)) is not None:
        made += 1
        assert made < 50
    assert made == 4
    assert policy.ended == "gave up on 'grasp the carrot' after 4 attempts"


def test_every_subtask_gets_its_own_attempts():
    policy, _ = policy_with(FakeTextModel(GOOD), (False, True, False), max_attempts=2)
    decisions = [policy.act(look(k)) for k in range(4)]
    assert [decision.subtask for decision in decisions] == ["grasp the carrot"] * 2 + ["put it on the plate"] * 2
    assert policy.act(look(4)) is None
    assert policy.ended == "gave up on 'put it on the plate' after 2 attempts"


@pytest.mark.parametrize(("verdict", "reason"), [(True, "done: the verifier advanced"), (False, "gave up on 'grasp")])
def test_a_lying_verifier_still_leaves_a_full_episode_and_its_reason_in_the_result(verdict, reason):
    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(32, 32))
    policy, _ = policy_with(FakeTextModel(GOOD), (verdict,), max_attempts=2)
    result = run_episode(env, policy, spec=PolicySpec("fake"))
    assert result.outcome is Outcome.FAILURE
    assert result.steps == 60
    assert result.reason.startswith(reason)
    env.close()


def test_an_unreadable_action_is_asked_again_and_every_try_is_kept_and_counted():
    model = FakeTextModel({**GOOD, "action": ["up a bit", "[[1, 2]]", "[[3, 0, -8, 1]]"]})
    policy, _ = policy_with(model, constrained=False)
    decision = policy.act(look(1))
    assert decision.chunk is not None
    assert decision.parse_failures == 2
    assert [bool(stage.error) for stage in decision.stages if stage.name == "action"] == [True, True, False]
    assert decision.to_json()["stages"][2]["error"]


def test_an_action_that_stays_unreadable_gives_no_motion_and_the_reason_and_is_not_verified():
    model = FakeTextModel({**GOOD, "action": ["no idea"]})
    policy, verifier = policy_with(model, constrained=False, resample=2, max_attempts=3)
    decision = policy.act(look(1))
    assert decision.chunk is None
    assert decision.parse_failures == 3
    assert decision.error.startswith("action: ")
    policy.act(look(2))
    assert not verifier.questions, "nothing moved, so there is nothing to verify"
    policy.act(look(3))
    assert policy.act(look(4)) is None
    assert "3 attempts" in policy.ended


def test_after_an_unreadable_action_the_motion_before_it_is_not_verified_a_second_time():
    actions = [GOOD["action"][0], "no idea", GOOD["action"][1]]
    policy, verifier = policy_with(FakeTextModel({**GOOD, "action": actions}), (False,), constrained=False, resample=0)
    moved = [policy.act(look(k)).chunk is not None for k in range(3)]
    assert moved == [True, False, True]
    assert len(verifier.questions) == 1, "of the three decisions only the first had been executed and not verified"
    policy.act(look(3))
    assert len(verifier.questions) == 2


def test_a_greedy_model_is_not_asked_twice_because_it_would_say_the_same():
    model = FakeTextModel({**GOOD, "action": ["no idea"]})
    policy, _ = policy_with(model, sampling=StageSampling().greedy())
    assert policy.act(look(1)).parse_failures == 1


@pytest.mark.parametrize("stage", ["subtasks", "plan"])
def test_subtasks_or_a_plan_that_cannot_be_read_hold_the_arm_and_are_told(stage):
    policy, _ = policy_with(FakeTextModel({**GOOD, stage: [""]}), resample=1)
    decision = policy.act(look(1))
    assert decision.chunk is None
    assert decision.error.startswith(f"{stage}: ")
    assert [s.error != "" for s in decision.stages if s.name == stage] == [True, True]
    assert decision.parse_failures == 0, "no action text was written"


def test_without_reasoning_the_instruction_goes_straight_to_the_action():
    model = FakeTextModel(GOOD)
    policy = LanguageActionPolicy(model, FORMAT, None, settings=LoopSettings(reasoning=False, max_attempts=1))
    policy.reset("put carrot on plate")
    for shade in range(5):
        decision = policy.act(look(shade))
        assert [stage.name for stage in decision.stages] == ["action"]
        assert decision.plan == ""
    assert "put carrot on plate" in model.prompts[0][1]
    assert "motion plan" not in model.prompts[0][1]


def test_replanning_after_k_rows_carries_out_only_the_first_k_rows():
    policy, _ = policy_with(FakeTextModel({**GOOD, "action": GOOD["action"][1:]}), max_rows=2)
    decision = policy.act(look(1))
    assert len(decision.chunk.deltas) == 2
    assert decision.chunk.text == GOOD["action"][1], "what the model wrote stays whole"


@pytest.mark.parametrize(
    ("commanded", "height", "told"),
    [(True, 0.072, 6), (True, 0.102, 10), (False, 0.072, 7)],
    ids=["lags behind its target", "was stopped", "measured"],
)
def test_the_model_is_told_where_its_motion_was_to_end_unless_the_arm_was_stopped(commanded, height, told):
    model = Recorder(GOOD)
    policy, _ = policy_with(model, (False,), state=True, commanded_state=commanded)
    for z in (0.14, height):  # the action goes 8 cm down
        x = 0.30 if z == 0.14 else 0.33
        policy.act({**look(1), "agent_pos": np.array([x, 0, z, 0, 0, 0, 1], np.float32)})
    first, second = ([q.prompt for q in model.questions if q.stage == stage] for stage in ("plan", "action"))
    assert all("The gripper is at 30, 0, 14 cm" in asked[0] for asked in (first, second))
    assert all(f"The gripper is at 33, 0, {told} cm" in asked[1] for asked in (first, second))


def test_on_the_twin_the_commanded_place_is_the_controllers_target():
    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", image_size=(32, 32))
    turning = "[0, 0, 0, 0, 0, 45, 1], [5, 5, -5, 0, 0, 0, 1], [0, 0, -6, 0, 0, 0, 1]"
    lifting = f"[{turning}, [0, 0, 0, 0, 0, 0, 0], [0, 0, 6, 0, 0, 0, 0]]"
    for commanded in (True, False):
        model = Recorder({**GOOD, "action": [lifting]})
        policy, _ = policy_with(model, (False,), state=True, commanded_state=commanded)
        observation, _ = env.reset(options={"episode_id": 3})
        decision = policy.act(observation)
        for step in split(decision.chunk.deltas, gripper=1.0):
            observation, *_ = env.step(step)
        policy.act(observation)
        target = env.unwrapped.status.robot.target.position
        measured = observation["agent_pos"][:3]
        assert target[2] - measured[2] > 0.01, "lifting, it lags more than a centimetre behind"
        said = ", ".join(str(round(100 * float(value))) for value in (target if commanded else measured))
        assert f"The gripper is at {said} cm" in model.questions[-1].prompt
    env.close()


@pytest.mark.parametrize("name", ["vlm2vla", "prose", "integers"])
def test_every_format_goes_through_the_loop(name):
    action_format = get_format(name)
    model = FakeTextModel({**GOOD, "action": [action_format.example]})
    policy = LanguageActionPolicy(model, action_format, FakeVerifier())
    policy.reset("put carrot on plate")
    np.testing.assert_allclose(policy.act(look(1)).chunk.deltas[0][:3], [0.03, 0, -0.08], atol=1e-6)


def test_a_loop_without_anybody_to_verify_is_refused():
    with pytest.raises(SettingError, match="needs a verifier"):
        LanguageActionPolicy(FakeTextModel(GOOD), FORMAT, None)


@pytest.mark.parametrize("settings", [{"max_attempts": 0}, {"max_rows": 0}, {"resample": -1}])
def test_limits_that_make_no_sense_are_refused(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        LoopSettings(**settings)


@pytest.mark.parametrize(
    "sampling", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"max_tokens": 0}]
)
def test_sampling_that_makes_no_sense_is_refused(sampling):
    with pytest.raises(SettingError):
        Sampling(**sampling)


@pytest.mark.parametrize("name", ["vlm2vla", "prose", "integers"])
def test_the_loop_solves_all_carrot_episodes_by_prompts_and_grammar_alone(name):
    env = gym.make("vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(32, 32))
    spec = PolicySpec("oracle", action_format=name)
    results = [run_episode(env, "oracle", episode_id=k, spec=spec) for k in range(24)]
    assert [result.outcome for result in results] == [Outcome.SUCCESS] * 24
    assert not any(result.parse_failures for result in results)
    assert {result.reason for result in results} == {"done: the verifier advanced past the last of 2 subtasks"}
    env.close()
