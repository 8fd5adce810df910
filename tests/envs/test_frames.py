"""Conventions are converted rightly: by numbers worked out by hand, and against rotations built here from sines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.core import frames
from vlm2vla_sim.core.frames import BaseFrame
from vlm2vla_sim.core.rotations import euler_XYZ_to_rotvec
from vlm2vla_sim.envs.tasks import SINK, TABLE
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import Pose

HALF = np.sqrt(0.5)
QUARTER = np.pi / 2
X, Y, Z = np.eye(3)
IDENTITY = np.array([1.0, 0, 0, 0])
# A third of a turn about the diagonal: x -> y, y -> z, z -> x.
CYCLE = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float)
CYCLE_ROTVEC = np.full(3, 2 * np.pi / 3 / np.sqrt(3))

many = settings(deadline=None, max_examples=100)
angles = st.floats(-np.pi, np.pi)
vectors = st.tuples(*[st.floats(-1.8, 1.8)] * 3).map(np.array)
rotvecs = vectors.filter(lambda v: np.linalg.norm(v) < 3.1)
poses = st.builds(lambda p, v: Pose(p, frames.rotvec_to_quaternion(v)), vectors, rotvecs)


def turn(axis: str, angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` [rad] about x, y or z, counterclockwise seen from the axis' tip."""
    c, s = np.cos(angle), np.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def rodrigues(rotvec: np.ndarray) -> np.ndarray:
    """(3, 3) rotation about the axis `rotvec` by its length [rad]."""
    angle = np.linalg.norm(rotvec)
    if angle == 0:
        return np.eye(3)
    x, y, z = rotvec / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


# Quaternions, matrices, rotation vectors.


@pytest.mark.parametrize(
    ("quaternion", "x_goes_to", "y_goes_to"),
    [
        ((1, 0, 0, 0), X, Y),
        ((HALF, HALF, 0, 0), X, Z),
        ((HALF, 0, HALF, 0), -Z, Y),
        ((HALF, 0, 0, HALF), Y, -X),
        ((0.5, 0.5, 0.5, 0.5), Y, Z),
        ((0, 1, 0, 0), X, -Y),
        ((0, 0, 1, 0), -X, Y),
        ((0, 0, 0, 1), -X, -Y),
    ],
)
def test_a_quaternion_turns_the_axes_where_a_hand_would_and_comes_back_from_its_matrix(
    quaternion, x_goes_to, y_goes_to
):
    matrix = frames.quaternion_to_matrix(np.array(quaternion))
    np.testing.assert_allclose(matrix @ X, x_goes_to, atol=1e-12)
    np.testing.assert_allclose(matrix @ Y, y_goes_to, atol=1e-12)
    np.testing.assert_allclose(frames.matrix_to_quaternion(matrix), quaternion, atol=1e-12)


def test_a_quaternion_of_any_length_means_a_rotation():
    np.testing.assert_allclose(frames.quaternion_to_matrix(np.array([3.0, 3, 3, 3])), CYCLE, atol=1e-12)


@pytest.mark.parametrize(
    ("rotvec", "quaternion"),
    [
        ((0, 0, 0), (1, 0, 0, 0)),
        ((QUARTER, 0, 0), (HALF, HALF, 0, 0)),
        ((0, QUARTER, 0), (HALF, 0, HALF, 0)),
        ((0, 0, QUARTER), (HALF, 0, 0, HALF)),
        ((0, 0, -QUARTER), (HALF, 0, 0, -HALF)),
        ((0, np.pi / 3, 0), (np.sqrt(0.75), 0, 0.5, 0)),
        (CYCLE_ROTVEC, (0.5, 0.5, 0.5, 0.5)),
    ],
)
def test_a_rotation_vector_is_the_axis_times_the_angle(rotvec, quaternion):
    np.testing.assert_allclose(frames.rotvec_to_quaternion(np.array(rotvec)), quaternion, atol=1e-12)
    np.testing.assert_allclose(frames.quaternion_to_rotvec(np.array(quaternion)), rotvec, atol=1e-12)


def test_a_rotation_vector_goes_the_short_way_round():
    three_quarters = np.array([np.cos(3 * np.pi / 4), 0, 0, np.sin(3 * np.pi / 4)])
    np.testing.assert_allclose(frames.quaternion_to_rotvec(three_quarters), [0, 0, -QUARTER], atol=1e-12)


def test_a_very_small_rotation_is_kept():
    tiny = np.array([0.0, 3e-14, 0.0])
    np.testing.assert_allclose(frames.quaternion_to_rotvec(frames.rotvec_to_quaternion(tiny)), tiny, rtol=1e-6)


def test_the_left_factor_of_a_product_turns_last():
    np.testing.assert_allclose(frames.multiply(np.array([0.0, 1, 0, 0]), np.array([0.0, 0, 1, 0])), [0, 0, 0, 1])
    about_x, about_z = np.array([HALF, HALF, 0, 0]), np.array([HALF, 0, 0, HALF])
    np.testing.assert_allclose(frames.quaternion_to_matrix(frames.multiply(about_z, about_x)), CYCLE, atol=1e-12)


@many
@given(rotvecs)
def test_every_way_to_write_a_rotation_means_the_same_rotation(rotvec):
    expected = rodrigues(rotvec)
    quaternion = frames.rotvec_to_quaternion(rotvec)
    np.testing.assert_allclose(frames.rotvec_to_matrix(rotvec), expected, atol=1e-9)
    np.testing.assert_allclose(frames.quaternion_to_matrix(quaternion), expected, atol=1e-9)
    np.testing.assert_allclose(frames.matrix_to_rotvec(expected), rotvec, atol=1e-6)
    np.testing.assert_allclose(frames.matrix_to_quaternion(expected), quaternion, atol=1e-6)


@many
@given(rotvecs, rotvecs)
def test_a_product_of_quaternions_is_the_product_of_the_matrices(left, right):
    product = frames.multiply(frames.rotvec_to_quaternion(left), frames.rotvec_to_quaternion(right))
    np.testing.assert_allclose(frames.quaternion_to_matrix(product), rodrigues(left) @ rodrigues(right), atol=1e-9)


# Euler angles.


def test_bridges_euler_angles_turn_about_fixed_axes_x_first():
    euler = np.array([QUARTER, 0, QUARTER])
    np.testing.assert_allclose(frames.euler_sxyz_to_matrix(euler), CYCLE, atol=1e-12)
    np.testing.assert_allclose(frames.euler_sxyz_to_rotvec(euler), CYCLE_ROTVEC, atol=1e-12)
    np.testing.assert_allclose(frames.rotvec_to_euler_sxyz(np.array([0, 0, 0.3])), [0, 0, 0.3], atol=1e-12)
    np.testing.assert_allclose(frames.matrix_to_euler_sxyz(turn("z", 0.3) @ turn("x", -0.4)), [-0.4, 0, 0.3])


def test_maniskills_euler_angles_turn_about_moving_axes_x_first():
    # The cycle backwards, x -> z -> y -> x, is a quarter turn back about z, then one back about x.
    np.testing.assert_allclose(frames.rotvec_to_euler_XYZ(-CYCLE_ROTVEC), [-QUARTER, 0, -QUARTER], atol=1e-7)


def test_the_two_orders_of_euler_angles_differ_where_two_axes_turn():
    both = np.array([0.2, 0.0, 0.2])
    bridge, maniskill = frames.rotvec_to_euler_sxyz(both), frames.rotvec_to_euler_XYZ(both)
    # To second order R = 1 + [v] + [v]^2 / 2, whose corner element is 0.2 * 0.2 / 2 = 0.02.
    assert bridge[1] == pytest.approx(-0.02, abs=1e-3)
    assert maniskill[1] == pytest.approx(0.02, abs=1e-3)


@many
@given(angles, st.floats(-1.5, 1.5), angles)
def test_euler_angles_sxyz_are_rz_ry_rx_and_come_back(roll, pitch, yaw):
    matrix = frames.euler_sxyz_to_matrix(np.array([roll, pitch, yaw]))
    np.testing.assert_allclose(matrix, turn("z", yaw) @ turn("y", pitch) @ turn("x", roll), atol=1e-12)
    back = frames.matrix_to_euler_sxyz(matrix)
    np.testing.assert_allclose(np.exp(1j * back), np.exp(1j * np.array([roll, pitch, yaw])), atol=1e-7)


@many
@given(rotvecs)
def test_a_rotation_given_to_bridge_or_to_maniskill_is_the_same_rotation_there(rotvec):
    expected = rodrigues(rotvec)
    roll, pitch, yaw = frames.rotvec_to_euler_sxyz(rotvec)
    np.testing.assert_allclose(turn("z", yaw) @ turn("y", pitch) @ turn("x", roll), expected, atol=1e-6)
    a, b, c = frames.rotvec_to_euler_XYZ(rotvec)
    np.testing.assert_allclose(turn("x", a) @ turn("y", b) @ turn("z", c), expected, atol=1e-6)
    np.testing.assert_allclose(rodrigues(euler_XYZ_to_rotvec(np.array([a, b, c]))), expected, atol=1e-6)


# Base frames.


def test_the_robot_looks_along_minus_x_of_simplers_world():
    base = BaseFrame(0.147, 0.028, 0.870)
    np.testing.assert_allclose(base.from_world(np.array([-0.235, -0.075, 0.87])), [0.382, 0.103, 0.0], atol=1e-12)
    np.testing.assert_allclose(base.to_world(np.array([0.382, 0.103, 0.0])), [-0.235, -0.075, 0.87], atol=1e-12)
    origin = base.from_world(np.zeros(3))
    np.testing.assert_allclose(base.from_world(-X) - origin, X, atol=1e-12)
    np.testing.assert_allclose(base.from_world(-Y) - origin, Y, atol=1e-12)
    np.testing.assert_allclose(base.from_world(Z) - origin, Z, atol=1e-12)


def test_the_bases_are_simplers():
    assert (TABLE.base.x, TABLE.base.y, TABLE.base.z) == (0.147, 0.028, 0.870)
    assert (SINK.base.x, SINK.base.y, SINK.base.z) == (0.127, 0.060, 0.85)


def test_a_body_turned_in_the_world_is_turned_half_a_turn_more_in_the_base_frame():
    base = BaseFrame(0.1, 0.2, 0.3)
    pose = base.pose_from_world(np.array([-0.1, 0.0, 0.5]), np.array([HALF, 0, 0, HALF]))
    np.testing.assert_allclose(pose.position, [0.2, 0.2, 0.2], atol=1e-12)
    # Its x axis points along world +y, which is base -y.
    np.testing.assert_allclose(frames.quaternion_to_matrix(pose.quaternion) @ X, -Y, atol=1e-12)
    # Lying on its side, the world's up is the base's up.
    fallen = base.pose_from_world(np.zeros(3), np.array([HALF, 0, -HALF, 0]))
    np.testing.assert_allclose(frames.quaternion_to_matrix(fallen.quaternion) @ X, Z, atol=1e-12)


@many
@given(poses)
def test_a_pose_comes_back_from_the_world(pose):
    base = BaseFrame(0.147, 0.028, 0.870)
    position, quaternion = base.pose_to_world(pose)
    back = base.pose_from_world(position, quaternion)
    np.testing.assert_allclose(back.position, pose.position, atol=1e-12)
    np.testing.assert_allclose(back.quaternion, pose.quaternion, atol=1e-12)
    expected = turn("z", np.pi).T @ frames.quaternion_to_matrix(pose.quaternion)
    np.testing.assert_allclose(frames.quaternion_to_matrix(quaternion), expected, atol=1e-12)


# Gripper and state.


def test_the_fingers_travel_from_15_to_37_millimetres():
    assert WIDOWX_250S.gripper.opening(0.015) == 0.0
    assert WIDOWX_250S.gripper.opening(0.026) == pytest.approx(0.5)
    assert WIDOWX_250S.gripper.opening(0.037) == pytest.approx(1.0)
    assert WIDOWX_250S.gripper.opening(0.010) == 0.0
    assert WIDOWX_250S.gripper.opening(0.050) == 1.0


def test_simplers_gripper_is_plus_one_open_and_minus_one_closed():
    assert frames.gripper_to_simpler(1.0) == 1.0
    assert frames.gripper_to_simpler(0.51) == 1.0
    assert frames.gripper_to_simpler(0.5) == -1.0
    assert frames.gripper_to_simpler(0.0) == -1.0
    assert frames.gripper_from_simpler(1.0) == 1.0
    assert frames.gripper_from_simpler(0.0) == 0.5
    assert frames.gripper_from_simpler(-1.0) == 0.0
    assert frames.gripper_from_simpler(-7.0) == 0.0


def test_a_gripper_that_points_down_has_no_roll_pitch_or_yaw():
    down = Pose(np.array([0.3, 0.1, 0.15]), np.array([HALF, 0, HALF, 0]))
    np.testing.assert_allclose(frames.quaternion_to_matrix(down.quaternion) @ X, -Z, atol=1e-12)
    state = WIDOWX_250S.agent_pos(down, 0.4)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, [0.3, 0.1, 0.15, 0, 0, 0, 0.4], atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "index"),
    [("x", 3), ("y", 4), ("z", 5)],
)
def test_a_turn_about_a_base_axis_is_roll_pitch_or_yaw(axis, index):
    down = turn("y", QUARTER)
    turned = Pose(np.zeros(3), frames.matrix_to_quaternion(turn(axis, 0.2) @ down))
    expected = np.zeros(7)
    expected[index] = 0.2
    np.testing.assert_allclose(WIDOWX_250S.agent_pos(turned, 0.0), expected, atol=1e-6)


# The controller's rule.


def test_the_target_turns_about_the_measured_gripper_and_then_shifts_along_base_axes():
    # The arm is 2 cm behind its target; a quarter turn to the left swings the target from ahead of it to its left.
    target = Pose(np.array([0.30, 0.0, 0.10]), np.array([HALF, 0, HALF, 0]))
    measured = Pose(np.array([0.28, 0.0, 0.10]), IDENTITY)
    after = frames.advance_target(target, measured, np.array([0, 0, 0.01, 0, 0, QUARTER, 1]))
    np.testing.assert_allclose(after.position, [0.28, 0.02, 0.11], atol=1e-12)
    np.testing.assert_allclose(after.quaternion, [0.5, -0.5, 0.5, 0.5], atol=1e-12)


def test_a_shift_adds_to_the_target_and_not_to_where_the_arm_is():
    target, measured = Pose(np.array([0.30, 0.1, 0.10]), IDENTITY), Pose(np.array([0.25, 0.0, 0.2]), IDENTITY)
    after = frames.advance_target(target, measured, np.array([0.01, -0.02, 0.03, 0, 0, 0, 0]))
    np.testing.assert_allclose(after.position, [0.31, 0.08, 0.13], atol=1e-12)
    np.testing.assert_allclose(after.quaternion, IDENTITY, atol=1e-12)


@many
@given(poses, poses, rotvecs, vectors)
def test_the_rule_is_the_one_matrix_product_of_bridge_and_simpler(target, measured, rotvec, shift):
    def placed(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
        return np.block([[rotation, position[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])

    pivot = placed(np.eye(3), measured.position)
    before = placed(frames.quaternion_to_matrix(target.quaternion), target.position)
    expected = pivot @ placed(rodrigues(rotvec), shift) @ np.linalg.inv(pivot) @ before
    after = frames.advance_target(target, measured, np.array([*shift, *rotvec, 0]))
    np.testing.assert_allclose(after.position, expected[:3, 3], atol=1e-9)
    np.testing.assert_allclose(frames.quaternion_to_matrix(after.quaternion), expected[:3, :3], atol=1e-9)
