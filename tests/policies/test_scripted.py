"""The scripted policy solves every task by speaking, says what it means, and gets worse as told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import EpisodeError, SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import make_policy
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy
from vlm2vla_sim.policies.scripted import ScriptedPolicy
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Decision, EpisodeResult, Outcome, Status

SMALL = (32, 48)
FORMATS = ("vlm2vla", "prose", "integers")
Run = Callable[..., EpisodeResult]


class UnknowingBackend(PointBackend):
    """Like a real arm: it knows its own state and nothing of the scene."""

    def status(self) -> Status:
        return Status(super().status().robot, scene=None)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """`run(task, format, episode_id=, ...)`: the result of one scripted episode on the twin."""
    envs: dict[str, gym.Env] = {}

    def play(task: str, action_format: str = "vlm2vla", *, noise_cm: float = 0.0, **options: Any) -> EpisodeResult:
        if task not in envs:
            envs[task] = gym.make(TASKS[task].env_id, image_size=SMALL)
        return run_episode(envs[task], "scripted", spec=PolicySpec("scripted", action_format, noise_cm), **options)

    yield play
    for env in envs.values():
        env.close()


@pytest.mark.parametrize("action_format", FORMATS)
@pytest.mark.parametrize("task", TASKS)
def test_it_solves_every_task_in_every_format(run, task, action_format):
    result = run(task, action_format, episode_id=1)
    assert result.outcome is Outcome.SUCCESS, [decision["action"] for decision in result.decisions]
    assert result.success_at_end
    assert result.success_released
    assert result.grasped
    assert result.consecutive_grasp
    assert result.moved_correct_object
    assert result.parse_failures == 0
    assert result.clipped_steps == 0
    assert result.steps == TASKS[task].max_steps


def test_it_solves_a_random_layout_as_well(run):
    assert run("spoon_on_towel", "vlm2vla", seed=5, layouts="random").outcome is Outcome.SUCCESS


def decisions(task: str, action_format: str, *, noise_cm: float = 0.0, seed: int = 0) -> list[Decision]:
    """All it says in one episode on the point robot."""
    env = gym.make(TASKS[task].env_id, backend="point", image_size=SMALL)
    policy = make_policy(env, PolicySpec("scripted", action_format, noise_cm))
    observation, info = env.reset(options={"episode_id": 0})
    policy.reset(info["instruction"], seed)
    said = []
    while (decision := policy.act(observation)) is not None and len(said) < 12:
        said.append(decision)
        for row in decision.chunk.deltas:
            observation, *_ = env.unwrapped.step(row)
            for _ in range(6):  # a long row is more than one step, and the gripper takes its time
                left = np.array([0, 0, 0, 0, 0, 0, row[6]], np.float32)
                observation, *_ = env.unwrapped.step(left)
    return said


@pytest.mark.parametrize("action_format", FORMATS)
def test_it_lists_its_subtasks_once_and_then_plans_and_acts(action_format):
    first, *later = decisions("stack_cube", action_format)
    assert [stage.name for stage in first.stages] == ["subtasks", "plan", "action"]
    assert first.stages[0].text == "1. grasp the green cube\n2. put the green cube on the yellow cube"
    assert later
    for decision in [first, *later]:
        assert [stage.name for stage in decision.stages][-2:] == ["plan", "action"]
        assert decision.stages[-2].text == decision.plan
        assert decision.stages[-1].text == decision.action
        assert decision.subtask in first.stages[0].text
    for decision in later:
        assert [stage.name for stage in decision.stages] == ["plan", "action"]


@pytest.mark.parametrize("action_format", FORMATS)
@pytest.mark.parametrize("task", TASKS)
def test_its_chunk_is_what_its_words_mean(task, action_format):
    reader = get_format(action_format)
    said = decisions(task, action_format)
    assert len(said) >= 2
    for decision in said:
        np.testing.assert_array_equal(decision.chunk.deltas, reader.read(decision.action).deltas)


def test_its_plan_names_the_direction_in_which_its_words_move():
    said = decisions("carrot_on_plate", "prose")
    above = next(decision for decision in said if "above the carrot" in decision.plan)
    # In episode 0 the carrot lies 10 cm in front of the gripper and 11 cm to its left.
    assert "left" in above.plan
    assert "forward" in above.plan
    assert above.chunk.deltas[-1][0] > 0.05
    assert above.chunk.deltas[-1][1] > 0.05
    assert "move forward" in above.action


def test_without_noise_it_says_the_same_whatever_the_seed(run):
    words = [[d["action"] for d in run("carrot_on_plate", episode_id=4, seed=seed).decisions] for seed in (0, 0, 1)]
    assert words[0] == words[1] == words[2]


def test_noise_is_drawn_from_the_seed():
    def words(seed: int) -> list[str]:
        return [decision.action for decision in decisions("carrot_on_plate", "vlm2vla", noise_cm=3.0, seed=seed)]

    assert words(1) == words(1)
    assert len({tuple(words(seed)) for seed in range(6)}) >= 4


def test_noise_in_centimetres_is_how_far_off_it_goes():
    """The first move goes above where it believes the carrot to be: its spread is the noise."""
    exact = decisions("carrot_on_plate", "integers")[0].chunk.deltas[-1][:2]
    seen = []
    for seed in range(150):
        env = gym.make(TASKS["carrot_on_plate"].env_id, backend="point", image_size=SMALL)
        policy = make_policy(env, PolicySpec("scripted", "integers", 2.0))
        observation, _ = env.reset(options={"episode_id": 0})
        policy.reset("", seed)
        seen.append(policy.act(observation).chunk.deltas[-1][:2] - exact)
    errors = np.array(seen)
    np.testing.assert_allclose(errors.std(axis=0), 0.02, rtol=0.2)
    np.testing.assert_allclose(errors.mean(axis=0), 0.0, atol=0.006)


def test_much_noise_makes_it_fail(run):
    results = [run("stack_cube", episode_id=number, seed=number, noise_cm=6.0) for number in range(4)]
    assert sum(result.outcome is Outcome.SUCCESS for result in results) <= 2


def test_an_object_shot_off_the_table_is_a_failure_and_no_crash():
    env = gym.make(TASKS["stack_cube"].env_id, backend="point", image_size=SMALL).unwrapped
    observation, info = env.reset(options={"episode_id": 0})
    lost = env.scene_state()
    pose = replace(lost.source.pose, position=np.array([-6.2, 0.5, -10.6]))  # seen on the true scenes, at 4 cm of noise
    policy = ScriptedPolicy(
        lambda: replace(lost, source=replace(lost.source, pose=pose)), lambda: env.status.robot, get_format("vlm2vla")
    )
    policy.reset(info["instruction"])
    assert policy.act(observation).chunk.deltas[-1][:3].tolist() == pytest.approx([-0.5, 0.5, 0.0], abs=0.06)


def test_it_is_refused_where_nobody_knows_the_truth():
    context = PolicyContext("carrot_on_plate", 60, get_format("vlm2vla"))
    with pytest.raises(
        SettingError, match=r"reads the simulator's ground truth, which is not known here\. Use another policy"
    ):
        load_policy("scripted", context)
    env = gym.make(TASKS["carrot_on_plate"].env_id, backend=f"{__name__}:UnknowingBackend", image_size=SMALL)
    with pytest.raises(EpisodeError, match=r"Unknowing.* does not know where the objects are"):
        run_episode(env, "scripted", spec=PolicySpec("scripted"))
