"""The backend "widowx_ai": the vendor's own driver, against the package's simulator and against the twin behind it.

The controller's ports are fixed, so that every server here has a loopback address of its own.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane import need

need("robot", "trossen_arm", "trossen_arm_sim", "zmq", extra="widowx-ai")
import trossen_arm  # noqa: E402
from robot_bench import mock_controller  # noqa: E402
from trossen_arm_sim import TrossenArmSimServer, WidowXSim  # noqa: E402
from trossen_arm_sim.protocol import ErrorState, JointOutput, Mode  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.core.rotations import matrix_to_rotvec, quaternion_to_matrix  # noqa: E402
from vlm2vla_sim.envs.backends import with_robot_of  # noqa: E402
from vlm2vla_sim.envs.base import WidowXEnv  # noqa: E402
from vlm2vla_sim.envs.tasks import TASKS  # noqa: E402
from vlm2vla_sim.envs.widowx_ai.arm import TrossenArm  # noqa: E402
from vlm2vla_sim.envs.widowx_ai.link import HOLD_EFFORT  # noqa: E402
from vlm2vla_sim.errors import ActionError, EpisodeError, LinkLostError, SettingError  # noqa: E402
from vlm2vla_sim.evaluation.results import read_results  # noqa: E402
from vlm2vla_sim.robots import get_robot  # noqa: E402
from vlm2vla_sim.robots.kinematics import ArmKinematics  # noqa: E402
from vlm2vla_sim.types import Pose  # noqa: E402

SIZE = (48, 64)
STILL = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)
AI = get_robot("widowx_ai")
HOME = np.array(AI.setup("table").home)


@pytest.fixture(scope="module")
def controller() -> Iterator[Any]:
    with mock_controller("carrot_on_plate", SIZE, host="127.0.8.1") as made:
        yield made


@contextmanager
def environment(controller: Any, **options: Any) -> Iterator[WidowXEnv]:
    env = WidowXEnv("carrot_on_plate", backend="widowx_ai", image_size=SIZE, **(controller.options | options))
    try:
        env.reset(options={"episode_id": 0})
        yield env
    finally:
        controller.frozen = False
        controller.twin.blocked, controller.twin.jammed = False, None
        env.close()


@pytest.fixture
def env(controller: Any) -> Iterator[WidowXEnv]:
    with environment(controller) as made:
        yield made


def joints(controller: Any) -> np.ndarray:
    return np.array([output.position for output in controller.twin.read_joint_outputs()])


class Recorder:
    """An arm that is where it was last sent, and writes down every goal."""

    num_joints = 7
    joint_limits = [(-9.0, 9.0)] * 7

    def __init__(self) -> None:
        self.goals = [np.append(HOME, 0.02)]

    def apply_joint_commands(self, modes: list[Mode], positions: list[float]) -> None:
        if Mode.POSITION in modes:
            self.goals.append(np.array(positions))

    def read_joint_outputs(self) -> list[JointOutput]:
        return [JointOutput(position=float(position)) for position in self.goals[-1]]


@contextmanager
def connected(sim: Any, host: str) -> Iterator[TrossenArm]:
    server, arm = TrossenArmSimServer(sim, host=host), TrossenArm(AI, host, timeout=2.0)
    server.start()
    try:
        arm.connect()
        yield arm
    finally:
        arm.close()
        server.stop()


def test_the_packages_own_simulator_shows_motion_and_the_tool_frame_and_has_no_object_to_pick():
    sim = WidowXSim()
    sim.start()
    try:
        with connected(sim, "127.0.8.2") as arm:
            state = arm.drive(HOME, AI.gripper.open, at_least=0.5)
            expected = ArmKinematics(AI).forward(state.joints)
            assert np.linalg.norm(expected.position - state.tcp.position) < 1e-5
            turn = quaternion_to_matrix(expected.quaternion) @ quaternion_to_matrix(state.tcp.quaternion).T
            assert np.linalg.norm(matrix_to_rotvec(turn)) < 1e-5
            target = Pose(state.tcp.position + np.array([0.05, 0.03, -0.02]), state.tcp.quaternion)
            goal = arm.plan(target, 1.0)
            assert goal is not None
            reached = arm.drive(goal, AI.gripper.closed, at_least=0.5)
            assert np.linalg.norm(reached.tcp.position - target.position) < 0.01
            assert reached.finger < 0.01
    finally:
        sim.stop()


def test_what_is_not_finite_or_beyond_a_limit_is_refused_before_anything_is_sent():
    sim = Recorder()
    with connected(sim, "127.0.8.3") as arm:
        time.sleep(0.05)
        sent = np.unique(np.round(sim.goals, 6), axis=0)
        wrong = (
            (HOME + np.array([np.nan, 0, 0, 0, 0, 0]), 0.02, 1.0, "finite"),
            (HOME, float("inf"), 1.0, "finite"),
            (HOME, 0.02, float("nan"), "finite"),
            (HOME[:5], 0.02, 1.0, "finite"),
            (HOME + np.array([9.0, 0, 0, 0, 0, 0]), 0.02, 1.0, "leave the limits"),
            (HOME, 0.05, 1.0, "leave the limits"),
            (HOME + 0.3, 0.02, 0.05, "speeds"),
        )
        for goal, finger, seconds, words in wrong:
            with pytest.raises(ActionError, match=words):
                arm.send(goal, finger, seconds)
        assert arm.plan(Pose(np.array([0.9, 0, 0.1]), np.array([1.0, 0, 0, 0])), 1.0) is None
        time.sleep(0.05)
        np.testing.assert_array_equal(np.unique(np.round(sim.goals, 6), axis=0), sent)


def test_a_slow_drive_after_fast_steps_starts_from_rest():
    """The driver would keep the steps' speed and swing away from the goal first."""
    sim = Recorder()
    with connected(sim, "127.0.8.4") as arm:
        aside = HOME + np.array([0.12, 0, 0, 0, 0, 0])
        arm.send(aside, 0.04, 0.05)
        time.sleep(0.1)
        arm.drive(aside + np.array([0.05, 0, 0, 0, 0, 0]), 0.04, at_least=0.25)
        arm.send(aside, 0.0, 0.1)
        arm.drive(aside, 0.04, at_least=0.25)  # a closing gripper, interrupted
        goals = np.array(sim.goals)
    assert goals[:, 0].min() > HOME[0] - 0.002
    assert goals[:, 0].max() < aside[0] + 0.05 + 0.002
    assert goals[:, 6].min() > -0.001
    assert goals[:, 6].max() < 0.041


def test_the_scripted_policy_picks_the_carrot_by_command_line(controller, tmp_path, capsys):
    out = tmp_path / "run"
    options = controller.options
    words = ["evaluate", "--backend", "widowx_ai", "--policy", "scripted", "--tasks", "carrot_on_plate"]
    words += ["--episodes", "1", "--no-video", "--image-size", *map(str, SIZE), "--out", str(out), "--backend-options"]
    words += [f"host={options['host']}", f"truth={options['truth']}", f"period={options['period']}"]
    words += [f"cameras=primary={options['truth']}"]
    assert main(words) == 0, capsys.readouterr().err
    (result,) = read_results(out / "results.jsonl")
    assert result.success_at_end
    assert result.success_released
    assert result.profile == "widowx_ai at 127.0.8.1, trossen-arm 1.11.0, firmware 1.11.0"


def test_connecting_and_closing_move_nothing_and_only_hold_or_brake(controller):
    before, modes = joints(controller), set()
    take = controller.twin.apply_joint_commands
    controller.twin.apply_joint_commands = lambda m, p: (modes.update(m), take(m, p))
    arm = TrossenArm(AI, "127.0.8.1", timeout=2.0)
    try:
        arm.connect()
        np.testing.assert_allclose(arm.read().joints, before[:-1], atol=1e-3)
        arm.close()
        arm.close()
    finally:
        controller.twin.apply_joint_commands = take
    time.sleep(0.05)
    np.testing.assert_allclose(joints(controller), before, atol=1e-3)
    assert modes <= {Mode.POSITION, Mode.IDLE}
    assert set(controller.modes) == {Mode.IDLE}, "the controller's brake"
    with pytest.raises(LinkLostError, match="not connected"):
        arm.read()


def test_park_lifts_the_arm_and_folds_it_before_hanging_up(controller):
    with environment(controller, park=True) as env:
        env.step(np.array([0, 0, -0.05, 0, 0, 0, 1], np.float32))
        env.close()
    np.testing.assert_allclose(joints(controller)[:6], np.array(AI.trossen.park), atol=0.06)


def test_a_silent_controller_ends_the_episode_and_nothing_is_carried_out_when_it_comes_back(controller, env):
    env.step(np.array([0.02, 0, 0, 0, 0, 0, 1], np.float32))
    controller.frozen = True
    started = time.monotonic()
    *_, truncated, info = env.step(np.array([0, 0.05, 0, 0, 0, 0, 0], np.float32))
    assert truncated
    assert info["reason"] == "link_lost"
    assert "no new state" in info["fault"]
    assert time.monotonic() - started < 6.0
    controller.frozen = False
    time.sleep(0.3)
    assert joints(controller)[0] == pytest.approx(0.0, abs=0.005), "the step to the side"
    assert set(controller.modes) <= {Mode.IDLE, Mode.POSITION}
    *_, truncated, info = env.step(STILL)
    assert truncated
    assert info["link"] == "closed"
    env.reset(options={"episode_id": 0})
    assert not env.step(STILL)[3]


def test_an_error_of_the_controller_is_a_fault_of_the_robot_until_the_next_reset(controller, env):
    controller.fault(ErrorState.JOINT_OVERHEATED, "joint 2 is 80 degrees")
    *_, truncated, info = env.step(STILL)
    assert truncated
    assert info["reason"] == "robot_fault"
    assert "Joint overheated" in info["fault"]
    assert "80 degrees" in info["fault"]
    env.reset(options={"episode_id": 0})
    assert controller.error_state == ErrorState.NONE
    assert not env.step(STILL)[3]


def test_what_is_out_of_reach_is_not_sent_and_the_arm_is_found_to_stall(env):
    up = np.array([0, 0, 0.03, 0, 0, 0, 1], np.float32)
    infos = [env.step(up)[4] for _ in range(8)]
    assert infos[-1]["unreachable"] > 0
    assert any(info["stalled"] for info in infos)
    robot = env.status.robot
    assert robot.tcp.position[2] < 0.18
    assert np.linalg.norm(robot.target.position - robot.tcp.position) < 0.10
    before = robot.tcp.position[2]
    for _ in range(4):
        env.step(-up * [1, 1, 1, 1, 1, 1, -1])
    assert env.status.robot.tcp.position[2] < before - 0.03, "and back at once"


def test_an_arm_that_is_held_stalls_and_nothing_winds_up(controller, env):
    controller.twin.blocked = True
    infos = [env.step(np.array([0.03, 0, 0, 0, 0, 0, 1], np.float32))[4] for _ in range(6)]
    assert infos[-1]["stalls"] >= 1
    robot = env.status.robot
    assert np.linalg.norm(robot.target.position - robot.tcp.position) < 0.12


def test_the_gripper_is_converted_and_gives_way_while_it_squeezes_too_hard(controller, env):
    assert env.status.robot.gripper == pytest.approx(1.0, abs=0.02)
    controller.twin.jammed = 0.022  # something half as wide as the gripper
    efforts: list[float] = []
    read = controller.twin.read_joint_outputs

    def squeezed() -> list[JointOutput]:
        """Efforts as of a motor that presses 2 N for every millimetre that it cannot close."""
        outputs = read()
        goal = float(controller.twin.last_goal[-1])
        outputs[-1].effort = -2000.0 * max(outputs[-1].position - goal, 0.0)
        efforts.append(outputs[-1].effort)
        return outputs

    controller.twin.read_joint_outputs = squeezed
    try:
        infos = [env.step(STILL * [1, 1, 1, 1, 1, 1, 0])[4] for _ in range(8)]
    finally:
        controller.twin.read_joint_outputs = read
    assert infos[-1]["soft_hold"]
    assert min(efforts) < -40, "it closes on it with all its force"
    assert abs(infos[-1]["grip_effort"]) <= HOLD_EFFORT
    assert env.status.robot.gripper == pytest.approx(0.5, abs=0.05)
    controller.twin.jammed = None


def test_a_gripper_that_does_not_close_is_a_fault_and_one_that_does_not_open_too(controller, env):
    controller.twin.jammed = AI.gripper.open
    shut = STILL * [1, 1, 1, 1, 1, 1, 0]
    faults = [info for *_, truncated, info in (env.step(shut) for _ in range(8)) if truncated]
    assert faults[0]["reason"] == "robot_fault"
    controller.twin.jammed = 0.005
    with pytest.raises(LinkLostError, match="should be open"):
        env.reset(options={"episode_id": 0})


def test_options_that_cannot_be_honoured_are_refused_with_a_sentence(controller):
    def made(**options: Any) -> WidowXEnv:
        return WidowXEnv("carrot_on_plate", backend="widowx_ai", **({"image_size": None} | options))

    for options, words in (
        ({"image_size": SIZE}, "no camera of its own"),
        ({"cameras": {"primary": "/dev/video0"}}, "image_size=None"),
        ({"image_size": SIZE, "cameras": {"primary": "/nowhere/video"}}, "no camera"),
        ({"start": (0.28, 0, 0.25, 0, 0, 0)}, "beyond the joint limits"),
        ({"start": (0.9, 0, 0.12, 0, 0, 0)}, "outside the workspace"),
        ({"period": 0.0}, "period"),
    ):
        with pytest.raises(SettingError, match=words):
            made(**options)
    other = dataclasses.replace(TASKS["carrot_on_plate"], robot=dataclasses.replace(AI, trossen=None))
    with pytest.raises(SettingError, match="no Trossen controller"):
        WidowXEnv(other, backend="widowx_ai", image_size=None)
    for host, words in (("127.0.8.77", "lost the controller"), ("arm.invalid", "is not known"), ("::1", "IPv4")):
        env = made(host=host, timeout=0.5)
        with pytest.raises(LinkLostError, match=words):
            env.reset()
        with pytest.raises(EpisodeError):
            env.step(STILL)
        env.close()


def test_every_test_that_the_page_names_exists():
    tests = Path(__file__).parents[2]
    page = (tests.parent / "docs" / "widowx_ai.md").read_text(encoding="utf-8")
    written = Path(__file__).read_text(encoding="utf-8")
    written += (tests / "envs" / "test_arm_kinematics.py").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 8
    assert {name for name in named if f"def {name}(" not in written} == set()


def test_a_task_gets_the_arm_that_the_backend_drives_unless_another_was_chosen():
    carrot = TASKS["carrot_on_plate"]
    assert with_robot_of("widowx_ai", carrot).arm is AI
    assert with_robot_of("bridge", carrot) is carrot
    own = dataclasses.replace(carrot, robot=dataclasses.replace(AI, name="mine"))
    assert with_robot_of("widowx_ai", own) is own
    assert trossen_arm.Model.wxai_v0.name == AI.trossen.model
    assert hasattr(trossen_arm.StandardEndEffector, AI.trossen.end_effector)
