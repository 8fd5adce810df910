"""Golden words for scenes written by hand: what a good robot says to grasp, to put down, and after a mistake."""

from __future__ import annotations

import dataclasses

import numpy as np

from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import ADVANCE, RETRY
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE, Facts, Thing, to_cm, to_degrees
from vlm2vla_sim.mini.training.expert_labels import Teacher, state_line

CARROT = Thing("carrot", "carrot", (0.35, 0.08, 0.0175), 44.0, TABLE, 3000, "orange")
PLATE = Thing("plate", "plate", (0.25, -0.06, 0.003), 0.0, TABLE, 9000, "yellow")
SCENE = Facts("table", (CARROT, PLATE), (0.29, -0.01, 0.135), 0.0, 1.0)
TEACHER = Teacher(get_format("vlm2vla"))


def test_to_grasp_it_goes_above_turns_along_closes_and_lifts() -> None:
    plan, rows = TEACHER.decide(SCENE, CARROT, PLATE, putting=False)
    said = plan.split("; ")
    assert said[:2] == [
        "the carrot is at 35, 8, 3, turned 45",
        "x 35 minus 29 is 6, y 8 minus -1 is 9, z 9 minus 14 is -5, turn 45 minus 0 is 45",
    ]
    assert said[2] == "turn, move forward and left above it, down, close the gripper, up"
    assert rows == [[0, 0, 0, 45, 1], [6, 9, -5, 0, 1], [0, 0, -6, 0, 1], [0, 0, 0, 0, 0], [0, 0, 6, 0, 0]]


def test_no_turn_is_longer_than_half_a_round() -> None:
    across = dataclasses.replace(CARROT, yaw=90.0)
    scene = dataclasses.replace(SCENE, things=(across, PLATE), turn=-95.0)
    plan, rows = TEACHER.decide(scene, across, PLATE, putting=False)
    assert "turn -90 minus -95 is 5" in plan
    assert rows[0] == [0, 0, 0, 5, 1]


def test_to_put_it_down_it_carries_lowers_and_opens() -> None:
    held = dataclasses.replace(CARROT, on=GRIPPER, position=(0.35, 0.08, 0.08))
    scene = dataclasses.replace(SCENE, things=(held, PLATE), gripper=(0.35, 0.08, 0.09), opening=0.7)
    plan, rows = TEACHER.decide(scene, held, PLATE, putting=True)
    said = plan.split("; ")
    assert said[:2] == ["the plate is at 25, -6, 4", "x 25 minus 35 is -10, y -6 minus 8 is -14, z 9 minus 9 is 0"]
    assert said[2] == "move backward and right above it, down, open the gripper"
    assert rows == [[-10, -14, 0, 0, 0], [0, 0, -5, 0, 0], [0, 0, 0, 0, 1], [0, 0, 3, 0, 1]]


def test_when_the_carrot_was_lost_on_the_way_it_fetches_it_again() -> None:
    plan, rows = TEACHER.decide(SCENE, CARROT, PLATE, putting=True)
    assert plan.startswith("the carrot is at 35, 8, 3")
    assert rows[3][-1] == 0  # closes


def test_what_is_done_already_needs_no_more_than_a_little_room() -> None:
    on_plate = dataclasses.replace(CARROT, on="plate")
    scene = dataclasses.replace(SCENE, things=(on_plate, PLATE))
    assert TEACHER.decide(scene, on_plate, PLATE, putting=True)[1] == [[0, 0, 1, 0, 1]]


def test_the_state_is_said_in_whole_centimetres_and_five_degrees() -> None:
    assert state_line(dataclasses.replace(SCENE, turn=-43.0, opening=0.68)) == (
        "The gripper is at 29, -1, 14 cm, turned -45 degrees, and 70 percent open.\n"
    )


def test_every_lesson_is_written_in_the_format_and_read_back() -> None:
    rng = np.random.default_rng(0)
    lessons = [lesson for _ in range(20) for lesson in TEACHER.teach(SCENE, rng)]
    assert {lesson.stage for lesson in lessons} == {"subtasks", "plan", "action"}
    for lesson in lessons:
        if lesson.stage == "action":
            assert get_format("vlm2vla").read(lesson.answer).text == lesson.answer


def test_rounding_is_away_from_zero_and_turns_have_a_period() -> None:
    assert [to_cm(value) for value in (0.045, -0.045, 0.044, -0.0449)] == [5, -5, 4, -4]
    assert [to_degrees(angle) for angle in (89, 97, 98, -82, -83)] == [90, 90, -75, -75, 90]
    assert [to_degrees(angle, period=90) for angle in (45, 52, 53, -38)] == [45, 45, -30, 45]


def test_the_verifier_is_mostly_asked_about_what_lies_where_it_belongs() -> None:
    asked = {}
    for name, carrot in (("there", dataclasses.replace(CARROT, on="plate")), ("not there", CARROT)):
        scene, rng = dataclasses.replace(SCENE, things=(carrot, PLATE)), np.random.default_rng(0)
        lessons = [TEACHER.verify(scene, rng) for _ in range(200)]
        asked[name] = [one.answer for one in lessons if one is not None and "to do this: Put the carrot" in one.prompt]
    assert set(asked["there"]) == {ADVANCE}
    assert set(asked["not there"]) == {RETRY}
    assert 140 < len(asked["there"]) < 180
    assert 80 < len(asked["not there"]) < 120


def test_plans_for_what_is_held_or_there_already_are_never_left_out() -> None:
    held = dataclasses.replace(CARROT, on=GRIPPER, position=(0.35, 0.08, 0.08))
    there = dataclasses.replace(CARROT, on="plate")
    for carrot, share in ((CARROT, 0.0), (held, 0.9), (there, 0.9)):
        scene, rng = dataclasses.replace(SCENE, things=(carrot, PLATE)), np.random.default_rng(0)
        plans = [one for _ in range(300) for one in TEACHER.teach(scene, rng) if one.stage == "plan"]
        assert abs(np.mean([one.hard for one in plans]) - share) < 0.06
        assert all("Put the carrot" in one.prompt for one in plans if one.hard)
