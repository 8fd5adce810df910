"""Every convention turns, moves and grips the way its model means it: pinned by numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import ServerError, SettingError, UnknownNameError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.policies import check_policy
from vlm2vla_sim.policies.remote.conventions import CONVENTIONS, Convention, find_convention
from vlm2vla_sim.policies.remote.convert import (
    check_rows,
    delta_to,
    read_deltas,
    write_deltas,
)
from vlm2vla_sim.policies.remote.images import resize
from vlm2vla_sim.policies.remote.observations import read_proprio, write_proprio
from vlm2vla_sim.policies.remote.policy import DESCRIPTION_MARK, RemotePolicy
from vlm2vla_sim.policies.remote.wire import Reply, Request
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import Pose, RobotState

QUARTER = np.pi / 2
# A third of a turn about the diagonal, x -> y -> z -> x, is a quarter turn about the fixed x, then one about fixed z.
CYCLE = np.full(3, 2 * np.pi / 3 / np.sqrt(3))
ALL = [(wire, name) for wire, table in CONVENTIONS.items() for name in table]
for_every_convention = pytest.mark.parametrize(("wire", "name"), ALL)

HOW_IT_TURNS_AND_GRIPS = {
    # rotation, the number that closes, the number that opens, and one just on the open side of the middle
    ("openpi", "vlm2vla"): ("rotvec", 0.0, 1.0),
    ("openpi", "pi0-bridge"): ("euler sxyz", 0.0, 1.0),
    ("openpi", "open-pi-zero"): ("euler sxyz", 0.0, 1.0),
    ("openpi", "widowx"): ("euler sxyz", 0.0, 1.0),
    ("openpi", "lap"): ("euler sxyz", 0.0, 1.0),
    ("openpi", "starvla"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "openvla"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "ecot"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "octo"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "vlm2vla"): ("rotvec", 0.0, 1.0),
    ("openvla", "autoeval"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "openvla-oft"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "spatialvla"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "molmoact"): ("euler sxyz", 0.0, 1.0),
    ("openvla", "xvla"): ("rot6d", 1.0, 0.0),
    ("groot", "groot"): ("rotvec", 0.0, 1.0),
    ("vla-eval", "vlm2vla"): ("rotvec", 0.0, 1.0),
    ("vla-eval", "simpler"): ("rotvec", -1.0, 1.0),
    ("vla-eval", "openvla"): ("euler sxyz", 1.0, -1.0),
    ("vla-eval", "cogact"): ("euler sxyz", 0.0, 1.0),
    ("vla-eval", "starvla"): ("rotvec", 0.0, 1.0),
    ("vla-eval", "groot"): ("rotvec", 0.0, 1.0),
    ("vla-eval", "xvla"): ("euler sxyz", -1.0, 1.0),
    ("lerobot", "pi0-bridge"): ("euler sxyz", 0.0, 1.0),
    ("lerobot", "vlm2vla"): ("rotvec", 0.0, 1.0),
    ("lerobot", "bridge"): ("euler sxyz", 0.0, 1.0),
}
BY_HAND = {
    "rotvec": CYCLE,
    "euler sxyz": [QUARTER, 0, QUARTER],
    "euler XYZ": [0, QUARTER, QUARTER],
    "rot6d": [0, 0, 1, 0, 0, 1],  # its columns are y and z, row by row
}


def read(row, convention: Convention) -> np.ndarray:
    """One row, the gripper's number last; a sum of several steps as the motion of all of them."""
    rows = check_rows(np.array([*row, *np.zeros(convention.padding)], float), convention)
    ours = read_deltas(rows, convention)
    return np.array([*ours[:, :6].sum(axis=0), ours[0, 6]])


@for_every_convention
def test_forward_is_forward_and_a_rotation_about_two_axes_is_the_same_rotation_here(wire, name):
    convention = find_convention(wire, name)
    rotation, _, _ = HOW_IT_TURNS_AND_GRIPS[wire, name]
    ours = read([0.01, 0.02, -0.03, *BY_HAND[rotation], 1], convention)
    np.testing.assert_allclose(ours[:3], [0.01, 0.02, -0.03])
    np.testing.assert_allclose(ours[3:6], CYCLE, atol=1e-9)


@for_every_convention
def test_the_gripper_closes_and_opens_at_the_right_end(wire, name):
    convention = find_convention(wire, name)
    _, closes, opens = HOW_IT_TURNS_AND_GRIPS[wire, name]
    still = [0.0] * 3 + {"rot6d": [1, 0, 0, 1, 0, 0]}.get(convention.rotation, [0.0] * 3)
    assert read([*still, closes], convention)[6] == 0
    assert read([*still, opens], convention)[6] == 1
    beyond = opens + (opens - closes)
    assert read([*still, beyond], convention)[6] == 1, "a model that overshoots opens no wider"


def test_of_the_four_whose_reference_binarises_half_open_is_closed():
    """SIMPLER's wrappers say 2 * (open > 0.5) - 1."""
    for wire, name in [("openvla", "openvla"), ("openvla", "octo"), ("openpi", "pi0-bridge"), ("vla-eval", "cogact")]:
        convention = find_convention(wire, name)
        assert read([0, 0, 0, 0, 0, 0, 0.5], convention)[6] == 0
        assert read([0, 0, 0, 0, 0, 0, 0.51], convention)[6] == 1
    widowx = find_convention("openpi", "widowx")
    assert read([0, 0, 0, 0, 0, 0, 0.3], widowx)[6] == pytest.approx(0.3), "the real robot takes any opening"


def test_moving_axes_units_and_rows_without_rotation_are_converted_too():
    odd = Convention(
        about="an odd one", source="this test", rotation="euler XYZ", metre=0.01, radian=np.pi / 180, image_key="i"
    )
    # Moving axes: a quarter about y, then one about the new z, is the same cycle.
    ours = read([3, 0, -8, 0, 90, 90, 1], odd)
    np.testing.assert_allclose(ours, [0.03, 0, -0.08, *CYCLE, 1], atol=1e-9)
    flat = dataclasses.replace(odd, rotation="none")
    np.testing.assert_allclose(read([3, 0, -8, 0], flat), [0.03, 0, -0.08, 0, 0, 0, 0], atol=1e-12)
    with pytest.raises(SettingError, match="cannot express"):
        write_deltas(np.array([[0, 0, 0, 0.1, 0, 0, 1]]), flat)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([one for one in ALL if not (find_convention(*one).absolute or find_convention(*one).sums)]),
    st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=3),
    st.lists(st.floats(-0.25, 0.25), min_size=3, max_size=3),
    st.sampled_from([0.0, 1.0]),
)
def test_what_is_written_in_a_convention_is_read_back(which, shift, turn, gripper):
    convention = find_convention(*which)
    ours = np.array([[*shift, *turn, gripper]])
    np.testing.assert_allclose(read_deltas(write_deltas(ours, convention), convention), ours, atol=1e-6)


@pytest.mark.parametrize("rotation", ["rotvec", "euler sxyz", "euler XYZ"])
def test_a_pose_becomes_the_change_that_leads_there_by_the_controllers_own_rule(rotation):
    rng = np.random.default_rng(0)
    for upright, zero in (("base", np.eye(3)), ("down", WIDOWX_250S.down)):
        convention = Convention(about="poses", source="this test", rotation=rotation, absolute=True, upright=upright)
        for _ in range(20):
            target, tcp = (
                Pose(rng.uniform(-0.3, 0.3, 3), frames.rotvec_to_quaternion(rng.uniform(-1, 1, 3))) for _ in "ab"
            )
            row = np.array([*rng.uniform(-0.3, 0.3, 3), *rng.uniform(-0.7, 0.7, 3), 0.0])
            delta = delta_to(row, convention, RobotState(tcp, target, 1.0))
            led = frames.advance_target(target, tcp, delta)
            np.testing.assert_allclose(led.position, row[:3], atol=1e-9)
            euler = {"rotvec": frames.rotvec_to_matrix, "euler sxyz": frames.euler_sxyz_to_matrix}.get(rotation)
            if euler is not None:
                wanted = euler(row[3:6]) @ zero
                np.testing.assert_allclose(frames.quaternion_to_matrix(led.quaternion), wanted, atol=1e-7)
            assert delta[6] == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "not numbers"),
        ("abc", "not numbers"),
        (np.zeros((2, 8)), r"shape \(2, 8\); expected \(7,\)"),
        (np.zeros((0, 7)), r"shape \(0, 7\)"),
        (np.zeros((2, 3, 7)), r"shape \(2, 3, 7\)"),
        (np.array([0, 0, 0, 0, np.nan, 0, 1.0]), "not finite"),
        (np.array([0, 0, 0, np.inf, 0, 0, 1.0]), "not finite"),
        (np.array([1e30, 0, 0, 0, 0, 0, 1.0]), "beyond 1e\\+06"),
        (np.zeros((2000, 7)), r"1 to 1024 rows"),
    ],
)
def test_what_is_no_row_of_the_convention_is_one_sentence(answer, said):
    with pytest.raises(ServerError, match=said):
        check_rows(answer, find_convention("openpi", "pi0-bridge"))


# What they see.


def test_pictures_are_shrunk_as_the_model_was_trained():
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :320] = (200, 100, 50)
    area = resize(image, find_convention("openvla", "openvla"))
    assert area.shape == (224, 224, 3)
    assert area[100, 50].tolist() == [200, 100, 50]
    assert area[100, 200].tolist() == [0, 0, 0]
    checks = np.zeros((448, 448, 3), np.uint8)
    checks[::2, ::2] = 200
    assert np.unique(resize(checks, find_convention("openvla", "openvla"))).tolist() == [50], "the mean of four pixels"
    padded = resize(image, find_convention("openpi", "widowx"))
    assert padded.shape == (224, 224, 3)
    # 640 x 480 keeps its shape: 224 x 168, with 28 black rows above and below.
    assert padded[:28].max() == 0
    assert padded[196:].max() == 0
    assert padded[28, 10].tolist() == [200, 100, 50]
    assert resize(image, find_convention("openvla", "octo")).shape == (256, 256, 3)
    assert resize(image, find_convention("openpi", "vlm2vla")) is image


def test_the_arm_is_described_in_the_three_known_ways():
    seen = np.array([0.3, -0.01, 0.14, 0, 0, QUARTER, 0.25], np.float32)
    assert write_proprio(seen, find_convention("openpi", "vlm2vla")).tolist() == seen.tolist()
    eight = write_proprio(seen, find_convention("openpi", "pi0-bridge"))
    np.testing.assert_allclose(eight, [0.3, -0.01, 0.14, 0, 0, QUARTER, 0, 0.25], atol=1e-6)
    quaternion = write_proprio(seen, find_convention("vla-eval", "simpler"))
    # Pointing down is a quarter turn about y; then a quarter about z: all four halves.
    np.testing.assert_allclose(quaternion, [0.3, -0.01, 0.14, 0.5, -0.5, 0.5, 0.5, 0.25], atol=1e-6)
    for wire, name in [("openpi", "vlm2vla"), ("openpi", "pi0-bridge"), ("vla-eval", "simpler")]:
        convention = find_convention(wire, name)
        np.testing.assert_allclose(read_proprio(write_proprio(seen, convention), convention), seen, atol=1e-6)
        with pytest.raises(SettingError, match=r"expected [78] finite numbers"):
            read_proprio(np.full(7, np.nan), convention)


# Declaring and choosing.


@for_every_convention
def test_every_convention_names_its_source_and_can_be_asked_for(wire, name):
    convention = find_convention(wire, name)
    assert len(convention.source) > 15
    assert convention.about
    server = {"openvla": "http://127.0.0.1:1", "groot": "tcp://127.0.0.1:1"}.get(wire, "ws://127.0.0.1:1")
    place = {"model": "act/pretrained_model"} if wire == "lerobot" else {"server": server}
    check_policy(wire, {**place, "convention": name})


OWN = Convention(about="mine", source="here", rotation="rotvec")


def test_a_convention_of_your_own_is_named_by_its_module():
    assert find_convention("openpi", f"{__name__}:OWN") is OWN
    with pytest.raises(UnknownNameError, match="Did you mean 'octo'"):
        find_convention("openvla", "octto")
    with pytest.raises(UnknownNameError, match=r"package\.module:NAME"):
        find_convention("openvla", "no_such_module:OWN")
    with pytest.raises(SettingError, match="expected a Convention"):
        find_convention("openvla", f"{__name__}:QUARTER")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rotation": "euler"}, "No rotation of a convention named 'euler'"),
        ({"resize": "nearest"}, "No way to resize"),
        ({"gripper_open": 0.0}, "two different ends"),
        ({"metre": 0.0}, "two different ends, units above 0"),
        ({"proprio": "bridge8"}, "both proprio and proprio_key"),
        ({"history": 0}, "history 0.*expected 1 or more images"),
        ({"ensemble": -1}, "ensemble -1"),
        ({"ensemble": 3, "execute": 4}, "needs a request for every step: execute 0 or 1"),
        ({"ensemble": 3, "absolute": True}, "angles have no mean"),
        ({"ensemble": 3, "ensemble_alpha": 0.1, "ensemble_temperature": 1.0}, "by age and by similarity"),
        ({"sums": 5, "absolute": True}, "sums several steps in a row: not of poses"),
        ({"upright": "pitched"}, "is pitched, which is for absolute rows"),
    ],
)
def test_a_convention_that_makes_no_sense_is_refused_when_it_is_made(change, said):
    with pytest.raises(SettingError if "No " not in said else UnknownNameError, match=said):
        dataclasses.replace(OWN, **change)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs a server: --server ws://127.0.0.1:8000"),
        ({"server": "ws://h:1"}, "needs the convention of the server's actions.*pi0-bridge"),
        ({"server": "http://h:1", "convention": "widowx"}, "address is 'http://h:1'; expected one like ws://"),
        ({"server": "ws://h:1", "convention": "widowx", "timeout": 0}, "timeout is 0.0"),
        ({"server": "ws://h:1", "convention": "widowx", "execute": -1}, "execute is -1"),
        ({"server": "ws://h:1", "convention": "widowx", "retries": "many"}, "expected a int"),
        ({"server": "ws://h:1", "convention": "widowx", "history": -1}, "history is -1"),
        ({"server": "ws://h:1", "convention": "widowx", "ensemble_alpha": 0.1}, "without an ensemble to weigh"),
        ({"server": "ws://h:1", "convention": "widowx", "ensemble": 3, "execute": 2}, "execute 0 or 1"),
        ({"server": "ws://h:1", "convention": "lap", "ensemble": 3}, "sums several steps"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(options, said):
    with pytest.raises(SettingError, match=said):
        check_policy("openpi", options)


# As a policy.


class FakeWire:
    """Answers from a list, and remembers what it was shown."""

    def __init__(self, *answers) -> None:
        self.answers, self.seen, self.started = list(answers), [], []

    def start(self, instruction, seed):
        self.started.append((instruction, seed))
        return 0

    def ask(self, request: Request) -> Reply:
        self.seen.append(request)
        return Reply(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], 1)

    def close(self):
        pass


def drive(convention: Convention, *answers, steps: int = 4):
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=(48, 64))
    observation, _ = env.reset(options={"episode_id": 0})
    start = env.status.robot.tcp
    wire = FakeWire(*answers)
    policy = RemotePolicy(wire, convention, lambda: env.status.robot)
    policy.reset("put carrot on plate", 3)
    decisions = []
    while steps > 0:
        decisions.append(policy.act(observation))
        for row in decisions[-1].chunk.deltas:
            observation, *_ = env.step(row)
            steps -= 1
    return start, env.status.robot, wire, decisions


def test_a_models_rows_move_the_arm_where_they_say_one_control_step_each():
    convention = find_convention("openvla", "openvla")
    start, robot, wire, decisions = drive(convention, np.array([0.04, -0.01, 0.0, 0, 0, 0.1, 0.0]))
    np.testing.assert_allclose(robot.tcp.position - start.position, [0.16, -0.04, 0.0], atol=1e-6)
    turn = frames.quaternion_to_matrix(robot.tcp.quaternion) @ frames.quaternion_to_matrix(start.quaternion).T
    np.testing.assert_allclose(frames.matrix_to_rotvec(turn), [0, 0, 0.4], atol=1e-6)
    assert robot.gripper == 0
    assert len(wire.seen) == 4, "one row each, as OpenVLA is run"
    assert wire.started == [("put carrot on plate", 3)]
    assert decisions[0].action == (
        f"{DESCRIPTION_MARK}move forward 4 cm and right 1 cm, rotate counterclockwise 5.73 degrees, close gripper"
    )
    assert decisions[0].stages[0].name == "remote"
    assert decisions[0].stages[0].retries == 1


def test_of_a_chunk_as_many_rows_are_carried_out_as_the_convention_says():
    rows = np.zeros((50, 7))
    rows[:, 2] = np.arange(50) / 1000
    _, _, wire, decisions = drive(find_convention("openpi", "pi0-bridge"), rows, steps=8)
    assert [len(decision.chunk.deltas) for decision in decisions] == [4, 4]
    assert len(wire.seen) == 2


def test_poses_are_reached_one_step_at_a_time_from_where_the_arm_is():
    convention = Convention(about="poses", source="this test", rotation="euler sxyz", absolute=True, upright="down")
    rows = np.array([[0.30, 0.03, 0.15, 0, 0, 0, 1], [0.30, 0.05, 0.15, 0, 0, 0, 1], [0.32, 0.05, 0.14, 0, 0, 0.2, 0]])
    _, robot, wire, decisions = drive(convention, rows, steps=3)
    np.testing.assert_allclose(robot.tcp.position, [0.32, 0.05, 0.14], atol=1e-6)
    wanted = frames.euler_sxyz_to_matrix(np.array([0, 0, 0.2])) @ WIDOWX_250S.down
    np.testing.assert_allclose(frames.quaternion_to_matrix(robot.tcp.quaternion), wanted, atol=1e-6)
    assert len(decisions) == 3
    assert len(wire.seen) == 1, "one answer, three steps"
    with pytest.raises(SettingError, match="need the state of the arm"):
        RemotePolicy(wire, convention, None)


def test_results_say_that_the_words_are_ours_and_a_step_too_long_counts_as_clipped(tmp_path):
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=(48, 64))
    wire = FakeWire(np.array([0.2, 0, 0, 0, 0, 0, 1.0]))
    result = run_episode(env, RemotePolicy(wire, find_convention("openvla", "openvla"), None))
    assert result.steps == 60
    assert result.clipped_steps == 60, "20 cm in one step is what no arm does; it is not made four steps in secret"
    assert all(str(decision["action"]).startswith(DESCRIPTION_MARK) for decision in result.decisions)
    assert result.parse_failures == 0
