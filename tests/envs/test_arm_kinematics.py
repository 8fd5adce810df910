"""Kinematics of a robot's description: the tool frame of the vendor's driver, limits, no detours of the wrist."""

from __future__ import annotations

import numpy as np
import pytest

from vlm2vla_sim.core.rotations import matrix_to_rotvec, multiply, quaternion_to_matrix, rotvec_to_quaternion
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.robots import get_robot
from vlm2vla_sim.robots.kinematics import ArmKinematics
from vlm2vla_sim.types import Pose

AI = get_robot("widowx_ai")
# Joint angles [rad] -> tool frame: x, y, z [m], rotation vector [rad]. Of trossen-arm 1.11.0, wxai_v0_follower:
# `get_cartesian_positions` for these joints.
GOLDEN = (
    ((0, 0, 0, 0, 0, 0), (0.253762, 0, 0.1635, 0, 0, 0)),
    (
        (
            0.8366523808730753,
            0.8475592420934372,
            0.09654140736322256,
            -1.518876780223573,
            0.9841697834715759,
            2.59341753,
        ),
        (0.08478621978, -0.13603169742, 0.04784037511, 0.4532239198748964, 0.2583052557697823, -1.164965693678851),
    ),
    (
        (0.6514016979979411, 2.2917791010217194, 1.2808837686409147, 1.3668235265716528, 0.99228552562, -3.12438351),
        (0.51822131190, 0.20030815647, 0.18493994996, -2.80212825664681, 0.47983496390636254, -0.3527680147789172),
    ),
    (
        (2.183261208219421, 0.10551210752389376, 1.7192068663237698, -1.0189603023150005, 1.14096290245, 0.26050831),
        (0.24856907414, -0.06123844472, 0.45466177432, 0.856553868711697, 0.19055420469939778, 1.0108410723669246),
    ),
)


def apart(one: Pose, other: Pose) -> tuple[float, float]:
    turn = quaternion_to_matrix(one.quaternion) @ quaternion_to_matrix(other.quaternion).T
    return float(np.linalg.norm(one.position - other.position)), float(np.linalg.norm(matrix_to_rotvec(turn)))


@pytest.mark.parametrize(("joints", "tool"), GOLDEN)
def test_the_tool_frame_is_that_of_the_vendors_driver(joints, tool):
    found = ArmKinematics(AI).forward(np.array(joints))
    metres, radians = apart(found, Pose(np.array(tool[:3]), rotvec_to_quaternion(np.array(tool[3:]))))
    assert metres < 1e-6
    assert radians < 1e-5


@pytest.mark.parametrize("name", ["widowx_ai", "widowx_250s"])
def test_a_pose_is_found_again_from_nearby_within_the_limits(name):
    arm, rng = ArmKinematics(get_robot(name)), np.random.default_rng(0)
    middle, half = (arm.low + arm.high) / 2, (arm.high - arm.low) / 2
    for _ in range(20):
        joints = middle + 0.7 * half * rng.uniform(-1, 1, 6)
        start = np.clip(joints + rng.uniform(-0.05, 0.05, 6), arm.low, arm.high)
        found = arm.solve(arm.forward(joints), start)
        assert found is not None
        assert max(apart(arm.forward(found), arm.forward(joints))) < 1e-4
        assert ((found >= arm.low) & (found <= arm.high)).all()


def test_a_wrist_at_its_limit_stops_there_instead_of_turning_all_the_way_round():
    """The driver's own solver answers with the same pose one turn away: 4.6 rad in one step."""
    arm = ArmKinematics(AI)
    joints = np.array(AI.setup("table").home)
    reached = 0.0
    for yaw in np.arange(0.05, 4.0, 0.05):
        turn = rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
        down = AI.pose_from_numbers(np.array([0.285, 0, 0.12, 0, 0, 0])).quaternion
        found = arm.solve(Pose(np.array([0.285, 0, 0.12]), multiply(turn, down)), joints)
        if found is None:
            break
        assert np.abs(found - joints).max() < 0.2
        joints, reached = found, yaw
    assert 3.0 < reached < 3.2


def test_what_is_out_of_reach_is_not_found_and_limits_may_be_narrower():
    arm, setup = ArmKinematics(AI), AI.setup("table")
    home = np.array(setup.home)
    down = arm.forward(home)
    assert arm.solve(Pose(down.position + np.array([0.5, 0, 0]), down.quaternion), home) is None
    assert arm.solve(Pose(down.position + np.array([0, 0, 0.15]), down.quaternion), home) is None, "the wrist's limit"
    aside = Pose(down.position + np.array([0, 0.05, 0]), down.quaternion)
    assert arm.solve(aside, home) is not None
    assert arm.solve(aside, home, low=arm.low, high=np.minimum(arm.high, [0.05, 9, 9, 9, 9, 9])) is None


def test_the_start_is_the_same_as_joints_and_as_a_pose_and_lies_in_the_workspace():
    setup = AI.setup("table")
    assert setup.start is not None
    assert apart(ArmKinematics(AI).forward(np.array(setup.home)), AI.pose_from_numbers(np.array(setup.start)))[0] < 1e-4
    assert (np.array(setup.start[:3]) > setup.workspace.low).all()
    assert (np.array(setup.start[:3]) < setup.workspace.high).all()
    assert TASKS["carrot_on_plate"].arm.trossen is None
