"""Tasks in which the words decide: the same scenes, and whoever does not listen fails half of them."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from vlm2vla_sim.core.goals import LIFTED, ON, Goal
from vlm2vla_sim.envs.card_pictures import PICTURES, draw_card
from vlm2vla_sim.envs.instruction_check import check_instruction
from vlm2vla_sim.envs.tasks import SUITE_TASKS, environment, grounding
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import widowx
from vlm2vla_sim.evaluation.suite_file import get_suite
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.scripted import ScriptedPolicy
from vlm2vla_sim.types import EpisodeResult


def scene_of(task, layout):
    """What is seen of an episode: looks and places."""
    return sorted((spec.look, spec.colour, spec.card, place.xy, place.yaw) for spec, place in task.places(layout))


@pytest.mark.parametrize("group", grounding.GROUPS, ids=lambda group: group[0].name)
def test_only_the_words_differ_between_the_tasks_of_a_group(group):
    assert len({task.instruction for task in group}) == len(group)
    for layouts in zip(*(task.layouts for task in group), strict=True):
        scenes = [scene_of(task, layout) for task, layout in zip(group, layouts, strict=True)]
        assert all(scene == scenes[0] for scene in scenes)
    wanted = [(task.source.name, task.target.name if not task.goals else "") for task in group]
    assert len(set(wanted)) == len(group), "each wants something else, and no answer fits two of them"


@pytest.mark.parametrize(
    "group", [g for g in grounding.GROUPS if g not in (grounding.SIDE, grounding.SIDE_OF_TARGET)], ids=str
)
def test_no_side_of_the_table_is_right_in_more_than_half_of_the_episodes_unless_the_words_name_it(group):
    named = {grounding.RELATION, grounding.RELATION_SWAPPED}
    for task in group:
        first = [layout.source_xy for layout in task.layouts[:4]]
        decided = [layout.target_xy for layout in task.layouts[:4]] if len(set(first)) <= 2 else first
        left = sum(xy[1] < 0 for xy in decided)
        assert left == 2 or group in named, task.name


def test_every_task_is_in_a_suite_and_can_be_asked_for_by_its_name():
    rows = [row for name in ("grounding", "composition") for row in get_suite(name).rows]
    assert sorted(itertools.chain.from_iterable(row.condition.tasks for row in rows)) == sorted(SUITE_TASKS)
    assert {row.backends for row in rows} == {("mujoco", "simpler")}


@pytest.mark.parametrize("task", SUITE_TASKS.values(), ids=SUITE_TASKS)
def test_its_own_instruction_is_accepted_and_that_of_another_candidate_refused(task):
    assert check_instruction(task.instruction, task) is True
    for group in grounding.GROUPS:
        for other in group:
            if task in group and other is not task:
                with pytest.raises(SettingError, match="is that of"):
                    check_instruction(other.instruction, task)


@pytest.mark.parametrize(
    ("task", "instruction", "fits"),
    [
        ("red_block_on_plate", "place the red block onto the plate", True),
        ("red_block_on_plate", "move the blue block to the plate", False),
        ("carrot_on_red_plate", "place the carrot on the plate", None),
        ("carrot_on_red_plate", "place the carrot on the blue plate", False),
        ("lift_carrot_on_towel", "place the carrot on the plate", False),
        ("carrot_and_spoon", "put the spoon on the towel and the carrot on the plate", True),
        ("carrot_and_spoon", "place the carrot on the towel and the spoon on the plate", False),
    ],
)
def test_other_words_are_read_by_what_they_name(task, instruction, fits):
    if fits is False:
        with pytest.raises(SettingError):
            check_instruction(instruction, SUITE_TASKS[task])
    else:
        assert check_instruction(instruction, SUITE_TASKS[task]) is fits


def test_pictures_are_told_apart_at_the_size_of_a_small_image():
    small = {name: np.asarray(Image.fromarray(draw_card(name)).resize((24, 20)), np.float64) for name in PICTURES}
    for one, other in itertools.combinations(small, 2):
        assert np.abs(small[one] - small[other]).mean() > 10, (one, other)


# On the twin.


def run(task: str, *goals: Goal) -> EpisodeResult:
    """The second episode with a policy that pursues `goals`, whatever it is told; without any, those of the task."""
    env_id, own = environment(SUITE_TASKS[task])
    with gym.make(env_id, image_size=None, **own) as env:
        inner = widowx(env)
        deaf = ScriptedPolicy(inner.scene_state, lambda: inner.status.robot, get_format("vlm2vla"), goals=goals)
        return run_episode(env, deaf if goals else "scripted", episode_id=1)


@pytest.mark.parametrize(
    ("right", "wrong", "goal", "failure"),
    [
        ("red_block_on_plate", "blue_block_on_plate", Goal(ON, "red_block", "plate"), "wrong_object"),
        ("carrot_on_cat", "carrot_on_dog", Goal(ON, "carrot", "cat_card"), "wrong_target"),
        ("lift_carrot_on_plate", "lift_carrot_on_towel", Goal(LIFTED, "carrot_on_plate"), "wrong_object"),
    ],
)
def test_a_policy_that_always_does_the_same_is_right_once_of_two_and_is_told_what_was_wrong(
    right, wrong, goal, failure
):
    assert run(right, goal).success_settled
    result = run(wrong, goal)
    assert (result.success_at_end, result.failure, result.goals_reached) == (False, failure, 0.0)


def test_two_steps_are_credited_one_by_one():
    assert run("carrot_and_spoon").success_settled
    half = run("carrot_and_spoon", Goal(ON, "spoon", "towel"))
    assert (half.success_at_end, half.goals_reached, half.failure) == (False, 0.5, "gave_up")
    assert half.moved_correct_object
