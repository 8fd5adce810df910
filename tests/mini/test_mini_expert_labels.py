"""Expert labels of scenes written by hand: grasping, putting down, and recovering from a mistake."""

from __future__ import annotations

import dataclasses

import numpy as np

from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import ADVANCE, RETRY
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE, ObjectAnnotation, SceneAnnotation, to_cm, to_degrees
from vlm2vla_sim.mini.training.expert_labels import ExpertLabeler, state_text
from vlm2vla_sim.mini.training.expert_plans import plan_and_rows

CARROT = ObjectAnnotation("carrot", "carrot", (0.35, 0.08, 0.0175), 44.0, TABLE, 3000, "orange")
PLATE = ObjectAnnotation("plate", "plate", (0.25, -0.06, 0.003), 0.0, TABLE, 9000, "yellow")
SCENE = SceneAnnotation("table", (CARROT, PLATE), (0.29, -0.01, 0.135), 0.0, 1.0)
LABELER = ExpertLabeler(get_format("vlm2vla"))


def test_a_grasp_turns_moves_above_descends_closes_and_lifts() -> None:
    plan, rows = plan_and_rows(SCENE, (CARROT, PLATE), putting=False)
    parts = plan.split("; ")
    assert parts[:2] == [
        "the carrot is at 35, 8, 3, turned 45",
        "x 35 minus 29 is 6, y 8 minus -1 is 9, z 9 minus 14 is -5, turn 45 minus 0 is 45",
    ]
    assert parts[2] == "turn, move forward and left above it, down, close the gripper, up"
    assert rows == [[0, 0, 0, 45, 1], [6, 9, -5, 0, 1], [0, 0, -6, 0, 1], [0, 0, 0, 0, 0], [0, 0, 6, 0, 0]]


def test_no_turn_exceeds_180_degrees() -> None:
    across = dataclasses.replace(CARROT, yaw=90.0)
    scene = dataclasses.replace(SCENE, objects=(across, PLATE), gripper_yaw=-95.0)
    plan, rows = plan_and_rows(scene, (across, PLATE), putting=False)
    assert "turn -90 minus -95 is 5" in plan
    assert rows[0] == [0, 0, 0, 5, 1]


def test_putting_down_moves_lowers_and_opens() -> None:
    held = dataclasses.replace(CARROT, support=GRIPPER, position=(0.35, 0.08, 0.08))
    scene = dataclasses.replace(SCENE, objects=(held, PLATE), tcp_position=(0.35, 0.08, 0.09), gripper_opening=0.7)
    plan, rows = plan_and_rows(scene, (held, PLATE), putting=True)
    parts = plan.split("; ")
    assert parts[:2] == ["the plate is at 25, -6, 4", "x 25 minus 35 is -10, y -6 minus 8 is -14, z 9 minus 9 is 0"]
    assert parts[2] == "move backward and right above it, down, open the gripper"
    assert rows == [[-10, -14, 0, 0, 0], [0, 0, -5, 0, 0], [0, 0, 0, 0, 1], [0, 0, 3, 0, 1]]


def test_an_object_lost_on_the_way_is_grasped_again() -> None:
    plan, rows = plan_and_rows(SCENE, (CARROT, PLATE), putting=True)
    assert plan.startswith("the carrot is at 35, 8, 3")
    assert rows[3][-1] == 0  # closes


def test_a_finished_subtask_only_moves_up() -> None:
    on_plate = dataclasses.replace(CARROT, support="plate")
    scene = dataclasses.replace(SCENE, objects=(on_plate, PLATE))
    assert plan_and_rows(scene, (on_plate, PLATE), putting=True)[1] == [[0, 0, 1, 0, 1]]


def test_the_state_has_whole_centimetres_and_steps_of_five_degrees() -> None:
    assert state_text(dataclasses.replace(SCENE, gripper_yaw=-43.0, gripper_opening=0.68)) == (
        "The gripper is at 29, -1, 14 cm, turned -45 degrees, and 70 percent open.\n"
    )


def test_every_action_label_is_read_back_in_its_format() -> None:
    rng = np.random.default_rng(0)
    labels = [label for _ in range(20) for label in LABELER.label(SCENE, rng)]
    assert {label.stage for label in labels} == {"subtasks", "plan", "action"}
    for label in labels:
        if label.stage == "action":
            assert get_format("vlm2vla").read(label.answer).text == label.answer


def test_centimetres_round_away_from_zero_and_yaws_have_a_period() -> None:
    assert [to_cm(value) for value in (0.045, -0.045, 0.044, -0.0449)] == [5, -5, 4, -4]
    assert [to_degrees(angle) for angle in (89, 97, 98, -82, -83)] == [90, 90, -75, -75, 90]
    assert [to_degrees(angle, period=90) for angle in (45, 52, 53, -38)] == [45, 45, -30, 45]


def test_verifier_labels_are_mostly_about_objects_on_their_target() -> None:
    asked = {}
    for name, carrot in (("there", dataclasses.replace(CARROT, support="plate")), ("not there", CARROT)):
        scene, rng = dataclasses.replace(SCENE, objects=(carrot, PLATE)), np.random.default_rng(0)
        labels = [LABELER.verifier_label(scene, rng) for _ in range(200)]
        asked[name] = [one.answer for one in labels if one is not None and "to do this: Put the carrot" in one.prompt]
    assert set(asked["there"]) == {ADVANCE}
    assert set(asked["not there"]) == {RETRY}
    assert 140 < len(asked["there"]) < 180
    assert 80 < len(asked["not there"]) < 120


def test_plans_for_objects_that_are_held_or_on_their_target_are_hard() -> None:
    held = dataclasses.replace(CARROT, support=GRIPPER, position=(0.35, 0.08, 0.08))
    there = dataclasses.replace(CARROT, support="plate")
    for carrot, share in ((CARROT, 0.0), (held, 0.9), (there, 0.9)):
        scene, rng = dataclasses.replace(SCENE, objects=(carrot, PLATE)), np.random.default_rng(0)
        plans = [one for _ in range(300) for one in LABELER.label(scene, rng) if one.stage == "plan"]
        assert abs(np.mean([one.hard for one in plans]) - share) < 0.06
        assert all("Put the carrot" in one.prompt for one in plans if one.hard)
