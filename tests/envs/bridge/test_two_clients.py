"""Two clients of one robot are noticed: by a lock on this machine, and by what they do to the arm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import pytest
from lane import need

need("robot", "zmq", "lz4", "cv2")

from robot_bench import CARROT, bench  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.envs.bridge.client import BridgeClient  # noqa: E402
from vlm2vla_sim.envs.robot_link import endpoint_lock, park  # noqa: E402
from vlm2vla_sim.envs.robot_link.endpoint_lock import EndpointLock, lock_folder  # noqa: E402
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts  # noqa: E402
from vlm2vla_sim.envs.robot_link.unexplained_motion import PAUSE, distance_to_triangle  # noqa: E402
from vlm2vla_sim.envs.tasks import get_task  # noqa: E402
from vlm2vla_sim.errors import EpisodeAbortedError, LinkLostError, RobotInUseError, SettingError  # noqa: E402
from vlm2vla_sim.evaluation.operator.episode_log import SessionSettings  # noqa: E402
from vlm2vla_sim.evaluation.operator.prompts import Operator, StreamAnswers  # noqa: E402
from vlm2vla_sim.evaluation.operator.session import run_session  # noqa: E402
from vlm2vla_sim.evaluation.operator.stop import Stop, StopLatch, StopWrapper  # noqa: E402
from vlm2vla_sim.policies.spec import PolicySpec  # noqa: E402

PATIENT = {"direct": True, "timeouts": Timeouts(), "max_frame_age": 30.0, "frame_timeout": 30.0}
"""What is tested here is not how soon a busy machine answers."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(endpoint_lock, "PATIENCE", 0.1)


@pytest.fixture(scope="module")
def stage():
    with bench() as made:
        yield made


@pytest.fixture
def env(stage):
    made = stage.env(**PATIENT)
    made.reset(options={"episode_id": 0})
    yield made
    stage.truth.ask(type="push", force=[0, 0, 0])
    made.close()


class Other:
    """A client on another machine, which no lock of this one knows."""

    def __init__(self, stage, env) -> None:
        self._client = BridgeClient(
            "127.0.0.1", stage.server.port, workspace=get_task("carrot_on_plate").setup.workspace
        )
        self._client.connect()
        self._here = env.unwrapped.status.robot.tcp

    def step(self, dx: float, dy: float = 0.0) -> None:
        self._client.step(np.array([dx, dy, 0, 0, 0, 0, 1.0]), before=self._here, after=self._here)

    def close(self) -> None:
        self._client.close()


def step(dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> np.ndarray:
    return np.array([dx, dy, dz, 0, 0, 0, 1], np.float32)


# The lock.


def hold(port: int) -> subprocess.Popen[str]:
    """A process that holds the robot's lock."""
    code = (
        "import sys, time\n"
        "from vlm2vla_sim.envs.robot_link.endpoint_lock import EndpointLock\n"
        f"lock = EndpointLock('localhost', {port}); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "--of", "a session"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_robot_that_another_process_uses_is_refused_and_the_sentence_names_it(stage, tmp_path, capsys):
    port, before = stage.server.port, stage.server.requests
    holder = hold(port)
    try:
        made = stage.env(**PATIENT)
        with pytest.raises(RobotInUseError, match=rf"in use by process {holder.pid} \(-c --of 'a session'\)"):
            made.reset()
        made.close()
        assert main(["robot", "sleep", "--port", str(port), "--host", "::1"]) == 1
        assert f"process {holder.pid}" in capsys.readouterr().err
        settings = SessionSettings((PolicySpec("hold"),), ("carrot_on_plate",), 1, backend="bridge")
        operator = Operator([StreamAnswers(sys.stdin)], say=lambda text: None)
        end = run_session(settings, tmp_path / "s", operator, live=False, env_options={"port": port})
        assert end.fault
        assert f"process {holder.pid}" in end.stopped
        assert stage.server.requests == before, "nothing was sent to a robot that another process uses"
        # The lock dies with its process, whatever kills it.
        holder.send_signal(signal.SIGKILL)
        made = stage.env(**PATIENT)
        made.reset()
        made.close()
    finally:
        holder.kill()
        holder.communicate()


def test_two_environments_of_one_process_do_not_share_an_arm_and_closing_hands_it_on(stage, env):
    second = stage.env(**PATIENT)
    with pytest.raises(RobotInUseError, match="another environment of this process"):
        second.reset()
    assert env.step(step(0.01))[3] is False, "the first is not disturbed"
    env.close()
    second.close()
    second = stage.env(**PATIENT)
    second.reset()
    assert second.step(step(0.01))[3] is False
    second.close()


def test_every_name_of_a_loopback_is_the_same_robot_and_another_port_is_another():
    first = EndpointLock("127.0.0.1", 1001)
    first.acquire()
    first.acquire()
    for host in ("localhost", "::1", "127.0.0.1", "127.1.2.3"):
        with pytest.raises(RobotInUseError):
            EndpointLock(host, 1001).acquire()
    other = EndpointLock("127.0.0.1", 1002)
    other.acquire()
    other.release()
    first.release()
    first.release()
    EndpointLock("::1", 1001).acquire()


def test_the_note_of_a_dead_holder_is_not_believed_and_a_lock_that_cannot_be_written_is_said_so(tmp_path, monkeypatch):
    held = EndpointLock("127.0.0.1", 1003, folder=tmp_path)
    held.acquire()
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["pid"] == os.getpid()
    for note in ('{"pid": 999999999, "command": "gone"}', "{", "[]", '{"pid": "x"}', ""):
        file.write_text(note)
        with pytest.raises(RobotInUseError, match="in use by another process of this machine"):
            EndpointLock("127.0.0.1", 1003, folder=tmp_path).acquire()
    held.release()
    (tmp_path / "127.0.0.1").write_text("no folder")
    with pytest.raises(SettingError, match="cannot be written"):
        EndpointLock("127.0.0.1", 1003, folder=tmp_path / "127.0.0.1" / "missing").acquire()
    with pytest.raises(LinkLostError, match="is not known"):
        EndpointLock("no-such-robot.invalid", 1003, folder=tmp_path).acquire()
    assert lock_folder().is_dir()


# The arm.


@pytest.mark.parametrize(("dx", "dy", "own"), [(0.05, 0, 0), (0.02, 0, 0.0), (0, 0.02, 0.02), (-0.03, 0, 0.01)])
def test_steps_of_another_client_between_ours_end_the_episode_as_a_fault_of_the_robot(stage, env, dx, dy, own):
    other = Other(stage, env)
    for _ in range(6):
        other.step(dx, dy)
        *_, truncated, info = env.step(step(own))
        if truncated:
            break
    other.close()
    assert info["reason"] == "robot_fault"
    assert "another client drives the arm" in info["fault"]


def test_an_arm_that_moved_while_nothing_was_sent_gets_no_further_command(stage, env):
    env.step(step(0.01))
    other = Other(stage, env)
    for _ in range(3):
        other.step(0.0, 0.03)
    other.close()
    acts = len(stage.server.robot.acts)
    time.sleep(PAUSE + 0.1)
    info = env.step(step(0.01))[4]
    assert info["reason"] == "robot_fault"
    assert "nothing was sent for" in info["fault"]
    assert "another client drives the arm" in info["fault"]
    assert len(stage.server.robot.acts) == acts, "it was seen before the next command"
    env.reset(options={"episode_id": 1})
    assert env.step(step(0.01))[3] is False


@pytest.mark.parametrize("force", [60, 250])
def test_a_hand_that_pushes_the_arm_a_bit_and_lets_go_is_none(stage, env, force):
    start, far = env.unwrapped.status.robot.tcp.position.copy(), 0.0
    for number in range(14):
        stage.truth.ask(type="push", force=[0, force if 3 <= number < 8 else 0, 0])
        *_, truncated, info = env.step(step(dz=0.01 if number < 7 else -0.01))
        assert not truncated, info
        far = max(far, abs(env.unwrapped.status.robot.tcp.position[1] - start[1]))
    assert far > force * 5e-5, "the hand did push"


def test_a_pause_in_which_the_arm_settles_or_is_pushed_for_a_moment_is_none(stage, env):
    for _ in range(3):
        env.step(step(0.04, 0.0, -0.02))
    stage.truth.ask(type="push", force=[0, 250, 0])
    time.sleep(PAUSE + 0.1)
    stage.truth.ask(type="push", force=[0, 0, 0])
    *_, truncated, info = env.step(step())
    assert not truncated, info


@pytest.mark.parametrize("towards", [(0.045, 0, 0), (0, 0, -0.045), (0.03, 0.03, -0.03)])
def test_an_arm_that_pushes_against_the_table_or_out_of_reach_stalls_and_is_no_second_client(env, towards):
    for _ in range(16):
        *_, truncated, info = env.step(step(*towards))
        assert not truncated, info


def test_the_distance_to_a_triangle_is_that_of_its_nearest_point():
    a, b, c = np.array([0.0, 0, 0]), np.array([2.0, 0, 0]), np.array([0.0, 2, 0])
    for point, distance in (
        ([0.5, 0.5, 3], 3),
        ([0.5, 0.5, 0], 0),
        ([-1, 0, 0], 1),
        ([2, 2, 0], 2**0.5),
        ([3, 0, 0], 1),
    ):
        assert distance_to_triangle(np.array(point, float), a, b, c) == pytest.approx(distance)
    assert distance_to_triangle(np.array([1.0, 1, 0]), a, b, b) == pytest.approx(1), "a segment"
    assert distance_to_triangle(np.array([3.0, 4, 0]), a, a, a) == pytest.approx(5), "a point"


# Sleep, and resets.


def test_sleep_does_not_initialise_a_running_robot_again_nor_reset_it(stage, env, capsys):
    port = str(stage.server.port)
    robot = stage.server.robot
    acts, resets = len(robot.acts), robot.resets
    assert main(["robot", "sleep", "--port", port]) == 1
    assert "in use by another environment of this process" in capsys.readouterr().err
    assert len(robot.acts) == acts
    assert main(["robot", "sleep", "--port", port, "--force"]) == 0
    assert [act.key for act in robot.acts[acts:]] == ["move", "move"]
    env.close()
    assert main(["robot", "sleep", "--port", port]) == 0
    assert [act.key for act in robot.acts[acts:]] == ["move"] * 4
    assert robot.resets == resets
    assert np.linalg.norm(robot._twin.tcp().position - [0.20, 0.0, 0.12]) < 0.03


def test_sleep_initialises_a_robot_that_would_not_move_otherwise_and_leaves_one_that_moves(stage, monkeypatch, capsys):
    robot = stage.server.robot
    stage.truth.ask(type="restart", seconds=0.05)
    time.sleep(0.1)
    acts = len(robot.acts)
    assert main(["robot", "sleep", "--port", str(stage.server.port)]) == 0
    assert [act.key for act in robot.acts[acts:]] == ["init", "move", "move"]

    def another_client_steps(seconds: float) -> None:
        client = BridgeClient("127.0.0.1", stage.server.port, workspace=get_task("carrot_on_plate").setup.workspace)
        client.connect()
        here = robot._twin.tcp()
        for _ in range(4):  # the servos still have the two seconds of the move before
            client.step(np.array([0.03, 0, 0, 0, 0, 0, 1]), before=here, after=here)
        client.close()

    monkeypatch.setattr(park.time, "sleep", another_client_steps)
    acts = len(robot.acts)
    assert main(["robot", "sleep", "--port", str(stage.server.port)]) == 1
    assert "another client drives it" in capsys.readouterr().err
    assert [act.key for act in robot.acts[acts:]] == ["step_action"] * 4


def test_a_stop_pressed_during_an_init_comes_before_the_reset_and_the_arm_can_still_be_parked(stage, monkeypatch):
    robot, latch = stage.server.robot, StopLatch()
    stage.truth.ask(type="restart", seconds=0.05)
    time.sleep(0.1)
    act = robot.act

    def pressed_meanwhile(key, payload, raw):
        if key == "init":
            latch.press(Stop.SESSION)
        return act(key, payload, raw)

    monkeypatch.setattr(robot, "act", pressed_meanwhile)
    acts = len(robot.acts)
    made = gym.make(CARROT, backend="bridge", port=stage.server.port, image_size=(96, 128), period=0.0, park=True)
    stoppable = StopWrapper(made, latch.check)
    with pytest.raises(EpisodeAbortedError, match="the session ends"):
        stoppable.reset()
    assert [act.key for act in robot.acts[acts:]] == ["init"]
    stoppable.close()
    assert [act.key for act in robot.acts[acts:]] == ["init", "move", "move"]


def test_the_arm_is_driven_to_its_start_once_per_episode(stage):
    robot = stage.server.robot
    stage.truth.ask(type="restart", seconds=0.05)
    time.sleep(0.1)
    for truth in ("", stage.server.truth_address):
        made = gym.make(CARROT, backend="bridge", port=stage.server.port, truth=truth, image_size=(96, 128), period=0.0)
        for episode in range(2):
            driven = robot.resets
            made.reset(options={"episode_id": episode})
            assert robot.resets == driven + 1, "the first episode too, on a server that somebody else initialised"
            # A session resets before the operator arranges the scene, and again when the episode starts.
            observation, _ = made.reset(options={"episode_id": episode})
            assert robot.resets == driven + 1
            np.testing.assert_allclose(observation["agent_pos"][:3], [0.292, -0.006, 0.135], atol=0.01)
            assert made.step(step(0.02))[3] is False
        # An arm that does not stand there any more is driven there.
        driven = robot.resets
        made.reset(options={"episode_id": 0})
        robot._twin.jammed = 0.2
        robot._twin.run(2.0)
        robot._twin.jammed = None
        made.reset(options={"episode_id": 0})
        assert robot.resets == driven + 2
        made.close()
