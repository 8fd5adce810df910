"""Rows become steps that an arm can follow, and no step leaves the box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.motion import MAX_STEP, MAX_TURN, StepLimits
from vlm2vla_sim.errors import ActionError
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S

BOX = Workspace((0.1, -0.2, 0.0), (0.5, 0.2, 0.4))
INSIDE = np.array([0.3, 0.0, 0.2])
lengths = st.floats(-0.4, 0.4)
turns = st.floats(-1.5, 1.5)
rows = st.lists(
    st.tuples(lengths, lengths, lengths, turns, turns, turns, st.sampled_from([0.0, 1.0])), min_size=1, max_size=4
).map(lambda values: np.array(values, np.float32))


def split(*values: list[float], gripper: float = 1.0, limits: StepLimits | None = None) -> np.ndarray:
    """(n, 7) the steps of the given rows."""
    return np.array(list(motion.split(np.array(values, np.float32), gripper=gripper, limits=limits)))


# Splitting.


def test_five_centimetres_are_two_steps():
    np.testing.assert_allclose(split([0.05, 0, 0, 0, 0, 0, 1]), [[0.025, 0, 0, 0, 0, 0, 1]] * 2, atol=1e-7)


@pytest.mark.parametrize(
    ("centimetres", "steps"), [(1, 1), (2.5, 1), (2.6, 2), (5, 2), (5.1, 3), (7.5, 3), (10, 4), (30, 12)]
)
def test_a_row_is_as_few_steps_of_two_and_a_half_centimetres_as_will_do(centimetres, steps):
    made = split([0, -centimetres / 100, 0, 0, 0, 0, 1])
    assert len(made) == steps
    np.testing.assert_allclose(made, [[0, -centimetres / 100 / steps, 0, 0, 0, 0, 1]] * steps, atol=1e-7)


def test_the_length_of_a_step_is_that_of_the_way_and_not_of_its_parts():
    assert len(split([0.025, 0.025, 0, 0, 0, 0, 1])) == 2


def test_a_turn_is_split_too_and_the_longer_of_way_and_turn_decides():
    assert len(split([0, 0, 0, 0, 0, 0.5, 1])) == 2
    both = split([0.01, 0, 0, 0, 0, 0.6, 1])
    assert len(both) == 3
    np.testing.assert_allclose(both.sum(axis=0)[[0, 5]], [0.01, 0.6], atol=1e-6)


def test_other_limits_give_other_steps():
    assert len(split([0.05, 0, 0, 0, 0, 0, 1], limits=StepLimits(step=0.05))) == 1
    assert len(split([0.05, 0, 0, 0, 0, 0, 1], limits=StepLimits(step=0.01))) == 5
    assert len(split([0, 0, 0, 0.2, 0, 0, 1], limits=StepLimits(turn=0.1))) == 2


def test_the_gripper_acts_after_the_motion_and_is_then_waited_for():
    steps = split([0, 0, -0.05, 0, 0, 0, 0], gripper=1.0)
    np.testing.assert_allclose(steps[:, 2], [-0.025, -0.025, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(steps[:, 6], [1, 1, 0, 0, 0])


def test_the_next_row_moves_with_the_gripper_as_the_last_one_left_it():
    steps = split([0, 0, 0, 0, 0, 0, 0], [0, 0, 0.05, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1], gripper=1.0)
    np.testing.assert_allclose(steps[:, 6], [0, 0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(steps[:, 2], [0, 0, 0, 0.025, 0.025, 0, 0, 0], atol=1e-7)


def test_a_gripper_that_is_already_there_is_not_waited_for():
    assert len(split([0.02, 0, 0, 0, 0, 0, 0], gripper=0.0)) == 1


def test_a_row_of_nothing_holds_still_for_one_step():
    np.testing.assert_array_equal(split([0, 0, 0, 0, 0, 0, 1], gripper=1.0), [[0, 0, 0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(split([0, 0, 0, 0, 0, 0, 0], gripper=0.0), [[0, 0, 0, 0, 0, 0, 0]])


@settings(deadline=None, max_examples=100)
@given(rows, st.sampled_from([0.0, 1.0]))
def test_the_steps_add_up_to_the_rows_and_none_is_too_long(given_rows, gripper):
    steps = split(*given_rows, gripper=gripper)
    assert steps.dtype == np.float32
    np.testing.assert_allclose(steps[:, :6].sum(axis=0), given_rows[:, :6].sum(axis=0), atol=1e-4)
    assert np.linalg.norm(steps[:, :3], axis=1).max() <= 0.025 * 1.00001
    assert np.linalg.norm(steps[:, 3:6], axis=1).max() <= 0.25 * 1.00001
    assert steps[-1, 6] == given_rows[-1, 6], "what was said of the gripper last is done in the end"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"step": 0.0}, r"StepLimits\.step is 0\.0 m; expected more than 0 and at most 0\.05 m"),
        ({"step": 0.06}, r"StepLimits\.step is 0\.06 m"),
        ({"step": float("nan")}, r"StepLimits\.step is nan m"),
        ({"turn": 0.0}, r"StepLimits\.turn is 0\.0 rad; expected more than 0 and at most 0\.25 rad"),
        ({"turn": 0.3}, r"StepLimits\.turn is 0\.3 rad"),
        ({"gripper_steps": 0}, "gripper_steps is 0; expected 1 or more"),
    ],
)
def test_limits_that_no_arm_has_are_refused(wrong, sentence):
    with pytest.raises(ActionError, match=sentence):
        StepLimits(**wrong)


# Limiting.


def limit(action: list[float], target: np.ndarray = INSIDE) -> tuple[np.ndarray, bool]:
    return motion.limit(np.array(action), target=target, workspace=BOX)


def test_an_action_within_all_limits_passes_unchanged():
    action = [0.03, -0.02, 0.01, 0.1, 0, -0.1, 0.5]
    safe, clipped = limit(action)
    np.testing.assert_allclose(safe, action, atol=1e-12)
    assert not clipped


@pytest.mark.parametrize("action", [[MAX_STEP, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, -MAX_TURN, 0, 0]])
def test_the_longest_step_and_the_widest_turn_pass(action):
    safe, clipped = limit(np.array(action, np.float32))
    assert not clipped
    np.testing.assert_allclose(safe, action, atol=1e-6)


def test_a_step_that_is_too_long_keeps_its_direction():
    safe, clipped = limit([0.3, -0.4, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(safe, [0.03, -0.04, 0, 0, 0, 0, 1], atol=1e-12)
    assert clipped


def test_a_turn_that_is_too_wide_keeps_its_axis_and_leaves_the_way_alone():
    safe, clipped = limit([0.01, 0, 0, 0, 3.0, 4.0, 1])
    np.testing.assert_allclose(safe, [0.01, 0, 0, 0, 0.15, 0.2, 1], atol=1e-12)
    assert clipped


@pytest.mark.parametrize(("given_gripper", "taken"), [(1.4, 1.0), (-0.3, 0.0)])
def test_the_gripper_is_clipped_to_open_and_closed(given_gripper, taken):
    safe, clipped = limit([0, 0, 0, 0, 0, 0, given_gripper])
    assert safe[6] == taken
    assert clipped


def test_a_step_ends_at_the_wall_of_the_box_and_goes_on_along_it():
    safe, clipped = limit([0.03, 0.02, 0, 0, 0, 0, 1], target=np.array([0.49, 0.0, 0.2]))
    np.testing.assert_allclose(safe[:3], [0.01, 0.02, 0], atol=1e-12)
    assert clipped


def test_a_target_outside_the_box_may_stay_or_come_back_but_not_go_further_out():
    outside = np.array([0.05, 0.0, 0.2])
    np.testing.assert_allclose(limit([-0.02, 0, 0, 0, 0, 0, 1], outside)[0][:3], [0, 0, 0], atol=1e-12)
    safe, clipped = limit([0.02, 0.01, 0, 0, 0, 0, 1], outside)
    np.testing.assert_allclose(safe[:3], [0.02, 0.01, 0], atol=1e-12)
    assert not clipped


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(*[st.floats(-1, 1)] * 6, st.floats(-1, 2)).map(np.array),
    st.tuples(st.floats(0.1, 0.5), st.floats(-0.2, 0.2), st.floats(0, 0.4)).map(np.array),
)
def test_no_action_takes_a_target_out_of_the_box(action, target):
    safe, clipped = motion.limit(action, target=target, workspace=BOX)
    after = target + safe[:3]
    assert np.all(after >= np.array(BOX.low) - 1e-9)
    assert np.all(after <= np.array(BOX.high) + 1e-9)
    assert np.linalg.norm(safe[:3]) <= MAX_STEP * 1.00001
    assert np.linalg.norm(safe[3:6]) <= MAX_TURN * 1.00001
    assert 0 <= safe[6] <= 1
    assert clipped == (np.abs(safe - action).max() > 1e-5)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("index", range(7))
def test_a_number_that_is_not_finite_is_refused(wrong, index):
    action = np.zeros(7)
    action[index] = wrong
    with pytest.raises(ActionError, match=r"not finite: \["):
        motion.limit(action, target=INSIDE, workspace=BOX)


@pytest.mark.parametrize("shape", [(6,), (8,), (1, 7), ()])
def test_an_action_of_another_shape_is_refused_with_what_was_expected(shape):
    with pytest.raises(ActionError, match=r"has shape \(.*expected \(7,\): dx, dy, dz \[m\], rotation vector"):
        motion.limit(np.zeros(shape), target=INSIDE, workspace=BOX)


@pytest.mark.parametrize(("backend", "steps_back"), [("point", 1), ("mujoco", 3)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pushing_out_of_reach_does_not_wind_the_target_up(backend, steps_back, axis):
    """SIMPLER's own controller leaves the target 1.9 m ahead after these forty steps, and needs as many to come back.

    The twin's arm does not reach every corner of the box, and lags: it may take up to three steps.
    """
    env = WidowXEnv("carrot_on_plate", backend=backend, image_size=(32, 48))
    env.reset(options={"episode_id": 0})
    out = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
    out[axis] = 0.05
    clipped = [env.step(out)[4]["clipped"] for _ in range(40)]
    assert clipped[-1]
    target = env.status.robot.target.position
    assert np.all(target <= np.array(WIDOWX_250S.setup("table").workspace.high) + 1e-9)
    before = env.status.robot.tcp.position[axis]
    back = out * [-1, -1, -1, 1, 1, 1, 1]
    assert not any(env.step(back)[4]["clipped"] for _ in range(steps_back))
    assert env.status.robot.tcp.position[axis] < before - 0.03
    env.close()
