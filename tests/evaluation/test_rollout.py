"""One episode: whatever the policy says and whatever breaks, the result says what happened and whose fault it was."""

from __future__ import annotations

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest
from fakes import (
    AbortedBackend,
    Babbler,
    BlindBackend,
    BuggyBackend,
    FailingPolicy,
    FaultyBackend,
    HeldToTheEndBackend,
    InterruptedBackend,
    ScriptedWords,
    SolvedEarlyBackend,
)

import vlm2vla_sim
from vlm2vla_sim import errors
from vlm2vla_sim.envs.motion import StepLimits
from vlm2vla_sim.envs.tasks import OWN_TASK_ID, TASKS
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import episode_seed, make_policy
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import EpisodeResult, Outcome


def make_env(backend="point", task="carrot_on_plate", **options):
    name = backend if isinstance(backend, str) else f"fakes:{backend.__name__}"
    return gym.make(TASKS[task].env_id, backend=name, image_size=(48, 64), **options)


def words(*texts: str, action_format="vlm2vla") -> ScriptedWords:
    return ScriptedWords(PolicyContext("carrot_on_plate", 60, get_format(action_format)), *texts)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("action_format", ["vlm2vla", "prose", "integers"])
def test_the_scripted_policy_solves_every_task_with_words_of_every_format(task, action_format):
    result = run_episode(make_env(task=task), "scripted", episode_id=5, spec=PolicySpec("scripted", action_format))
    assert result.outcome is Outcome.SUCCESS
    assert result.success_at_end
    assert result.success_once
    assert result.success_released
    assert result.success_settled
    assert result.grasped
    assert result.consecutive_grasp
    assert result.moved_correct_object
    assert result.on_target
    assert result.parse_failures == 0
    assert result.steps == TASKS[task].max_steps


def test_holding_still_fails_with_no_credit():
    result = run_episode(make_env(), "hold")
    assert result.outcome is Outcome.FAILURE
    assert not any((result.success_at_end, result.success_once, result.grasped, result.moved_correct_object))
    assert result.first_success_step is None
    assert result.steps == 60


@pytest.mark.parametrize("env_id", [TASKS["carrot_on_plate"].env_id, OWN_TASK_ID])
def test_an_episode_may_be_shorter_than_its_task_and_not_longer(env_id):
    """A longer one was announced to the policy and judged at a step that SIMPLER does not have, or ended early."""

    def made(steps: int):
        own = {"task": "carrot_on_plate"} if env_id == OWN_TASK_ID else {}
        return gym.make(env_id, backend="point", image_size=None, max_episode_steps=steps, **own)

    with pytest.raises(SettingError, match=r"max_episode_steps=61, and an episode of carrot_on_plate has 60 control"):
        run_episode(made(61), "scripted")
    assert run_episode(made(60), "scripted").steps == 60
    assert run_episode(made(7), "hold").steps == 7
    longer = dataclasses.replace(TASKS["carrot_on_plate"], max_steps=80, env_id=OWN_TASK_ID)
    assert run_episode(gym.make(OWN_TASK_ID, task=longer, backend="point", image_size=None), "scripted").steps == 80


def test_the_result_says_what_it_was_made_with():
    spec = PolicySpec("scripted", "prose", noise_cm=0.5)
    result = run_episode(make_env(), "scripted", episode_id=7, seed=11, spec=spec)
    assert (result.task, result.episode_id, result.seed) == ("carrot_on_plate", 7, 11)
    assert (result.backend, result.profile) == ("point", "point")
    assert (result.policy, result.action_format, result.noise_cm) == ("scripted", "prose", 0.5)
    assert result.instruction == "put carrot on plate"
    assert result.versions["vlm2vla_sim"] == vlm2vla_sim.__version__
    assert result.versions["numpy"] == np.__version__
    assert result.seconds > 0
    assert EpisodeResult.from_json(result.to_json()) == result


def test_every_decision_is_kept_with_its_words_its_step_and_its_motion():
    result = run_episode(make_env(), words("[[5, 0, 0, 1]]", "[[0, 5, 0, 1], [0, 0, 0, 0]]"))
    first, second = json.loads(result.to_json())["decisions"]
    assert (first["step"], first["action"], first["plan"]) == (0, "[[5, 0, 0, 1]]", "plan")
    assert first["deltas"] == [[0.05, 0, 0, 0, 0, 0, 1]]
    assert second["step"] == 2, "5 cm are two steps of 2.5 cm"
    assert [row[6] for row in second["deltas"]] == [1, 0]


def test_success_before_the_end_is_success_once_but_not_success():
    result = run_episode(make_env(SolvedEarlyBackend), "hold")
    assert result.outcome is Outcome.FAILURE
    assert not result.success_at_end
    assert result.success_once
    assert result.first_success_step == 10
    assert not result.success_released
    assert result.grasped
    assert result.consecutive_grasp
    assert not result.on_target


def test_success_with_the_object_still_in_the_gripper_counts_as_simplers_success_but_not_as_released():
    result = run_episode(make_env(HeldToTheEndBackend), "hold")
    assert result.success_at_end
    assert not result.success_released
    assert result.grasped
    assert not result.consecutive_grasp, "held for 4 steps; 5 in a row are asked for"


def test_an_environment_that_ends_at_success_ends_the_episode():
    result = run_episode(make_env(SolvedEarlyBackend, terminate_on_success=True), "hold")
    assert (result.steps, result.outcome) == (10, Outcome.SUCCESS)


def test_a_policy_that_is_done_holds_still_to_the_end_with_the_gripper_as_it_was_told():
    policy = words("[[3, 0, 0, 0]]")
    env = make_env()
    result = run_episode(env, policy)
    state = env.unwrapped.status.robot
    assert result.steps == 60
    assert len(result.decisions) == 1
    assert state.gripper == 0.0
    np.testing.assert_allclose(state.tcp.position, [0.31, 0.03, 0.15], atol=1e-6)


@pytest.mark.parametrize("noise", ["hello", "", "[[1, 2, nan, 0]]", "[[" * 5000])
def test_unreadable_words_hold_still_for_one_step_and_count_as_the_policys_failure(noise):
    env = make_env()
    result = run_episode(env, words(noise, "[[3, 0, 0, 1]]"))
    assert result.outcome is Outcome.FAILURE
    assert result.parse_failures == 1
    first, second = result.decisions
    assert (first["deltas"], first["action"]) == (None, noise)
    assert first["error"]
    assert second["step"] == 1
    np.testing.assert_allclose(env.unwrapped.status.robot.tcp.position, [0.31, 0.03, 0.15], atol=1e-6)


def test_a_policy_that_never_makes_sense_fails_every_step_and_is_not_an_error():
    result = run_episode(make_env(), Babbler())
    assert result.outcome is Outcome.FAILURE
    assert (result.steps, result.parse_failures) == (60, 60)
    assert all(decision["error"] for decision in result.decisions)


def test_steps_cut_short_at_the_edge_of_the_workspace_are_counted():
    result = run_episode(make_env(), words("[[0, 0, -25, 1]]"))
    assert result.clipped_steps == 4, "15 cm above the table: 6 steps of 2.5 cm go down, 4 do not"


def test_limits_decide_into_how_many_steps_a_row_is_split():
    coarse = run_episode(make_env(), words("[[10, 0, 0, 1]]", "[[0, 0, 0, 1]]"), limits=StepLimits(step=0.05))
    assert [decision["step"] for decision in coarse.decisions] == [0, 2]


def test_the_policy_is_shown_what_the_camera_shows_after_its_last_motion():
    policy = words("[[3, 0, 0, 1]]", "[[3, 0, 0, 1]]")
    run_episode(make_env(), policy, seed=9)
    assert policy.instruction == "put carrot on plate"
    assert policy.seed == 9
    ahead = [float(seen["agent_pos"][0]) for seen in policy.seen]
    np.testing.assert_allclose(ahead, [0.28, 0.31, 0.34], atol=1e-6)
    assert policy.seen[0]["pixels"]["primary"].shape == (48, 64, 3)


def test_a_fault_of_the_backend_is_an_error_with_what_happened_until_then(tmp_path):
    log = tmp_path / "logs" / "trouble.txt"
    result = run_episode(make_env(FaultyBackend), "hold", episode_id=1, log=log)
    assert result.outcome is Outcome.ERROR
    assert result.reason == "BackendFaultError: The link to the robot was lost. (traceback: trouble.txt)"
    assert (result.steps, len(result.decisions)) == (2, 3)
    assert "fakes.py" in log.read_text()


@pytest.mark.parametrize(
    ("backend", "policy", "words_of_it"),
    [(BuggyBackend, "hold", "ZeroDivisionError: a bug of ours"), ("point", FailingPolicy(), "IndexError: list index")],
)
def test_our_own_crash_is_an_error_and_never_the_policys_failure(backend, policy, words_of_it, tmp_path):
    result = run_episode(make_env(backend), policy, episode_id=1, log=tmp_path / "log.txt")
    assert result.outcome is Outcome.ERROR
    assert result.reason.startswith(words_of_it)
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_a_person_who_stops_the_episode_aborts_it():
    result = run_episode(make_env(AbortedBackend), "hold", episode_id=1)
    assert (result.outcome, result.reason) == (Outcome.ABORTED, "Stopped by the operator.")


def test_ctrl_c_is_not_swallowed_and_leaves_a_video_that_plays(tmp_path, read_video):
    with pytest.raises(KeyboardInterrupt):
        run_episode(make_env(InterruptedBackend), "hold", episode_id=1, videos=tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.name == "ep0001_carrot_on_plate_unfinished.mp4"
    assert len(read_video(left)) == 3


def test_an_episode_beyond_simplers_grid_is_refused_with_the_way_out():
    with pytest.raises(errors.EpisodeError, match=r"no episode 24.*0 to 23.*'layout': 'random'"):
        run_episode(make_env(), "hold", episode_id=24)


def test_what_every_episode_would_meet_is_raised_instead_of_counted():
    with pytest.raises(errors.RendererError, match="install libegl1"):
        run_episode(make_env(BlindBackend), "hold")
    with pytest.raises(errors.UnknownNameError, match="Did you mean 'scripted'"):
        run_episode(make_env(), "scriptd")
    with pytest.raises(errors.SettingError, match="'grid' or 'random'"):
        run_episode(make_env(), "hold", layouts="some")


def test_another_environment_is_refused():
    env = gym.Env()
    with pytest.raises(errors.EpisodeError, match="needs a WidowXEnv; it was given Env"):
        run_episode(env, "hold")


def test_random_layouts_follow_the_seed_and_have_no_end():
    env = make_env()

    def start(seed: int) -> list[float]:
        run_episode(env, words(), episode_id=1000, seed=seed, layouts="random")
        return env.unwrapped.scene_state().source.pose.position.tolist()

    assert start(1) == start(1)
    assert start(1) != start(2)


def test_the_seed_of_an_episode_depends_on_run_task_and_episode_and_never_changes():
    assert episode_seed(0, "carrot_on_plate", 0) == 778008565
    seeds = {episode_seed(s, t, k) for s in range(3) for t in TASKS for k in range(24)}
    assert len(seeds) == 3 * 4 * 24


def test_the_same_seed_gives_the_same_episode_and_another_seed_another_one():
    def decisions(seed: int) -> list[str]:
        return [decision["action"] for decision in run_episode(make_env(), "random", seed=seed).decisions]

    assert decisions(3) == decisions(3)
    assert decisions(3) != decisions(4)


def test_a_policy_that_takes_no_noise_refuses_it():
    with pytest.raises(errors.SettingError, match="'hold' takes no noise, but 2 cm"):
        make_policy(make_env(), PolicySpec("hold", noise_cm=2))


def test_the_video_is_named_after_the_outcome_and_has_a_frame_for_the_start_and_every_step(tmp_path, read_video):
    result = run_episode(make_env(), "scripted", episode_id=3, videos=tmp_path / "videos")
    assert result.video == "videos/ep0003_carrot_on_plate_success.mp4"
    assert len(read_video(tmp_path / result.video)) == 61
    again = run_episode(make_env(), "scripted", episode_id=3, videos=tmp_path / "videos")
    assert again.video == "videos/ep0003_carrot_on_plate_success_2.mp4"


def test_an_episode_that_broke_has_a_video_that_says_so(tmp_path, read_video):
    result = run_episode(make_env(FaultyBackend), "hold", episode_id=1, videos=tmp_path / "videos")
    assert result.video == "videos/ep0001_carrot_on_plate_error.mp4"
    assert len(read_video(tmp_path / result.video)) == 3


@pytest.mark.parametrize("form", ["flat", "image"])
def test_an_environment_for_other_libraries_is_refused_instead_of_failing_in_the_policy(form):
    with pytest.raises(
        errors.SettingError, match=f"made with observation='{form}'; policies and recordings need 'dict'"
    ):
        run_episode(make_env(observation=form), "hold")
