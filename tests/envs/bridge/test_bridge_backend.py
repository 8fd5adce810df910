"""The client's guarantees (docs/real_robot.md), one test each, against a mock robot server on the real protocol."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lane import need

need("robot", "zmq", "lz4", "cv2")

from fault_scenarios import make_scenarios, play_all  # noqa: E402
from robot_bench import CARROT, QUICK, Bench, Fault, bench, in_thread  # noqa: E402

import vlm2vla_sim  # noqa: E402
from vlm2vla_sim.core import frames  # noqa: E402
from vlm2vla_sim.envs import motion  # noqa: E402
from vlm2vla_sim.envs.bridge.backend import BridgeBackend  # noqa: E402
from vlm2vla_sim.envs.bridge.client import BridgeClient  # noqa: E402
from vlm2vla_sim.envs.bridge.mock.server import MockServer  # noqa: E402
from vlm2vla_sim.envs.bridge.protocol import SERVER  # noqa: E402
from vlm2vla_sim.envs.robot_link import wire  # noqa: E402
from vlm2vla_sim.envs.robot_link.freshness import FrameClock  # noqa: E402
from vlm2vla_sim.envs.robot_link.grip import PATIENCE, SOFT, Grip  # noqa: E402
from vlm2vla_sim.envs.robot_link.images import decode_jpeg  # noqa: E402
from vlm2vla_sim.envs.robot_link.link import LinkState  # noqa: E402
from vlm2vla_sim.envs.robot_link.server_identity import ServerIdentity, Timeouts  # noqa: E402
from vlm2vla_sim.envs.tasks import OWN_TASK_ID, get_task  # noqa: E402
from vlm2vla_sim.errors import (  # noqa: E402
    ActionError,
    BackendFaultError,
    EpisodeAbortedError,
    EpisodeError,
    LinkLostError,
    SettingError,
    UnknownNameError,
)
from vlm2vla_sim.evaluation.setup import make_policy  # noqa: E402
from vlm2vla_sim.policies.spec import PolicySpec  # noqa: E402
from vlm2vla_sim.robots.base import Workspace  # noqa: E402
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S  # noqa: E402
from vlm2vla_sim.types import Outcome, Pose  # noqa: E402

DOWN = frames.matrix_to_quaternion(WIDOWX_250S.down)
BOX = Workspace((0.12, -0.25, 0.0), (0.50, 0.30, 0.40))


BOTH = pytest.mark.parametrize("stage", ["bridge", "manipulator_gym"], indirect=True)
"""A promise of every robot behind a server, whatever its messages."""


@pytest.fixture(scope="module")
def stage(request):
    with bench(backend=getattr(request, "param", "bridge")) as made:
        yield made


@pytest.fixture
def env(stage: Bench):
    made = stage.env()
    stage.proxy.arm(())
    made.reset(options={"episode_id": 0})
    yield made
    stage.proxy.arm(())
    made.close()


def step(dx: float = 0.0, dy: float = 0.0, dz: float = 0.0, gripper: float = 1.0) -> np.ndarray:
    return np.array([dx, dy, dz, 0, 0, 0, gripper], np.float32)


# The same environment.


@BOTH
def test_the_same_ids_spaces_and_info_as_in_the_simulator_serve_a_real_arm(env):
    twin = gym.make(CARROT, image_size=(96, 128))
    assert env.action_space == twin.action_space
    assert env.observation_space == twin.observation_space
    observation, _, _, _, info = env.step(step(0.01))
    assert env.observation_space.contains(observation)
    _, simulated = twin.reset(seed=0)
    assert set(simulated) <= set(info)
    twin.close()


@BOTH
def test_the_picture_shows_the_carrot_orange_and_not_blue(stage):
    real = stage.env(image_size=(480, 640))
    twin = gym.make(CARROT)
    shown = real.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
    wanted = twin.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
    red, green, blue = (shown[..., c].astype(int) for c in range(3))
    assert ((red > 150) & (red > blue + 80) & (red > green + 40)).sum() > 200
    small = [image.reshape(12, 40, 16, 40, 3).mean(axis=(1, 3)) for image in (shown, wanted)]
    # The arm stands alike to a few centimetres, so coarse images agree; exchanged colours would differ by far more.
    assert np.abs(small[0] - small[1]).mean() < 8 < np.abs(small[0][..., ::-1] - small[1]).mean()
    real.close()
    twin.close()


@BOTH
def test_an_action_moves_the_measured_arm_along_the_axis_it_names(env):
    for axis, name in enumerate(("forward", "left", "up")):
        before = env.unwrapped.status.robot.tcp.position.copy()
        delta = np.zeros(3)
        delta[axis] = 0.02
        for _ in range(3):
            env.step(step(*delta))
        for _ in range(3):
            env.step(step())
        moved = env.unwrapped.status.robot.tcp.position - before
        assert moved[axis] == pytest.approx(0.06, abs=0.012), name
        assert np.abs(np.delete(moved, axis)).max() < 0.012, name


@BOTH
def test_a_task_in_the_users_own_words_runs_on_a_real_arm_and_nobody_claims_to_know_its_success(stage):
    made = stage.env(OWN_TASK_ID, task="put the red cup on the towel", truth="")
    observation, info = made.reset(seed=0)
    assert info["instruction"] == made.unwrapped.task_description == "put the red cup on the towel"
    assert made.unwrapped.task == "put_the_red_cup_on_the_towel"
    assert info["success_known"] is False
    assert made.unwrapped.status.scene is None
    assert observation["pixels"]["primary"].shape == (96, 128, 3)
    made.close()


def test_a_simulator_refuses_a_task_in_the_users_own_words_and_a_misspelt_name_is_guessed():
    with pytest.raises(UnknownNameError):
        gym.make(OWN_TASK_ID, task="put the red cup on the towel", backend="point")
    with pytest.raises(UnknownNameError, match="carrot_on_plate"):
        gym.make(OWN_TASK_ID, task="carot_on_plate", backend="bridge")
    with pytest.raises(EpisodeError, match="instruction"):
        gym.make(OWN_TASK_ID, task=" " + "very " * 100, backend="bridge")


@BOTH
def test_the_servers_identity_is_part_of_the_result(env):
    profile = env.unwrapped.profile
    assert "127.0.0.1" in profile
    assert "server 0.0.1" in profile
    assert '"version":"0.0.1"' in env.step(step())[4]["server"]


# Promise: nothing that is not a number, and nothing outside the workspace, reaches the wire; start moves included.


@pytest.fixture
def counting(stage):
    client = BridgeClient("127.0.0.1", stage.server.port, workspace=BOX, timeouts=QUICK)
    client.connect()
    before = stage.server.requests
    yield client, lambda: stage.server.requests - before
    client.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", range(7))
def test_a_step_that_is_not_a_number_is_not_sent(counting, bad, where):
    client, sent = counting
    action = np.zeros(7)
    action[where] = bad
    here = Pose(np.array([0.3, 0, 0.2]), DOWN)
    with pytest.raises(ActionError):
        client.step(action, before=here, after=here)
    assert sent() == 0


def test_poses_and_starts_outside_the_workspace_are_not_sent(counting):
    client, sent = counting
    inside, outside = Pose(np.array([0.3, 0, 0.2]), DOWN), Pose(np.array([0.3, 0, -0.02]), DOWN)
    with pytest.raises(ActionError, match="outside the workspace"):
        client.move(outside, 1.0)
    with pytest.raises(ActionError, match="outside the workspace"):
        client.step(np.zeros(7), before=inside, after=outside)
    with pytest.raises(ActionError, match="outside the workspace"):
        client.init({"start_state": [0.3, 0.0, 0.55, 0, 0, 0, 1]})
    with pytest.raises(ActionError, match="not"):
        client.init({"start_state": [0.3, float("nan"), 0.15, 0, 0, 0, 1]})
    with pytest.raises(ActionError, match="beyond"):
        client.step(np.array([0.06, 0, 0, 0, 0, 0, 1.0]), before=inside, after=inside)
    with pytest.raises(ActionError, match="beyond"):
        client.step(np.array([0, 0, 0, 0, 0, 0, 1.1]), before=inside, after=inside)
    with pytest.raises(ActionError, match="move of"):
        client.move(inside, float("inf"))
    assert sent() == 0


def test_the_workspace_and_the_start_are_given_on_the_command_line_too():
    """The page tells its reader to set the box to the table."""
    for text in ("0.15,-0.2,0,0.45,0.2,0.3", "((0.15, -0.2, 0.0), (0.45, 0.2, 0.3))"):
        made = BridgeBackend(get_task("carrot_on_plate"), workspace=text, start="0.3,0,0.2,0,0,0")
        assert made._settings.workspace == Workspace((0.15, -0.2, 0.0), (0.45, 0.2, 0.3))
        assert made._settings.start.tolist() == [0.3, 0.0, 0.2, 0.0, 0.0, 0.0]


def test_a_start_outside_the_workspace_is_refused_before_anything_is_sent():
    with pytest.raises(SettingError, match="outside the workspace"):
        BridgeBackend(get_task("carrot_on_plate"), start=(0.3, 0.0, 0.5, 0, 0, 0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": (0.3, 0.0, 0.2)}, r"start is \[0.3, 0.0, 0.2\]; expected x, y, z"),
        ({"start": (0.3, 0.0, float("nan"), 0, 0, 0)}, "start is .*nan"),
        ({"start": "0.3,0,0.2"}, "start is '0.3,0,0.2'; expected x, y, z"),
        ({"workspace": "0.1,0.2"}, "workspace is '0.1,0.2'; expected the low and the high corner"),
        ({"workspace": 0.3}, "workspace is 0.3; expected"),
        ({"workspace": "0.1,-0.2,0,0.5,nan,0.4"}, "not finite"),
        ({"workspace": ((0.1, -0.2, 0.0), (0.5, float("nan"), 0.4))}, "not finite"),
        ({"workspace": ((0.1, 0.2, 0.0), (0.5, -0.2, 0.4))}, r"workspace goes from \[0.1, 0.2, 0.0\] to"),
        ({"period": 5.1}, r"period is 5.1 s \(expected 0 to 5\)"),
        ({"period": float("nan")}, "period is nan s"),
        ({"max_frame_age": 0.0}, "max_frame_age 0.0 s"),
        ({"max_frame_age": 4.0, "frame_timeout": 3.0}, "at most frame_timeout, 3.0 s"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_sent(options, sentence):
    with pytest.raises(SettingError, match=sentence):
        BridgeBackend(get_task("carrot_on_plate"), **options)


@BOTH
def test_a_policy_that_pushes_outwards_while_turning_never_commands_a_target_outside_the_workspace(env, stage):
    rng = np.random.default_rng(5)
    done = len(stage.server.robot.acts)
    for _ in range(40):
        action = np.concatenate([rng.choice([-0.05, 0.05], 3), rng.uniform(-0.25, 0.25, 3), [1.0]])
        for _ in range(3):
            env.step(action.astype(np.float32))
    targets = np.array([act.target for act in stage.server.robot.acts[done:] if act.key == "step_action"])
    assert len(targets) >= 120
    assert (targets >= np.array(BOX.low) - 1e-6).all()
    assert (targets <= np.array(BOX.high) + 1e-6).all()


# Promise: an act is sent at most once, and a lost answer ends the trust in the link.


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("bridge", kind)
        for kind in ("drop_question", "drop_answer", "late_answer", "late_question", "truncate", "garble")
    ]
    + [("manipulator_gym", "drop_answer"), ("manipulator_gym", "late_question")],
    indirect=["stage"],
)
def test_a_lost_answer_ends_the_episode_truncated_as_link_lost_and_nothing_more_is_sent(stage, env, kind):
    stage.proxy.arm([Fault(4, kind, seconds=0.6)])
    done = len(stage.server.robot.acts)
    for number in range(1, 10):
        observation, reward, terminated, truncated, info = env.step(step(0.001 * number))
        if truncated:
            break
    assert (truncated, terminated, reward) == (True, False, 0.0)
    assert info["reason"] == "link_lost"
    assert info["link"] == "unknown"
    assert observation["pixels"]["primary"].std() > 10  # the last image, not zeros
    with pytest.raises(LinkLostError, match="nothing is sent"):
        env.unwrapped._backend._client.step(
            np.zeros(7), before=Pose([0.3, 0, 0.2], DOWN), after=Pose([0.3, 0, 0.2], DOWN)
        )
    time.sleep(0.7)
    acts = [act.raw for act in stage.server.robot.acts[done:]]
    assert len(acts) == len(set(acts)) <= number
    # The next episode starts once the server answers and the arm is still.
    env.reset(options={"episode_id": 1})
    assert env.step(step(0.01))[3] is False


def test_a_server_that_was_started_anew_ends_the_episode_and_is_initialised_again(stage, env):
    stage.truth.ask(type="restart", seconds=0.05)
    time.sleep(0.1)
    info = env.step(step(0.01))[4]
    assert info["reason"] in ("robot_fault", "link_lost")
    env.reset(options={"episode_id": 2})
    assert env.step(step(0.01))[3] is False


@BOTH
def test_an_arm_that_its_server_drove_to_neutral_ends_the_episode(stage, env):
    for _ in range(6):
        env.step(step(0.04, 0.0, -0.015))
    stage.truth.ask(type="crash")
    time.sleep(0.1)
    info = env.step(step())[4]
    assert info["reason"] == "robot_fault"
    assert "its server was reset" in info["fault"]


def test_a_lost_link_counts_as_an_error_and_never_as_the_policys_failure(stage, env):
    stage.proxy.arm([Fault(9, "drop_answer")])
    result = vlm2vla_sim.run_episode(env, "hold", episode_id=0)
    assert result.outcome is Outcome.ERROR
    assert "link_lost" in result.reason
    assert result.grasped is None
    assert result.success_once is None


def test_every_method_has_a_time_limit_that_fits_it():
    limits = Timeouts()
    assert (limits.hash, limits.obs, limits.step, limits.reset, limits.init) == (2, 3, 5, 30, 60)
    assert limits.scaled(0.5).reset == 15
    with pytest.raises(SettingError, match="timeout hash"):
        Timeouts(hash=0)


def test_a_slow_init_and_a_slow_reset_are_waited_for(stage):
    # The robot's own client gives up after 0.8 s.
    slow, end = in_thread(
        lambda: MockServer(
            get_task("carrot_on_plate"), port=0, clock="wall", speed=5.0, image_size=(96, 128), obs_seconds=0.0
        )
    )
    try:
        made = gym.make(CARROT, backend="bridge", port=slow.port, image_size=(96, 128), period=0.0)
        started = time.monotonic()
        made.reset(seed=0)
        assert time.monotonic() - started > 2.0
        made.close()
    finally:
        end()


def test_nobody_at_the_port_is_said_so_and_nothing_waits_for_ever():
    made = gym.make(CARROT, backend="bridge", port=9, timeouts=QUICK)
    started = time.monotonic()
    with pytest.raises(LinkLostError, match="Nothing replies"):
        made.reset(seed=0)
    assert time.monotonic() - started < 2
    made.close()


# Promise: no frame older than max_frame_age is passed off as fresh.


def test_a_frame_is_as_old_as_the_first_coming_of_its_bytes():
    clock = FrameClock()
    assert clock.age(b"a", asked=10.0, arrived=10.1) == pytest.approx(0.1)
    assert clock.age(b"b", asked=10.2, arrived=10.3) == pytest.approx(0.1)
    assert clock.age(b"a", asked=12.0, arrived=12.1) == pytest.approx(2.1)


@BOTH
def test_a_frozen_camera_ends_the_episode_instead_of_being_shown(stage, env):
    stage.proxy.arm([Fault(3, "freeze", count=10_000)])
    ages = []
    for number in range(60):
        _, _, _, truncated, info = env.step(step(0.0001 * (number + 1)))
        if truncated:
            break
        ages.append(info["frame_age"])
    assert info["reason"] == "camera_stale"
    assert ages
    assert max(ages) <= 0.15


def test_a_fresh_frame_says_how_old_it_is(env):
    assert 0 < env.step(step())[4]["frame_age"] < 0.15


@BOTH
def test_a_picture_that_cannot_be_decoded_is_a_fault_of_the_camera(stage, env, monkeypatch):
    monkeypatch.setattr(f"vlm2vla_sim.envs.{stage.backend}.mock.robot.jpeg", lambda image: b"\xff\xd8" + os.urandom(50))
    assert env.step(step())[4]["reason"] == "camera_stale"


# Promise: an arm that does not follow is noticed, and its controller's target is brought back to it.


@BOTH
def test_an_arm_that_is_held_is_seen_to_stall_and_nothing_winds_up(stage, env):
    stage.truth.ask(type="block", on=True)
    stalls = [env.step(step(0.02))[4]["stalled"] for _ in range(8)]
    stage.truth.ask(type="block", on=False)
    assert any(stalls)
    here = env.unwrapped.status.robot
    assert np.linalg.norm(here.target.position - here.tcp.position) < 0.10
    before = here.tcp.position[0]
    for _ in range(5):
        env.step(step(-0.02))
    assert env.unwrapped.status.robot.tcp.position[0] < before - 0.02  # steps back work at once


@BOTH
def test_an_arm_that_moves_freely_is_never_called_stalled(env):
    for _ in range(10):
        assert env.step(step(0.01, 0.01, 0.005))[4]["stalled"] is False


@BOTH
def test_a_success_without_a_motion_is_not_believed(stage, env):
    # Out of reach the server finds no joint angles, does nothing, and answers SUCCESS.
    info = {}
    for _ in range(25):
        info = env.step(step(0.05, 0.0, 0.05))[4]
    assert info["stalls"] > 0
    robot = env.unwrapped.status.robot
    assert np.linalg.norm(robot.target.position - robot.tcp.position) < 0.15


# Promise: conventions are converted, with golden numbers.


def test_the_gripper_reading_is_converted():
    assert WIDOWX_250S.opening_from_bridge(0.20) == pytest.approx(0.0, abs=1e-12)
    assert WIDOWX_250S.opening_from_bridge(1.08) == 1.0
    assert WIDOWX_250S.opening_from_bridge(0.64) == pytest.approx(0.5)
    assert WIDOWX_250S.finger_to_bridge(0.015) == pytest.approx(0.20)


def test_a_state_with_zero_angles_is_a_gripper_that_points_down():
    pose = WIDOWX_250S.pose_from_numbers(np.array([0.3, 0.1, 0.2, 0, 0, 0, 1]))
    pointing = frames.quaternion_to_matrix(pose.quaternion) @ [1, 0, 0]
    np.testing.assert_allclose(pointing, [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(WIDOWX_250S.pose_to_numbers(pose), [0.3, 0.1, 0.2, 0, 0, 0], atol=1e-12)


def test_a_turn_is_sent_as_fixed_axis_euler_angles_and_not_as_a_rotation_vector():
    sent = frames.action_to_bridge(np.array([0.01, -0.02, 0.03, 0.2, 0.15, -0.1, 0.7]))
    # OpenCV 5.0's Rodrigues of (0.2, 0.15, -0.1), taken apart as Rz Ry Rx.
    np.testing.assert_allclose(sent, [0.01, -0.02, 0.03, 0.193770, 0.158800, -0.085058, 0.7], atol=1e-6)
    np.testing.assert_allclose(frames.action_from_bridge(sent)[3:6], [0.2, 0.15, -0.1], atol=1e-12)


def test_red_in_the_scene_is_red_in_the_observation():
    import cv2
    from PIL import Image

    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 200, 90, 20
    data = cv2.imencode(".jpg", image)[1].tobytes()  # as the server does: RGB to an encoder that takes BGR
    import io

    in_file = np.asarray(Image.open(io.BytesIO(data)))
    assert in_file[32, 32, 0] < 40 < 180 < in_file[32, 32, 2]
    np.testing.assert_allclose(decode_jpeg(data)[32, 32], [200, 90, 20], atol=4)


def test_absolute_poses_travel_as_matrices():
    pose = WIDOWX_250S.pose_from_numbers(np.array([0.3, 0.1, 0.2, 0.3, -0.2, 0.5]))
    matrix = frames.pose_to_matrix(pose)
    np.testing.assert_allclose(frames.pose_from_matrix(matrix).position, [0.3, 0.1, 0.2])
    turned = frames.quaternion_to_matrix(frames.pose_from_matrix(matrix).quaternion)
    np.testing.assert_allclose(turned, matrix[:3, :3], atol=1e-12)


# Promise: a held object is not squeezed with full power while the model thinks.


def test_the_grip_softens_once_the_fingers_stand_still_on_something_and_hardens_when_it_slips():
    grip = Grip()
    assert grip.command(1.0) == 1.0
    grip.watch(1.08)
    assert grip.command(0.0) == 0.0
    assert not grip.watch(0.9)
    assert grip.command(0.0) == 0.0
    assert not grip.watch(0.62)  # still closing
    assert grip.command(0.0) == 0.0
    assert grip.watch(0.61)
    assert grip.command(0.0) == pytest.approx(0.61 - SOFT)
    assert not grip.watch(0.61)
    assert not grip.watch(0.55)  # it slips
    assert grip.command(0.0) == 0.0
    assert grip.command(1.0) == 1.0


def test_empty_fingers_are_simply_closed():
    grip = Grip()
    for reading in (0.9, 0.5, 0.2, 0.2, 0.2):
        assert grip.command(0.0) == 0.0
        assert not grip.watch(reading)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(-0.5, 2.0)), max_size=60),
)
def test_whatever_the_gripper_reads_the_command_is_in_range_and_none_opens_what_was_told_to_close(steps):
    grip = Grip()
    for wanted, reading in steps:
        sent = grip.command(wanted)
        assert 0.0 <= sent <= 1.0
        assert sent >= wanted
        grip.watch(reading)
        assert not (grip.stuck and grip.holding)


@pytest.mark.parametrize("reading", [0.95, 1.0, 1.04, 1.05, 1.08, 1.3])
def test_fingers_that_stay_open_hold_nothing_and_are_called_stuck_after_a_second(reading):
    grip = Grip()
    grip.command(1.0)
    grip.watch(reading)
    for number in range(PATIENCE):
        assert not grip.stuck
        assert grip.command(0.0) == 0.0, "full power, no soft hold"
        assert not grip.watch(reading - 0.003 * (number % 2))
        assert not grip.holding
    assert grip.stuck
    assert grip.command(1.0) == 1.0
    assert not grip.stuck, "only a closing command tells"


def test_a_wide_object_and_fingers_that_start_late_are_not_called_stuck():
    grip = Grip()
    grip.command(1.0)
    grip.watch(1.05)
    for reading in (1.05, 1.05, 1.02, 0.96, 0.96, 0.96, 0.96, 0.96, 0.96, 0.96):
        grip.command(0.0)
        grip.watch(reading)
        assert not grip.stuck
    assert grip.holding
    assert grip.command(0.0) == pytest.approx(0.96 - SOFT)


def test_a_held_object_stays_held_when_the_policy_opens_for_a_moment():
    grip = Grip()
    for wanted, reading in [(1, 1.05), (0, 0.8), (0, 0.6), (0, 0.6), (1, 0.6), *[(0.0, 0.6)] * 9]:
        grip.command(float(wanted))
        grip.watch(reading)
        assert not grip.stuck
    assert grip.holding


@pytest.mark.parametrize(
    ("stage", "reading"), [("bridge", 1.07), ("bridge", 1.0), ("manipulator_gym", 1.07)], indirect=["stage"]
)
def test_a_gripper_that_does_not_close_ends_the_episode_as_a_fault_of_the_robot(stage, env, reading):
    stage.truth.ask(type="jam", reading=reading)
    try:
        infos = []
        while not infos or "fault" not in infos[-1]:
            infos.append(env.step(step(gripper=0.0))[4])
            assert len(infos) < 20
    finally:
        stage.truth.ask(type="jam", reading=None)
    assert infos[-1]["reason"] == "robot_fault"
    assert "does not follow" in infos[-1]["fault"]
    assert len(infos) >= PATIENCE
    assert not any(info["soft_hold"] for info in infos)
    sent = [act.numbers[6] for act in stage.server.robot.acts if act.key == "step_action"]
    assert all(0.0 <= number <= 1.0 for number in sent)
    env.reset(options={"episode_id": 0})
    assert "fault" not in env.step(step(gripper=0.0))[4]


@BOTH
def test_a_gripper_that_does_not_open_in_a_reset_is_a_fault_of_the_robot(stage, env):
    env.step(step())  # an arm that was not moved since its last reset is not reset again
    stage.truth.ask(type="jam", reading=0.3)
    try:
        with pytest.raises(LinkLostError, match=r"After reset the gripper reads 0\.3") as caught:
            env.reset(options={"episode_id": 0})
    finally:
        stage.truth.ask(type="jam", reading=None)
    assert caught.value.reason == "robot_fault"
    env.reset(options={"episode_id": 0})


def test_the_last_command_before_a_pause_is_the_soft_one(stage, env):
    policy = make_policy(env, PolicySpec("scripted"))
    observation, _ = env.reset(options={"episode_id": 0})
    policy.reset("")
    held, told, info = False, 1.0, {}
    for _ in range(12):
        decision = policy.act(observation)
        for delta in motion.split(decision.chunk.deltas, gripper=told):
            observation, *_, info = env.step(delta)
        told = float(decision.chunk.deltas[-1, 6])
        held = env.unwrapped.status.scene.grasped
        if held:
            break
    assert held
    assert info["soft_hold"]
    last = [act for act in stage.server.robot.acts if act.key == "step_action"][-1]
    assert 0.1 < last.numbers[6] < 1.0
    for number in range(25):  # and the carrot stays between the fingers
        env.step(step(0, 0, 0.01 if number < 5 else 0, gripper=0.0))
    assert env.unwrapped.status.scene.grasped


# Promise: closing, Ctrl-C and exceptions leave the arm holding; `park` sends it to sleep first.


@BOTH
def test_closing_sends_nothing_and_the_arm_holds(stage, env):
    questions = stage.server.requests
    env.close()
    env.close()
    time.sleep(0.05)
    assert stage.server.requests == questions


def test_park_brings_the_arm_close_to_its_base_before_hanging_up(stage):
    made = stage.env(park=True)
    made.reset(options={"episode_id": 0})
    made.close()
    assert [act.key for act in stage.server.robot.acts[-2:]] == ["move", "move"]
    np.testing.assert_allclose(stage.server.robot.acts[-1].numbers, [0.20, 0.0, 0.12], atol=1e-9)


def test_ctrl_c_in_the_middle_of_a_step_leaves_the_link_untrusted_and_the_arm_alone(stage):
    program = f"""
        import sys; sys.path[:0] = {sys.path!r}
        import gymnasium as gym, numpy as np, vlm2vla_sim
        env = gym.make("{CARROT}", backend="bridge", port={stage.proxy.port}, image_size=(96, 128), period=0.0)
        env.reset(seed=0)
        print("ready", flush=True)
        try:
            while True:
                env.step(np.array([0.001, 0, 0, 0, 0, 0, 1], np.float32))
        except KeyboardInterrupt:
            print(env.unwrapped._backend._client.link.value, flush=True)
            env.close()
            print("closed", flush=True)
    """
    stage.proxy.arm([Fault(60, "late_question", seconds=3.0)])
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while not stage.proxy.injected:
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "unknown\n"
        acts = len(stage.server.robot.acts)
        assert process.stdout.readline() == "closed\n"
        assert process.wait(10) == 0
    assert len(stage.server.robot.acts) == acts
    stage.proxy.arm(())
    time.sleep(3.0)  # let the late question pass


# Promise: other machines only when allowed.


@pytest.mark.parametrize("host", ["192.168.1.7", "robot.lab", "0.0.0.0"])
def test_a_host_other_than_this_machine_needs_a_word_and_is_told_of_the_tunnel(host):
    with pytest.raises(SettingError, match="ssh -L 5556:localhost:5556"):
        gym.make(CARROT, backend="bridge", host=host)
    gym.make(CARROT, backend="bridge", host=host, allow_remote=True).close()


# Who answers.


def test_a_server_that_is_no_bridge_server_or_lacks_a_method_is_refused():
    with pytest.raises(BackendFaultError, match="expected the description of a BridgeData robot server"):
        ServerIdentity.from_reply({"success": False}, "h", 1, SERVER)
    with pytest.raises(BackendFaultError, match="step_action is missing"):
        ServerIdentity.from_reply({"payload": '{"action_keys": ["init", "move", "reset"]}'}, "h", 1, SERVER)


def test_an_older_server_on_another_port_is_accepted():
    reply = {
        "success": True,
        "payload": '{"port_number":7000,"action_keys":["init","move","gripper","reset","step_action"]}',
    }
    assert ServerIdentity.from_reply(reply, "h", 5556, SERVER).methods[-1] == "step_action"


def test_a_closed_client_says_nothing():
    client = BridgeClient("127.0.0.1", 9, workspace=BOX)
    assert client.link is LinkState.CLOSED
    with pytest.raises(LinkLostError, match="closed"):
        client.reset()


# The mock server has the real server's manners.


def test_the_mock_server_refuses_to_act_before_init_and_shows_noise(stage):
    stage.truth.ask(type="restart", seconds=0.0)
    client = BridgeClient("127.0.0.1", stage.server.port, workspace=BOX, timeouts=QUICK)
    time.sleep(0.1)
    client.connect()
    with pytest.raises(LinkLostError, match="not initialised"):
        client.reset()
    with pytest.raises(LinkLostError, match="not initialised"):
        client.observe()
    client.close()


def test_an_exception_in_the_mock_server_is_a_hard_reset_without_an_answer(stage, env):
    import zmq

    resets = stage.server.robot.hard_resets
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{stage.server.port}")
    socket.send(
        wire.encode({"type": "act", "key": "step_action", "payload": {"action": np.zeros(6), "blocking": False}})
    )
    assert not socket.poll(500)
    socket.close()
    assert stage.server.robot.hard_resets == resets + 1


def test_the_mock_server_answers_an_unreadable_frame_with_invalid_payload(stage):
    import zmq

    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{stage.server.port}")
    socket.send(b"not a frame")
    assert socket.poll(2000)
    assert wire.decode(socket.recv()) == {"success": False, "message": "Invalid payload"}
    socket.close()


# All of it together.


def test_seeded_faults_break_no_promise():
    scenarios = make_scenarios(32, random.Random(7))
    broken, endings = [], set()
    for played in play_all(scenarios):
        broken += played.broken
        endings.add(played.ending)
    assert broken == []
    assert {"failure", "link_lost", "robot_fault"} <= endings


@pytest.mark.parametrize(
    ("stage", "episode_id"),
    [("bridge", 0), ("bridge", 5), ("bridge", 11), ("bridge", 18), ("manipulator_gym", 0), ("manipulator_gym", 18)],
    indirect=["stage"],
)
def test_the_scripted_policy_speaks_the_carrot_onto_the_plate_through_the_wire(stage, episode_id):
    made = stage.env(direct=True, timeouts=Timeouts(), max_frame_age=2.0, frame_timeout=5.0)
    result = vlm2vla_sim.run_episode(made, "scripted", episode_id=episode_id)
    made.close()
    assert result.outcome is Outcome.SUCCESS


def test_evaluate_on_a_real_arm_asks_the_person_and_resumes_what_they_said(stage, tmp_path, monkeypatch):
    import io

    from vlm2vla_sim.evaluation.settings import RunSettings
    from vlm2vla_sim.evaluation.suite import InterruptedRunError, run_suite

    words = "push the carrot aside"
    options = {"port": stage.server.port, "period": 0.0}
    settings = RunSettings(policy="hold", tasks=(words,), episodes=3, backend="bridge", backend_options=options)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ny\n\nnote nudged\nn\n"))
    with pytest.raises((InterruptedRunError, EpisodeAbortedError)):  # the third answer is the end of the input
        run_suite(settings, out=tmp_path / "run", video=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n50\n"))
    run = run_suite(settings, out=tmp_path / "run", video=False, resume=True)
    assert [r.outcome for r in run.results] == [Outcome.SUCCESS, Outcome.FAILURE, Outcome.FAILURE]
    assert [r.instruction for r in run.results] == [words] * 3
    assert "nudged" in run.results[1].reason
    assert "127.0.0.1" in run.results[0].profile
    with pytest.raises(SettingError, match="one robot"):
        run_suite(settings, out=tmp_path / "other", workers=2)


def test_a_session_on_the_mock_server_shows_the_wanted_scene_beside_the_live_one(stage, tmp_path):
    import io

    from PIL import Image

    from vlm2vla_sim.evaluation.operator.episode_log import PolicySpec, SessionSettings
    from vlm2vla_sim.evaluation.operator.prompts import Operator, StreamAnswers
    from vlm2vla_sim.evaluation.operator.session import run_session

    stage.proxy.arm([Fault(8, "drop_answer")])
    said: list[str] = []
    asked = Operator([StreamAnswers(io.StringIO("\n\ny\n"))], say=said.append)
    settings = SessionSettings((PolicySpec("hold"),), ("carrot_on_plate",), 1, backend="bridge")
    options = {
        "port": stage.proxy.port,
        "timeouts": QUICK,
        "period": 0.0,
        "max_episode_steps": 6,
        "image_size": (240, 320),
    }
    end = run_session(settings, tmp_path / "s", asked, video=False, env_options=options)
    assert end.done == 1
    assert "1 attempts run again" in end.table  # the lost link, and not a failure
    assert any("Arrange the scene" in words for words in said)
    wanted, live = np.split(np.asarray(Image.open(tmp_path / "s" / "live" / "scene.jpg"), dtype=float), 2, axis=1)
    assert np.abs(wanted - live).mean() < 12
