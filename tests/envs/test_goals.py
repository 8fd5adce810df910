"""The judge follows the goals of a task: several of them, in an order or in any, on scenes built by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vlm2vla_sim.core.goals import LIFTED, ON, Goal, seen_for
from vlm2vla_sim.envs.judge import Judge
from vlm2vla_sim.envs.tasks import SUITE_TASKS, TASKS, Layout
from vlm2vla_sim.envs.tasks import Goal as PublicGoal
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Body, Pose, SceneState, Touch

TASK = SUITE_TASKS["carrot_and_spoon"]
ORDERED = SUITE_TASKS["carrot_then_spoon"]
LIFT = SUITE_TASKS["place_carrot_then_lift_spoon"]
AGAIN = SUITE_TASKS["pick_place_lift"]
START = {"carrot": (0.3, 0.1, 0.02), "plate": (0.4, 0.1, 0.0), "spoon": (0.3, -0.1, 0.02), "towel": (0.4, -0.1, 0.0)}
ON_PLATE, ON_TOWEL = {"carrot": (0.4, 0.1, 0.022)}, {"spoon": (0.4, -0.1, 0.02)}
HELD_UP = {"spoon": (0.3, -0.1, 0.08)}
BOTH = ON_PLATE | ON_TOWEL


def scene(moved=None, *, held: str = "", task=TASK) -> SceneState:
    """Source and target of `task` first; an object near its place touches it, another one the table."""
    places = START | (moved or {})
    specs = {spec.name: spec for spec in task.objects}
    bodies = {
        name: Body(name, Pose(np.array(places[name]), np.array([1.0, 0, 0, 0])), np.array(spec.extents))
        for name, spec in specs.items()
    }
    lying = {name: frozenset({"plate", "towel"} if name in (moved or {}) else {"table"}) for name in specs}
    source, target = task.source.name, task.target.name
    return SceneState(
        source=bodies[source],
        target=bodies[target],
        touching=lying[source] - {target},
        grasped=held == source,
        touches_target=target in lying[source],
        touches_robot=held == source,
        others=tuple(bodies[spec.name] for spec in task.others),
        touches={spec.name: Touch(lying[spec.name], held == spec.name, held == spec.name) for spec in task.others},
    )


def follow(task, *scenes: SceneState) -> list[tuple[bool, ...]]:
    judge = Judge(task, scene(task=task))
    reached = []
    for one in scenes:
        flags = judge.judge(one)
        reached.append(judge.reached)
        assert flags.success is all(judge.reached)
    return reached


def test_goals_in_any_order_count_while_they_hold():
    said = follow(TASK, scene(), scene(ON_TOWEL), scene(BOTH), scene(ON_PLATE), scene(BOTH))
    assert said == [(False, False), (False, True), (True, True), (True, False), (True, True)]


def test_in_order_a_goal_that_was_reached_too_early_counts_only_anew():
    said = follow(ORDERED, scene(ON_TOWEL), scene(BOTH), scene(ON_PLATE), scene(BOTH))
    assert said == [(False, False), (True, False), (True, False), (True, True)]
    assert follow(ORDERED, scene(ON_PLATE), scene(BOTH))[-1] == (True, True)


def test_a_lifted_object_is_held_five_centimetres_up():
    up, low = ON_PLATE | HELD_UP, ON_PLATE | {"spoon": (0.3, -0.1, 0.0699)}
    said = follow(LIFT, *(scene(one, held=held) for one, held in ((up, "spoon"), (up, ""), (low, "spoon"))))
    assert said == [(True, True), (True, False), (True, False)]


def test_an_object_that_is_lifted_again_was_on_its_place():
    names = {"green_cube": (0.3, 0.1, 0.015), "yellow_cube": (0.3, -0.1, 0.015), **START}
    on, up = {"green_cube": (0.4, 0.1, 0.02)}, {"green_cube": (0.4, 0.1, 0.09)}
    judge = Judge(AGAIN, scene(names, task=AGAIN))
    judge.judge(scene(names | up, held="green_cube", task=AGAIN))
    assert judge.reached == (False, False), "it was not on the plate yet"
    judge.judge(scene(names | on, task=AGAIN))
    flags = judge.judge(scene(names | up, held="green_cube", task=AGAIN))
    assert judge.reached == (True, True)
    assert flags.success
    assert flags.released, "it is to be held"


def test_what_is_credited_concerns_every_object_that_is_meant():
    judge = Judge(TASK, scene())
    flags = judge.judge(scene(ON_TOWEL, held="spoon"))
    assert (flags.grasped, flags.moved_correct_object, flags.moved_wrong_object) == (True, True, False)
    assert not flags.on_target
    flags = judge.judge(scene(BOTH, held="spoon"))
    assert (flags.success, flags.on_target, flags.released, flags.settled) == (True, True, False, False)
    judge = Judge(TASK, scene())
    assert judge.judge(scene({"towel": (0.4, 0.1, 0.0)})).moved_wrong_object


def test_of_several_goals_all_settle():
    judge = Judge(TASK, scene())
    places = {"carrot": {"plate"}, "spoon": {"towel"}}
    still = scene(BOTH)
    still = dataclasses.replace(
        still,
        touching=frozenset(),
        touches={"spoon": Touch(frozenset(places["spoon"]), False, False), "towel": still.touches["towel"]},
    )
    assert [judge.judge(still).settled for _ in range(4)] == [False, False, True, True]


def test_a_scene_is_seen_for_a_goal():
    seen = seen_for(scene(ON_TOWEL, held="spoon"), Goal(ON, "spoon", "towel"))
    assert (seen.source.name, seen.target.name, seen.grasped, seen.touches_target) == ("spoon", "towel", True, True)
    assert {body.name for body in seen.others} == {"carrot", "plate"}
    assert seen_for(scene(), Goal(ON)).source.name == "carrot"
    with pytest.raises(SettingError, match="needs both objects and their contacts"):
        seen_for(dataclasses.replace(scene(), touches={}), Goal(LIFTED, "spoon"))


def test_what_makes_no_sense_is_refused_with_a_sentence():
    task = TASKS["carrot_on_plate"]
    with pytest.raises(SettingError, match="expected 'on', or 'lifted' without a place"):
        PublicGoal("lifted", "carrot", "plate")
    with pytest.raises(SettingError, match="names 'fork'"):
        dataclasses.replace(task, goals=(Goal(ON, "fork", "plate"),))
    with pytest.raises(SettingError, match="places for 0 further objects; expected 1"):
        dataclasses.replace(task, others=(SUITE_TASKS["carrot_and_spoon"].others[0],))
    with pytest.raises(SettingError, match="'point' has a source and a target only"):
        PointBackend(TASK)
    assert isinstance(TASK.random_layout(np.random.default_rng(0)), Layout)
