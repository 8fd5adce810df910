"""What is particular to the wire of manipulator_gym; the promises it shares are in test_bridge_backend.py."""

from __future__ import annotations

import io
import json
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane import need

need("robot", "zmq", "lz4", "cv2")

import lz4.frame  # noqa: E402
import zmq  # noqa: E402
from robot_bench import QUICK, Bench, bench  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.core import frames  # noqa: E402
from vlm2vla_sim.envs.manipulator_gym.backend import ManipulatorGymBackend  # noqa: E402
from vlm2vla_sim.envs.manipulator_gym.client import MAX_PARTS  # noqa: E402
from vlm2vla_sim.envs.manipulator_gym.conventions import (  # noqa: E402
    advance,
    change_to,
    finger_from_reading,
    pose_from_absolute,
    pose_to_absolute,
    reading_from_finger,
)
from vlm2vla_sim.envs.manipulator_gym.protocol import INTERFACES, describe_server, find_interface  # noqa: E402
from vlm2vla_sim.envs.robot_link import wire  # noqa: E402
from vlm2vla_sim.envs.robot_link.link import LinkState  # noqa: E402
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts  # noqa: E402
from vlm2vla_sim.envs.tasks import get_task  # noqa: E402
from vlm2vla_sim.errors import BackendFaultError, LinkLostError, SettingError, UnknownNameError  # noqa: E402
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S  # noqa: E402
from vlm2vla_sim.types import Pose  # noqa: E402

FRAMES = json.loads((Path(__file__).parents[2] / "data" / "manipulator_gym_frames.json").read_text())
"""Frames that agentlace@76984f9 wrote, under two versions of NumPy."""
EVERY_FRAME = [(version, name) for version in FRAMES for name in FRAMES[version]]
QUARTER = np.pi / 2


def step(dx: float = 0.0, dy: float = 0.0, dz: float = 0.0, *turn: float, gripper: float = 1.0) -> np.ndarray:
    return np.array([dx, dy, dz, *(turn or (0, 0, 0)), gripper], np.float32)


# The frames.

MESSAGES: dict[str, Any] = {
    "hash": {"type": "hash"},
    "hash_reply": {"success": True, "payload": describe_server(5556)},
    "obs": {"type": "obs", "keys": frozenset({"eef_pose", "gripper_state", "primary_img", "wrist_img"})},
    "step_action": {
        "type": "act",
        "key": "step_action",
        "payload": np.array([0.01, -0.02, 0.005, 0.0, 0.1, -0.2, 1.0]),
    },
    "move_eef": {"type": "act", "key": "move_eef", "payload": np.array([0.258325, 0, 0.19065, 0, QUARTER, 0])},
    "reset": {
        "type": "act",
        "key": "reset",
        "payload": {"target_state": np.array([0.26, 0.0, 0.26, 0.0, QUARTER, 0.0, 1.0])},
    },
    "status": {"status": True},
}


@pytest.mark.parametrize(("version", "name"), EVERY_FRAME)
def test_frames_that_the_robots_own_code_wrote_are_read(version, name):
    read = wire.decode(bytes.fromhex(FRAMES[version][name]))
    if name == "obs_reply":
        np.testing.assert_array_equal(read["eef_pose"], [0.3, 0.01, 0.2, -0.1, 1.5, 0.2])
        assert read["gripper_state"] == 0.3857142857142857
        assert read["primary_img"][:2] == b"\xff\xd8"
        return
    wanted = MESSAGES[name]
    payload = wanted.get("payload")
    if isinstance(payload, (dict, np.ndarray)):
        told = payload["target_state"] if isinstance(payload, dict) else payload
        got = read["payload"]["target_state"] if isinstance(payload, dict) else read["payload"]
        np.testing.assert_array_equal(got, told)
        assert (read["type"], read["key"]) == (wanted["type"], wanted["key"])
    else:
        assert read == wanted


def test_a_step_arrives_as_an_array_that_the_server_may_write_to():
    # widowx_ros2.py:76 clips what it was sent in place.
    sent = wire.encode({"type": "act", "key": "step_action", "payload": np.zeros(7)})
    assert pickle.loads(lz4.frame.decompress(sent))["payload"].flags.writeable


# The conventions, with golden numbers.


def test_a_gripper_that_points_down_has_a_pitch_of_a_quarter_turn():
    down = Pose(np.array([0.3, 0.0, 0.2]), frames.matrix_to_quaternion(WIDOWX_250S.down))
    np.testing.assert_allclose(pose_to_absolute(down), [0.3, 0, 0.2, 0, QUARTER, 0], atol=1e-9)
    # Turned 0.3 rad about the base's z while pointing down: the server's rule puts all of it into the roll.
    turned = frames.multiply(frames.rotvec_to_quaternion(np.array([0, 0, 0.3])), down.quaternion)
    np.testing.assert_allclose(pose_to_absolute(Pose(down.position, turned))[3:], [-0.3, QUARTER, 0], atol=1e-7)
    np.testing.assert_allclose(
        pose_to_absolute(WIDOWX_250S.pose_from_numbers(np.array([0.3, 0, 0.2, 0, -0.2, 0.1])))[3:],
        [0.0, QUARTER - 0.2, 0.1],
        atol=1e-9,
    )


@pytest.mark.parametrize(
    ("interface", "reading", "finger"),
    [
        ("widowx", 0.0714286, 0.015),
        ("widowx", 0.3857143, 0.037),
        # The motor's angle and the finger that interfaces/widowx.py:230 quotes from a robot.
        ("widowx_ros2", 1.3652429580688477, 0.037534553557634354),
        ("widowx_ros2", -0.3779841, 0.015),
    ],
)
def test_the_gripper_reads_as_its_interface_says(interface, reading, finger):
    assert finger_from_reading(WIDOWX_250S, find_interface(interface), reading) == pytest.approx(finger, abs=1e-7)
    assert reading_from_finger(WIDOWX_250S, find_interface(interface), finger) == pytest.approx(reading, abs=1e-5)


ANGLES = st.floats(-0.5, 0.5) | st.sampled_from([0.0, 1e-7, 1e-4, -1e-4, 5e-3])


@settings(max_examples=200, deadline=None)
@given(st.tuples(ANGLES, ANGLES, st.floats(-3, 3)), st.tuples(*[st.floats(-0.25, 0.25)] * 3))
def test_a_turn_of_a_gripper_that_points_about_downwards_is_carried_out_whole(start, turn):
    before = pose_to_absolute(WIDOWX_250S.pose_from_numbers(np.array([0.3, 0, 0.2, *start])))
    now = pose_from_absolute(before)
    wanted = Pose(now.position, frames.multiply(frames.rotvec_to_quaternion(np.array(turn)), now.quaternion))
    reached = pose_from_absolute(advance(before, change_to(before, wanted)))
    difference = frames.quaternion_to_matrix(wanted.quaternion) @ frames.quaternion_to_matrix(reached.quaternion).T
    assert np.linalg.norm(frames.matrix_to_rotvec(difference)) < 1.1e-3


def test_turning_about_the_vertical_and_tilting_through_straight_down_need_small_changes():
    down = pose_to_absolute(WIDOWX_250S.pose_from_numbers(np.array([0.3, 0, 0.2, 0, 0, 0])))
    turned = WIDOWX_250S.pose_from_numbers(np.array([0.3, 0, 0.2, 0, 0, 0.2]))
    np.testing.assert_allclose(change_to(down, turned)[3:], [-0.1, 0, 0.1], atol=1e-9)
    before = pose_to_absolute(WIDOWX_250S.pose_from_numbers(np.array([0.3, 0, 0.2, 0, -0.05, 0])))
    beyond = WIDOWX_250S.pose_from_numbers(np.array([0.3, 0, 0.2, 0, 0.05, 0]))
    np.testing.assert_allclose(change_to(before, beyond)[3:], [0, 0.1, 0], atol=1e-9)


# Settings.


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"interface": "widowx_ros"}, UnknownNameError, "widowx_ros2"),
        ({"motion": "delta"}, UnknownNameError, "step_action"),
        ({"camera_key": "blue"}, UnknownNameError, "primary_img"),
        ({"gripper_range": (0.4, 0.1)}, SettingError, "closed gripper"),
        ({"start": (0.3, 0.0, 0.5, 0, 0, 0)}, SettingError, "outside the workspace"),
        ({"cameras": {"wrist": "wrist_img"}, "image_size": None}, SettingError, "reads no images"),
        ({"host": "robot.lab"}, SettingError, "ssh -L 5556:localhost:5556"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_sent(options, error, sentence):
    with pytest.raises(error, match=sentence):
        ManipulatorGymBackend(get_task("carrot_on_plate"), **options)


# What only this server does.


def calm(stage: Bench, **options: Any) -> Any:
    """An environment that waits for its answers: nothing here is about timeouts."""
    return stage.env(**{"timeouts": Timeouts(), "max_frame_age": 2.0, "frame_timeout": 5.0} | options)


@pytest.fixture(scope="module")
def ros1() -> Iterator[Any]:
    with bench(backend="manipulator_gym", second_camera=True) as made:
        yield made


@pytest.fixture(scope="module")
def ros2() -> Iterator[Any]:
    with bench(backend="manipulator_gym", interface="widowx_ros2") as made:
        yield made


def test_a_step_longer_than_the_server_allows_is_sent_in_parts_and_the_gripper_acts_in_the_last(ros2):
    env = calm(ros2, interface="widowx_ros2")
    env.reset(options={"episode_id": 0})
    acts, before = ros2.server.robot.acts, env.unwrapped.status.robot.tcp.position.copy()
    done = len(acts)
    env.step(step(0.045, 0.0, 0.0, gripper=0.0))
    sent = np.array([act.numbers for act in acts[done:]])
    assert [act.key for act in acts[done:]] == ["step_action"] * 5
    assert np.abs(sent[:, :6]).max() <= 0.01
    np.testing.assert_allclose(sent[:, :3].sum(axis=0), [0.045, 0, 0], atol=1e-7)
    assert sent[:, 6].tolist() == [1, 1, 1, 1, 0]
    for _ in range(4):
        env.step(step(gripper=0.0))
    moved = env.unwrapped.status.robot.tcp.position - before
    np.testing.assert_allclose(moved, [0.045, 0, 0], atol=0.01)
    assert env.unwrapped.status.robot.gripper < 0.05
    done = len(acts)
    env.step(step(0, 0, 0, 0.25, 0, 0, gripper=0.0))  # about x: a change of roll and yaw in hundreds of parts
    assert [act.key for act in acts[done:]] in (["move_eef", "step_action"], ["step_action"] * (len(acts) - done))
    assert len(acts) - done <= MAX_PARTS
    env.close()


def test_steps_of_less_than_a_millimetre_add_up(ros1):
    env = calm(ros1)
    env.reset(options={"episode_id": 0})
    before = env.unwrapped.status.robot.tcp.position.copy()
    for _ in range(30):
        env.step(step(0.0007))
    for _ in range(3):
        env.step(step())
    moved = env.unwrapped.status.robot.tcp.position - before
    assert moved[0] == pytest.approx(0.021, abs=0.004)
    env.close()


def test_a_tilt_away_from_straight_down_goes_the_way_it_should(ros1):
    env = calm(ros1, start=(0.30, 0.0, 0.15, 0.0, 0.0, 0.0))
    env.reset(options={"episode_id": 0})
    for _ in range(2):
        env.step(step(0, 0, 0, 0.1, 0, 0))
    for _ in range(4):
        env.step(step())
    robot = env.unwrapped.status.robot
    turned = WIDOWX_250S.pose_to_numbers(robot.tcp)[3:]
    np.testing.assert_allclose(turned, [0.2, 0, 0], atol=0.03)
    env.close()


def test_the_servers_second_image_is_a_camera_and_a_server_without_one_says_so(ros1, ros2):
    env = calm(ros1, cameras={"wrist": "wrist_img"})
    observation, _ = env.reset(options={"episode_id": 0})
    assert env.observation_space.contains(observation)
    primary, wrist = observation["pixels"]["primary"], observation["pixels"]["wrist"]
    assert wrist.shape == primary.shape == (96, 128, 3)
    assert wrist.std() > 10
    assert np.abs(wrist.astype(int) - primary).mean() > 20
    env.close()
    swapped = calm(ros1, camera_key="wrist_img")
    seen = swapped.reset(options={"episode_id": 0})[0]["pixels"]["primary"]
    assert np.abs(seen.astype(int) - wrist).mean() < 6
    swapped.close()
    env = calm(ros2, interface="widowx_ros2", cameras={"wrist": "wrist_img"})
    with pytest.raises(LinkLostError, match="which it does not send"):
        env.reset(options={"episode_id": 0})
    env.close()


def test_absolute_motion_sends_the_pose_itself(ros1):
    env = calm(ros1, motion="move_eef")
    env.reset(options={"episode_id": 0})
    done = len(ros1.server.robot.acts)
    target = env.unwrapped.status.robot.target
    env.step(step(0.03, 0, 0.01, gripper=0.0))
    move, gripper = ros1.server.robot.acts[done:]
    assert (move.key, gripper.key) == ("move_eef", "step_action")
    np.testing.assert_allclose(move.numbers[:3], target.position + np.array([0.03, 0, 0.01]), atol=1e-6)
    np.testing.assert_array_equal(gripper.numbers, np.zeros(7))
    env.close()


def test_a_server_that_ended_is_a_lost_link_until_it_is_started_again(ros1):
    env = calm(ros1, direct=True, timeouts=QUICK)
    env.reset(options={"episode_id": 0})
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{ros1.server.port}")
    socket.send(wire.encode({"type": "act", "key": "step_action", "payload": np.zeros(6)}))
    assert not socket.poll(300), "an exception of the robot ends the server without an answer"
    socket.close()
    assert env.step(step(0.01))[4]["reason"] == "link_lost"
    ros1.truth.ask(type="restart", seconds=0.0)
    env.reset(options={"episode_id": 0})
    assert "fault" not in env.step(step(0.01))[4]
    env.close()


# The commands.


def test_a_session_is_run_and_the_arm_is_put_to_sleep_by_command(ros1, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n\ny\n"))
    port = ["--backend", "manipulator_gym", "--port", str(ros1.server.port)]
    words = ["robot", "session", "--out", str(tmp_path / "s"), "--policies", "scripted", "--episodes", "1"]
    options = ["--backend-options", "period=0.0", "max_frame_age=2.0", "--no-video"]
    port_of_truth = ["--truth", ros1.server.truth_address]
    assert main([*words, *port, *options, *port_of_truth]) == 0
    assert "1 of 1 episodes are recorded" in capsys.readouterr().out
    monkeypatch.setattr("vlm2vla_sim.envs.robot_link.park.WATCH_SECONDS", 0.01)
    assert main(["robot", "sleep", *port]) == 0
    assert "is parked" in capsys.readouterr().out
    folded = ros1.server.robot.acts[-1]
    assert folded.key == "reset"
    assert ros1.server._twin.tcp().position[0] < 0.2


def test_the_flags_of_another_wire_are_refused(capsys):
    assert main(["robot", "mock-server", "--interface", "widowx_ros2"]) == 1
    assert "--interface is for the backend manipulator_gym" in capsys.readouterr().err
    assert main(["robot", "mock-server", "--backend", "mujoco"]) == 1
    assert "bridge" in capsys.readouterr().err


# No pickle is executed.


@contextmanager
def answering(frame: bytes) -> Iterator[int]:
    """A server that answers everything with `frame`; its port."""
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.setsockopt(zmq.LINGER, 0)
    port, stop = socket.bind_to_random_port("tcp://127.0.0.1"), threading.Event()

    def work() -> None:
        while not stop.is_set():
            if socket.poll(20):
                socket.recv()
                socket.send(frame)
        socket.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join()


def test_an_answer_that_is_a_program_is_refused_and_not_run(tmp_path):
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(canary),)

    frame = lz4.frame.compress(pickle.dumps({"success": True, "payload": Evil()}))
    with answering(frame) as port:
        backend = ManipulatorGymBackend(get_task("carrot_on_plate"), port=port, timeouts=QUICK)
        with pytest.raises(LinkLostError, match="names a callable"):
            backend._client.connect()
        backend.close()
    assert not canary.exists()
    pickle.loads(lz4.frame.decompress(frame))
    assert canary.exists(), "pickle itself would have run it"


def test_a_server_of_another_kind_is_told_apart():
    bridge = {"action_keys": ["init", "move", "gripper", "reset", "step_action"], "version": "0.0.1"}
    with answering(wire.encode({"success": True, "payload": json.dumps(bridge)})) as port:
        backend = ManipulatorGymBackend(get_task("carrot_on_plate"), port=port, timeouts=QUICK)
        with pytest.raises(BackendFaultError, match=r"move_eef, move_gripper is missing\. Is it a manipulator_gym"):
            backend._client.connect()
        backend.close()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"status": False}, "could not execute 'move_gripper'"),
        ({"status": None}, "could not execute"),
        ({"success": False, "message": "Invalid payload"}, "expected a status"),
        ({}, "expected a status"),
    ],
)
def test_an_action_that_was_not_carried_out_is_not_taken_for_one_that_was(answer, sentence):
    with answering(wire.encode(answer)) as port:
        backend = ManipulatorGymBackend(get_task("carrot_on_plate"), port=port, timeouts=QUICK)
        backend._client.link = LinkState.OK
        with pytest.raises(LinkLostError, match=sentence):
            backend._client.reset()
        backend.close()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"eef_pose": np.array([0.3, 0, np.nan, 0, 1.5, 0])}, "not finite"),
        ({"gripper_state": float("inf")}, "not finite"),
        ({"eef_pose": np.zeros(7)}, "no pose"),
        ({"gripper_state": "open"}, "no pose"),
        ({"primary_img": None}, "sends no image 'primary_img'; it sends none"),
    ],
)
def test_an_observation_that_is_none_is_a_fault_of_the_robot(changed, sentence):
    seen = {"eef_pose": np.array([0.3, 0, 0.2, 0, 1.5, 0]), "gripper_state": 0.3, "primary_img": b"\xff\xd8"}
    with answering(wire.encode(seen | changed)) as port:
        backend = ManipulatorGymBackend(get_task("carrot_on_plate"), port=port, timeouts=QUICK)
        with pytest.raises(LinkLostError, match=sentence) as caught:
            backend._client.observe()
        assert caught.value.reason == "robot_fault"
        backend.close()


def test_the_mock_server_answers_a_program_with_invalid_payload(ros1):
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{ros1.server.port}")
    socket.send(lz4.frame.compress(b"cos\nsystem\n(X\x04\x00\x00\x00truetR."))
    assert socket.poll(2000)
    assert wire.decode(socket.recv()) == {"success": False, "message": "Invalid payload"}
    socket.close()


def test_the_description_is_that_of_the_robots_own_server_letter_by_letter():
    recorded = wire.decode(bytes.fromhex(FRAMES["numpy 1.24.4"]["hash_reply"]))
    assert describe_server(5556) == recorded["payload"]
    assert sorted(INTERFACES) == ["widowx", "widowx_ros2"]
