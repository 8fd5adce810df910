"""Rules put motion into words that say the right direction, in the right order, and add up to what was done."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trajectory_fakes import CLOSED, OPEN, PICK_AND_PLACE, motion, trajectory

from vlm2vla_sim.data.examples.auxiliary import direction_examples, subtask_examples
from vlm2vla_sim.data.relabel.gripper import GripperRules, find_gripper_intervals
from vlm2vla_sim.data.relabel.path import RowThresholds, reached_path, row_boundaries
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.errors import DataError, SettingError, UnknownNameError
from vlm2vla_sim.language.formats import FORMATS, get_format
from vlm2vla_sim.language.formats.grid import Resolution


def told(labelled):
    return [(phase.start, phase.stop, phase.subtask, phase.plan, phase.chunk.text) for phase in labelled.phases]


def test_a_pick_and_place_is_told_as_a_person_would():
    labelled = relabel(trajectory())
    assert labelled.subtasks == ("grasp the carrot", "put the carrot on the plate")
    assert told(labelled) == [
        (
            *(0, 6, "grasp the carrot"),
            "rotate clockwise, then move forward and left above the carrot, with the gripper open",
            "[[0, 0, 0, 0, 0, -70, 1], [12, 6, 0, 0, 0, 0, 1]]",
        ),
        (
            *(6, 15, "grasp the carrot", "move down to the carrot, then close the gripper"),
            "[[0, 0, -10, 1], [0, 0, 0, 1], [0, 0, 0, 0]]",
        ),
        (15, 19, "put the carrot on the plate", "lift the carrot", "[[0, 0, 8, 0]]"),
        (19, 25, "put the carrot on the plate", "carry the carrot right over the plate", "[[0, -12, 0, 0]]"),
        (
            *(25, 31, "put the carrot on the plate", "lower the carrot to the plate, then open the gripper"),
            "[[0, 0, -6, 0], [0, 0, 0, 1]]",
        ),
        (31, 35, "put the carrot on the plate", "move up, away from the object", "[[0, 0, 8, 1]]"),
    ]


def test_two_objects_are_told_apart_where_there_are_as_many_holds_as_steps():
    both = "put the fork on the plate and the cup to the left of the can"
    twice = relabel(trajectory(PICK_AND_PLACE * 2, instruction=both))
    assert twice.subtasks == (
        *("grasp the fork", "put the fork on the plate"),
        *("grasp the cup", "put the cup to the left of the can"),
    )
    assert (
        sum(
            "carry the cup" in phase.plan and "over the place to the left of the can" in phase.plan
            for phase in twice.phases
        )
        == 1
    )
    once = relabel(trajectory(instruction=both))
    assert once.subtasks == (both,), "it is not known which of the two this was"


def test_an_instruction_that_is_not_understood_keeps_its_own_words():
    strange = "put the apple on the towel in the box"
    assert relabel(trajectory(instruction=strange)).subtasks == (strange,)


@pytest.mark.parametrize(
    ("move", "word", "text"),
    [
        ((0.02, 0, 0), "forward", "[[10, 0, 0, 1]]"),
        ((-0.02, 0, 0), "backward", "[[-10, 0, 0, 1]]"),
        ((0, 0.02, 0), "left", "[[0, 10, 0, 1]]"),
        ((0, -0.02, 0), "right", "[[0, -10, 0, 1]]"),
        ((0, 0, 0.02), "up", "[[0, 0, 10, 1]]"),
        ((0, 0, -0.02), "down", "[[0, 0, -10, 1]]"),
    ],
)
@pytest.mark.parametrize("motion_kind", ["reached", "commanded"])
def test_every_direction_has_its_word_and_its_sign(move, word, text, motion_kind):
    # One more step of standing still, in which the last move is measured.
    labelled = relabel(trajectory(((5, move, 0.0, OPEN), (1, (0, 0, 0), 0.0, OPEN))), LabelingRules(motion=motion_kind))
    (phase,) = labelled.phases
    assert word in phase.plan.replace(",", "").split()
    assert phase.chunk.text == text


@pytest.mark.parametrize(("yaw", "words", "degrees"), [(0.2, "counterclockwise", 70), (-0.2, "clockwise", -70)])
def test_every_turn_has_its_word_and_its_sign(yaw, words, degrees):
    (phase,) = relabel(trajectory(((6, (0, 0, 0), yaw, OPEN), (1, (0, 0, 0), 0.0, OPEN)))).phases
    assert phase.plan == f"rotate {words}"
    assert phase.chunk.text == f"[[0, 0, 0, 0, 0, {degrees}, 1]]"


def test_the_same_trajectory_gets_the_same_words():
    assert told(relabel(trajectory())) == told(relabel(trajectory()))


def test_small_moves_become_a_row_at_two_and_a_half_centimetres_along_an_axis():
    path = reached_path(trajectory(((12, (0.01, 0, 0), 0.0, OPEN), (1, (0, 0, 0), 0.0, OPEN))))
    assert row_boundaries(path, 0, 12, RowThresholds(straight_cm=0)) == [0, 3, 6, 9, 12]
    assert row_boundaries(path, 0, 12, RowThresholds(axis_cm=6.0, total_cm=6.0, straight_cm=0)) == [0, 6, 12]
    assert row_boundaries(path, 0, 12, RowThresholds()) == [0, 12]


def test_an_axis_that_turned_back_counts_only_towards_the_five_centimetres():
    wiggle = [(1, (0, 0.01, 0), 0.0, OPEN), (2, (0, -0.01, 0), 0.0, OPEN), (6, (0, 0.01, 0), 0.0, OPEN)]
    path = reached_path(trajectory((*wiggle, (1, (0, 0, 0), 0.0, OPEN))))
    # It went to +1, back to -1, and on to +5: on a straight way it would have been a row at +2.5 (frame 7).
    assert row_boundaries(path, 0, 9, RowThresholds(straight_cm=0)) == [0, 9]


def test_what_is_left_of_a_motion_is_not_lost():
    path = reached_path(trajectory(((7, (0.01, 0, 0), 0.0, OPEN), (1, (0, 0, 0), 0.0, OPEN))))
    assert row_boundaries(path, 0, 7, RowThresholds(straight_cm=0)) == [0, 3, 7]
    assert relabel(trajectory(((7, (0.01, 0, 0), 0.0, OPEN), (1, (0, 0, 0), 0.0, OPEN)))).phases[0].chunk.text == (
        "[[7, 0, 0, 1]]"
    )


def test_a_way_there_and_back_is_not_straight():
    there_and_back = ((4, (0.02, 0, 0), 0.0, OPEN), (4, (-0.02, 0, 0), 0.0, OPEN), (1, (0, 0, 0), 0.0, OPEN))
    labelled = relabel(trajectory(there_and_back))
    assert [phase.chunk.text for phase in labelled.phases] == ["[[8, 0, 0, 1]]", "[[-8, 0, 0, 1]]"]


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.tuples(
            st.integers(1, 6),
            st.tuples(*[st.floats(-0.02, 0.02)] * 3),
            st.floats(-0.2, 0.2),
            st.sampled_from([OPEN, CLOSED]),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_the_words_of_an_episode_add_up_to_its_motion_whatever_it_is(parts):
    recorded = trajectory((*parts, (4, (0, 0, 0), 0.0, parts[-1][3])))
    try:
        labelled = relabel(recorded)
    except DataError:
        return
    said = np.sum([phase.chunk.deltas[:, :3].sum(axis=0) for phase in labelled.phases], axis=0)
    end = recorded.states[labelled.phases[-1].stop if labelled.phases[-1].stop < len(recorded) else -1]
    assert np.abs(said - (end[:3] - recorded.states[0, :3])).max() <= 0.005 + 1e-6 + 0.004
    for phase in labelled.phases:
        for name in FORMATS:
            spoken = get_format(name, symbols="abcdefghij" if name == "tokens" else None)
            assert np.allclose(spoken.read(spoken.write(phase.chunk.deltas)).deltas, phase.chunk.deltas, atol=4e-3)


def test_rounding_by_phase_is_true_in_every_phase():
    parts = tuple((4, tuple(1.1 * value for value in move), yaw, grip) for _, move, yaw, grip in PICK_AND_PLACE)
    recorded = trajectory(parts)
    for phase in relabel(recorded, LabelingRules(carry_rest=False)).phases:
        moved = recorded.states[min(phase.stop, len(recorded) - 1), :3] - recorded.states[phase.start, :3]
        assert np.abs(phase.chunk.deltas[:, :3].sum(axis=0) - moved).max() <= 0.005 + 1e-6


def test_a_finer_grid_says_finer_numbers():
    fine = relabel(trajectory(), LabelingRules(resolution=Resolution(0.001, 1.0)))
    assert fine.phases[0].chunk.text == "[[0, 0, 0, 0, 0, -69, 1], [12, 6, 0, 0, 0, 0, 1]]"


def test_a_missed_grasp_is_no_grasp():
    missed = (
        (5, (0.0, 0.0, -0.02), 0.0, OPEN),
        (3, (0.0, 0.0, 0.0), 0.0, CLOSED),
        (5, (0.0, 0.0, 0.02), 0.0, CLOSED),
        (3, (0.0, 0.0, 0.0), 0.0, OPEN),
    )
    for held in (0.0, 0.4):  # closed on nothing; closed on something, and let go where it was
        labelled = relabel(trajectory((*missed, *PICK_AND_PLACE), held=held))
        assert [phase.subtask for phase in labelled.phases][:2] == ["grasp the carrot"] * 2
        assert labelled.phases[1].plan == "move up, then open the gripper"


def test_an_empty_gripper_that_goes_somewhere_carries_nothing():
    labelled = relabel(trajectory(held=0.0))
    assert labelled.subtasks == ("grasp the carrot",)
    assert not any("carry" in phase.plan or "lift" in phase.plan for phase in labelled.phases)


def test_a_flicker_of_the_gripper_is_no_grasp():
    states, actions = motion(((10, (0.02, 0, 0), 0.0, OPEN),))
    actions = actions.copy()
    actions[4, 6] = 0.0
    flickering = dataclasses.replace(trajectory(((10, (0.02, 0, 0), 0.0, OPEN),)), actions=actions)
    assert not any(interval.acts for interval in find_gripper_intervals(flickering, GripperRules()))
    assert states.shape == (10, 7)


def test_without_a_grasp_the_instruction_is_the_subtask():
    labelled = relabel(trajectory(((5, (0.02, 0, 0), 0.0, OPEN),), instruction="wipe the table"))
    assert labelled.subtasks == ("wipe the table",)


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (trajectory(((1, (0, 0, 0), 0.0, OPEN),)), "1 frame; expected at least 2"),
        (trajectory(((9, (0, 0, 0), 0.0, OPEN),)), "Nothing moves in it"),
        (trajectory(instruction=" "), "no instruction"),
    ],
)
def test_what_nothing_can_be_said_about_is_refused_in_a_sentence(recorded, words):
    with pytest.raises(DataError, match=words):
        relabel(recorded)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(UnknownNameError, match="reached, commanded"):
        LabelingRules(motion="reach")
    with pytest.raises(SettingError, match="axis_cm is 0"):
        RowThresholds(axis_cm=0)
    with pytest.raises(SettingError, match="dwell_s is nan"):
        GripperRules(dwell_s=float("nan"))


def test_a_long_way_is_said_in_several_rows_that_a_format_can_write():
    labelled = relabel(trajectory(((40, (0.02, 0, 0), 0.0, OPEN), (1, (0, 0, 0), 0.0, OPEN))))
    deltas = np.concatenate([phase.chunk.deltas for phase in labelled.phases])
    assert deltas[:, 0].max() <= 0.5
    assert deltas[:, 0].sum() == pytest.approx(0.8)


def test_the_other_questions_are_answered_from_the_motion():
    labelled = relabel(trajectory())
    done = list(subtask_examples(labelled))
    assert [(one.completion, one.images[1][0, 0, 1] // 4) for one in done] == [
        *(("advance", 15), ("retry", 6)),  # the grasp: done when the gripper has closed, not before it goes down
        *(("advance", 35), ("retry", 31)),
    ]
    assert "grasp the carrot" in done[0].prompt
    assert "After that comes: put the carrot on the plate" in done[0].prompt
    sides = [one.completion for one in direction_examples(labelled)]
    assert sides == ["left", "none", "none", "right", "none", "none"]
