"""The four tasks are SIMPLER's: words, lengths, and all 96 layouts in its order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import vlm2vla_sim
from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.tasks import TASKS, Layout, get_task
from vlm2vla_sim.errors import EpisodeError, UnknownNameError

# simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:248-266: the corners of a square, x first.
G0, G1, G2, G3 = (-0.235, -0.075), (-0.235, 0.075), (-0.085, -0.075), (-0.085, 0.075)
QUARTER = np.pi / 2
EGGPLANT_X = (-0.115, -0.095)
EGGPLANT_Y = (0.191, 0.201, 0.211, 0.221)


def close(layout: Layout, source: tuple[float, float], target: tuple[float, float], yaw: float) -> bool:
    return (
        np.allclose(layout.source_xy, source, atol=1e-9)
        and np.allclose(layout.target_xy, target, atol=1e-9)
        and np.isclose(layout.source_yaw, yaw)
        and layout.target_yaw == 0.0
    )


@pytest.mark.parametrize(
    ("name", "env_id", "simpler_id", "instruction", "steps"),
    [
        (
            "spoon_on_towel",
            "vlm2vla/WidowXSpoonOnTowel-v0",
            "PutSpoonOnTableClothInScene-v0",
            "put the spoon on the towel",
            60,
        ),
        (
            "carrot_on_plate",
            "vlm2vla/WidowXCarrotOnPlate-v0",
            "PutCarrotOnPlateInScene-v0",
            "put carrot on plate",
            60,
        ),
        (
            "stack_cube",
            "vlm2vla/WidowXStackCube-v0",
            "StackGreenCubeOnYellowCubeBakedTexInScene-v0",
            "stack the green block on the yellow block",
            60,
        ),
        (
            "eggplant_in_basket",
            "vlm2vla/WidowXEggplantInBasket-v0",
            "PutEggplantInBasketScene-v0",
            "put eggplant into yellow basket",
            120,
        ),
    ],
)
def test_a_task_says_simplers_words_and_takes_its_time(name, env_id, simpler_id, instruction, steps):
    task = TASKS[name]
    assert (task.name, task.env_id, task.simpler_id) == (name, env_id, simpler_id)
    assert task.instruction == instruction
    assert task.max_steps == steps
    assert len(task.layouts) == 24
    assert len(set(task.layouts)) == 24


def test_there_are_these_four_tasks_in_simplers_order():
    assert list(TASKS) == ["spoon_on_towel", "carrot_on_plate", "stack_cube", "eggplant_in_basket"]


@pytest.mark.parametrize(("name", "yaws"), [("spoon_on_towel", (0.0, QUARTER)), ("carrot_on_plate", (np.pi, -QUARTER))])
@pytest.mark.parametrize(
    ("episodes", "source", "target"),
    [((0, 1), G0, G1), ((2, 3), G0, G2), ((4, 5), G0, G3), ((6, 7), G1, G0), ((12, 13), G2, G0), ((22, 23), G3, G2)],
)
def test_a_pair_of_corners_comes_once_with_each_yaw(name, yaws, episodes, source, target):
    for episode, yaw in zip(episodes, yaws, strict=True):
        assert close(TASKS[name].layout(episode), source, target, yaw), (episode, TASKS[name].layout(episode))


def test_the_blocks_stand_first_on_the_small_square_then_on_the_large_one():
    layouts = TASKS["stack_cube"].layouts
    for half, first in ((0.05, 0), (0.10, 12)):
        low, high = -0.16 - half, -0.16 + half
        assert close(layouts[first], (low, -half), (low, half), 0.0)
        assert close(layouts[first + 1], (low, -half), (high, -half), 0.0)
        assert close(layouts[first + 11], (high, half), (high, -half), 0.0)
        for layout in layouts[first : first + 12]:
            for x, y in (layout.source_xy, layout.target_xy):
                assert abs(x + 0.16) == pytest.approx(half)
                assert abs(y) == pytest.approx(half)


def test_the_eggplant_starts_on_a_grid_of_two_by_four_with_three_yaws():
    expected = [(x, y, yaw) for x in EGGPLANT_X for y in EGGPLANT_Y for yaw in (0.0, np.pi / 4, -np.pi / 4)]
    for layout, (x, y, yaw) in zip(TASKS["eggplant_in_basket"].layouts, expected, strict=True):
        assert close(layout, (x, y), (-0.125, 0.025), yaw)


def test_success_asks_of_each_task_what_simpler_asks():
    rules = {name: (task.height_slack, task.only_target_contact) for name, task in TASKS.items()}
    assert rules == {
        "spoon_on_towel": (0.02, False),
        "carrot_on_plate": (0.02, True),
        "stack_cube": (0.02, True),
        "eggplant_in_basket": (0.06, False),
    }


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("number", [24, -1, 1000])
def test_an_episode_beyond_the_grid_is_refused_with_what_there_is(task, number):
    with pytest.raises(EpisodeError, match=rf"{task.name} has no episode {number}: .*24 episodes, 0 to 23\..*'random'"):
        task.layout(number)


@pytest.mark.parametrize("number", [True, np.True_, 1.5, 3.0, "3", [1]])
def test_what_is_no_whole_number_is_no_episode(number):
    with pytest.raises(EpisodeError, match=r"episode_id is .*; expected a whole number from 0 to 23"):
        TASKS["carrot_on_plate"].layout(number)


def test_numpys_whole_numbers_are_whole_numbers():
    task = TASKS["carrot_on_plate"]
    assert task.layout(np.int64(7)) == task.layouts[7]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_random_layouts_lie_in_the_region_apart_and_follow_the_seed(task):
    drawn = [task.random_layout(np.random.default_rng(seed)) for seed in range(300)]
    assert drawn == [task.random_layout(np.random.default_rng(seed)) for seed in range(300)]
    source, target = (np.array([getattr(layout, f"{which}_xy") for layout in drawn]) for which in ("source", "target"))
    region = task.region
    for points, low, high in (
        (source, region.source_low, region.source_high),
        (target, region.target_low, region.target_high),
    ):
        assert np.all(points >= low)
        assert np.all(points <= high)
        np.testing.assert_allclose(points.min(axis=0), low, atol=0.03)
        np.testing.assert_allclose(points.max(axis=0), high, atol=0.03)
    assert np.linalg.norm(source - target, axis=1).min() >= region.distance
    yaws = np.array([layout.source_yaw for layout in drawn])
    assert region.yaw_low <= yaws.min() < region.yaw_low / 2 < region.yaw_high / 2 < yaws.max() <= region.yaw_high
    assert {layout.target_yaw for layout in drawn} == {0.0}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_region_spans_simplers_grid_and_no_less_distance(task):
    source, target = (
        np.array([getattr(layout, f"{which}_xy") for layout in task.layouts]) for which in ("source", "target")
    )
    np.testing.assert_allclose(source.min(axis=0), task.region.source_low)
    np.testing.assert_allclose(source.max(axis=0), task.region.source_high)
    np.testing.assert_allclose(target.min(axis=0), task.region.target_low)
    np.testing.assert_allclose(target.max(axis=0), task.region.target_high)
    assert np.linalg.norm(source - target, axis=1).min() >= task.region.distance - 1e-9


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_everything_of_an_episode_lies_in_the_workspace(task):
    for layout in task.layouts:
        # The basket's plane is where SIMPLER declares it; the twin carries where it comes to rest.
        for xy in (layout.source_xy, *([] if task.target.fixed else [layout.target_xy])):
            point = task.scene.base.from_world(np.array([*xy, task.scene.support_height + 0.03]))
            assert np.all(point > task.setup.workspace.low)
            assert np.all(point < task.setup.workspace.high)


def test_a_task_is_found_by_its_name_and_by_its_environment_id():
    assert get_task("stack_cube") is TASKS["stack_cube"]
    assert get_task("vlm2vla/WidowXStackCube-v0") is TASKS["stack_cube"]
    with pytest.raises(UnknownNameError, match=r"No task named 'stack_cubes'\. Did you mean 'stack_cube'\?"):
        get_task("stack_cubes")


def test_no_module_asks_which_object_or_scene_it_was_given():
    """Generic code that tests `is BASKET` does the wrong thing for an object of a user's; records say what differs."""
    records = [name for name, value in vars(tasks).items() if isinstance(value, (tasks.ObjectSpec, tasks.Scene))]
    assert {"BASKET", "SINK"} <= set(records)
    identity = re.compile(rf"\bis (not )?([\w.]+\.)?({'|'.join(records)})\b")
    root = Path(vlm2vla_sim.__file__).parent
    found = {
        f"{path.relative_to(root)}: {match[0]}"
        for path in root.rglob("*.py")
        for match in identity.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == set()
