"""What conventions of this year mean, in numbers worked out by hand: poses, sums, histories, averages, odd messages."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vlm2vla_sim.core import frames
from vlm2vla_sim.core.rotations import columns_to_matrix, rot6d_to_matrix
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.policies.remote.conventions import Convention, find_convention
from vlm2vla_sim.policies.remote.convert import (
    check_rows,
    check_scale,
    delta_to,
    fill_gripper,
    read_deltas,
    write_deltas,
)
from vlm2vla_sim.policies.remote.images import resize
from vlm2vla_sim.policies.remote.observations import get, put, read_proprio, write_proprio
from vlm2vla_sim.policies.remote.policy import DESCRIPTION_MARK, RemotePolicy
from vlm2vla_sim.policies.remote.steps import FrameHistory, TemporalEnsemble
from vlm2vla_sim.policies.remote.wire import Reply, Request
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.serving.server import check_servable
from vlm2vla_sim.types import Pose, RobotState

LAP = find_convention("openpi", "lap")
XVLA = find_convention("openvla", "xvla")
QUARTER = np.pi / 2
DOWN = np.array([0.3, -0.02, 0.12, 0, 0, 0, 1.0], np.float32)
"""As `Robot.agent_pos`: pointing down, open."""


# LAP.


def test_a_row_of_laps_is_a_second_and_not_one_control_step():
    """Forward 10 cm, down 5 cm, a quarter turn about z: 2 cm, 1 cm and 18 degrees in each of five steps."""
    rows = check_rows(np.array([0.1, 0, -0.05, 0, 0, QUARTER, 0.0]), LAP)
    check_scale(rows, LAP)
    steps = read_deltas(rows, LAP)
    assert steps.shape == (5, 7)
    np.testing.assert_allclose(steps, np.tile([0.02, 0, -0.01, 0, 0, np.pi / 10, 0], (5, 1)), atol=1e-12)


def test_the_turns_of_a_sum_follow_one_another_to_the_whole_rotation():
    euler = np.array([0.3, -0.2, 0.9])
    steps = read_deltas(check_rows(np.array([0, 0, 0, *euler, 1.0]), LAP), LAP)
    whole = np.linalg.matrix_power(frames.rotvec_to_matrix(steps[0, 3:6]), 5)
    np.testing.assert_allclose(whole, frames.euler_sxyz_to_matrix(euler), atol=1e-12)


def test_a_gripper_that_the_words_do_not_name_stays_as_it_was_told():
    rows = check_rows(np.array([0.05, 0, 0, 0, 0, 0]), LAP)
    assert np.isnan(rows[0, 6])
    assert read_deltas(fill_gripper(rows, 0.0, LAP), LAP)[0, 6] == 0
    assert read_deltas(fill_gripper(rows, 1.0, LAP), LAP)[0, 6] == 1
    with pytest.raises(ServerError, match=r"shape \(6,\); expected \(7,\)"):
        check_rows(np.zeros(6), find_convention("openpi", "pi0-bridge"))
    with pytest.raises(ServerError, match=r"shape \(2, 7\); expected \(7,\) or one row of 7.*LAP_AR"):
        check_rows(np.zeros((2, 7)), LAP)
    with pytest.raises(SettingError, match="cannot be sent as the sum of 5"):
        write_deltas(np.zeros((1, 7)), LAP)


def test_lap_sees_a_frankas_gripper():
    """Pointing down: a Franka's x is forward, its y to the right, its z down. Yawed a quarter: x is to the left."""
    state = write_proprio(DOWN, LAP)
    np.testing.assert_allclose(state, [0.3, -0.02, 0.12, 1, 0, 0, 0, -1, 0, 1], atol=1e-6)
    yawed = write_proprio(np.array([*DOWN[:5], QUARTER, 0.5], np.float32), LAP)
    np.testing.assert_allclose(yawed[3:], [0, 1, 0, 1, 0, 0, 0.5], atol=1e-6)
    for seen in (DOWN, np.array([0.25, 0.1, 0.2, 0.1, -0.3, 0.7, 0.4], np.float32)):
        np.testing.assert_allclose(read_proprio(write_proprio(seen, LAP), LAP), seen, atol=1e-6)
    with pytest.raises(SettingError, match="which is not a rotation"):
        read_proprio(np.zeros(10), LAP)


# X-VLA.


def pose_of(delta: np.ndarray, robot: RobotState) -> Pose:
    return frames.advance_target(robot.target, robot.tcp, delta)


@pytest.mark.parametrize(
    ("columns", "gripper_points", "its_z"),
    [
        ([1, 0, 0, 1, 0, 0], [0, 0, -1], [1, 0, 0]),  # Bridge's zero: down, as SIMPLER's arm starts
        ([0, -1, 1, 0, 0, 0], [0, 0, -1], [0, 1, 0]),  # yawed a quarter to the left
        # Pitched a quarter in Bridge's frame, Ry(90): down, then another quarter: back towards the base.
        ([0, 0, 0, 1, -1, 0], [-1, 0, 0], [0, 0, -1]),
    ],
)
def test_x_vlas_rows_are_poses_in_bridges_frame(columns, gripper_points, its_z):
    row = check_rows(np.array([0.31, 0.05, 0.11, *columns, 0.2, *np.zeros(10)]), XVLA)[0]
    start = Pose(np.array([0.3, 0, 0.15]), frames.matrix_to_quaternion(WIDOWX_250S.down))
    behind = Pose(np.array([0.28, 0.01, 0.16]), start.quaternion)
    delta = delta_to(row, XVLA, RobotState(behind, start, 1.0))
    led = pose_of(delta, RobotState(behind, start, 1.0))
    np.testing.assert_allclose(led.position, [0.31, 0.05, 0.11], atol=1e-9)
    matrix = frames.quaternion_to_matrix(led.quaternion)
    np.testing.assert_allclose(matrix[:, 0], gripper_points, atol=1e-7)
    np.testing.assert_allclose(matrix[:, 2], its_z, atol=1e-7)


def test_x_vla_adds_the_quarter_turn_to_the_angle_and_not_to_the_pose():
    """A roll of 0.2 in Bridge's frame: the reference's angles are (0.2, 90 degrees, 0), so R = Ry(90) Rx(0.2)."""
    roll = frames.euler_sxyz_to_matrix(np.array([0.2, 0, 0]))
    row = np.array([0.3, 0, 0.15, *roll[:, :2].ravel(), 0.0, *np.zeros(10)])
    start = Pose(np.array([0.3, 0, 0.15]), frames.matrix_to_quaternion(WIDOWX_250S.down))
    led = pose_of(delta_to(row, XVLA, RobotState(start, start, 1.0)), RobotState(start, start, 1.0))
    expected = np.array([[0, np.sin(0.2), np.cos(0.2)], [0, np.cos(0.2), -np.sin(0.2)], [-1, 0, 0]])
    np.testing.assert_allclose(frames.quaternion_to_matrix(led.quaternion), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("instruction", "threshold"),
    [
        ("put the spoon on the towel", 0.7),
        ("put carrot on plate", 0.95),
        ("stack the green block on the yellow block", 0.91),
        ("put eggplant into yellow basket", 0.8),
        ("push the button", 0.7),
    ],
)
def test_x_vlas_gripper_opens_below_the_threshold_of_its_task(instruction, threshold):
    def gripper(chance: float) -> float:
        row = np.array([[0.3, 0, 0.15, 1, 0, 0, 1, 0, 0, chance, *np.zeros(10)]])
        return float(read_deltas(check_rows(row, XVLA), XVLA, instruction)[0, 6])

    assert gripper(threshold - 0.01) == 1
    assert gripper(threshold + 0.01) == 0


def test_x_vla_is_told_where_it_told_the_arm_to_be():
    first = write_proprio(DOWN, XVLA)
    np.testing.assert_allclose(first, [0.3, -0.02, 0.12, 1, 0, 0, 1, 0, 0, 0, *np.zeros(10)], atol=1e-7)
    row = np.arange(20) / 100
    np.testing.assert_allclose(write_proprio(DOWN, XVLA, row), [*row[:10], *np.zeros(10)], atol=1e-7)
    served = find_convention("vla-eval", "xvla")  # that server keeps its own last row
    np.testing.assert_allclose(write_proprio(DOWN, served, np.zeros(7)), first, atol=1e-7)
    with pytest.raises(SettingError, match="own last action"):
        read_proprio(first, XVLA)


def test_six_numbers_that_are_no_exact_rotation_are_made_one():
    """The first column's length and the second's part along the first do not matter."""
    np.testing.assert_allclose(rot6d_to_matrix(np.array([2, 5, 0, 3, 0, 0])), np.eye(3), atol=1e-12)
    swapped = columns_to_matrix(np.array([0, 0.5, 0]), np.array([0, 7, 0.1]))
    np.testing.assert_allclose(swapped, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)
    with pytest.raises(ServerError, match="in place of a rotation"):
        check_rows(np.zeros(20), XVLA)


# Scale.


@pytest.mark.parametrize(
    ("convention", "row", "said"),
    [
        (("openvla", "openvla"), [0.8, -0.3, 0.1, 0.5, 0, 0, 1], "0.80 m along an axis.*within -1 .. 1.*normalised"),
        (("openvla", "openvla"), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1], "1.00 m.*normalised.*unnorm_key=bridge_orig"),
        (("openvla", "openvla"), [3.0, 0, 0, 0, 0, 0, 1], "3.00 m along an axis.*unit of length"),
        (("openpi", "lap"), [1.5, 0, 0, 0, 0, 0, 1], "0.30 m along an axis.*unit of length"),
        (("openvla", "xvla"), [0.9, 0.9, 0.1, 1, 0, 0, 1, 0, 0, 0, *[0] * 10], "1.28 m from the base.*normalised"),
    ],
)
def test_what_no_arm_can_do_is_refused_with_its_likely_cause(convention, row, said):
    found = find_convention(*convention)
    with pytest.raises(ServerError, match=said):
        check_scale(check_rows(np.array([row], float), found), found)


def test_what_an_arm_can_do_is_not_refused():
    for convention, row in (
        (("openvla", "openvla"), [0.2, -0.2, 0.1, 0.5, 0, 0, 1]),
        (("openpi", "lap"), [0.5, 0.3, -0.2, 0, 0, 1.5, 1]),
        (("openvla", "xvla"), [0.5, 0.3, 0.3, 1, 0, 0, 1, 0, 0, 0, *[0] * 10]),
    ):
        found = find_convention(*convention)
        check_scale(check_rows(np.array([row], float), found), found)


@pytest.mark.parametrize(
    ("wire", "name", "said"),
    [
        ("openpi", "lap", "cannot be sent as the sum of 5"),
        ("openvla", "xvla", "cannot be sent as absolute poses"),
        ("openpi", "starvla", "which only the client speaks"),
    ],
)
def test_what_a_policy_of_ours_cannot_say_is_not_served(wire, name, said):
    with pytest.raises(SettingError, match=said):
        check_servable(find_convention(wire, name))


# Earlier images and answers.


def image(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def test_a_history_repeats_the_first_image_and_keeps_its_steps_apart():
    frames_of = FrameHistory(dataclasses.replace(LAP, history=3, history_interval=2))
    sent = [frames_of.add(image(step))[:, 0, 0, 0].tolist() for step in range(6)]
    assert sent == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 5]]
    frames_of.reset()
    assert frames_of.add(image(9))[:, 0, 0, 0].tolist() == [9, 9, 9]


def test_an_ensemble_by_age_is_simplers():
    """Temperature -0.8, two answers: the newer weighs e^0.8 = 2.2255 times as much."""
    ensemble = TemporalEnsemble(find_convention("openvla", "spatialvla"))
    first = np.array([[0.0, 1], [0.1, 1], [0.2, 1], [0.3, 1]])
    np.testing.assert_allclose(ensemble.add(first), [0.0, 1])
    # The first answer said 0.1 for this step, the second says 0.4.
    weight = np.exp(0.8)
    np.testing.assert_allclose(ensemble.add(np.array([[0.4, 0], [0.5, 0]]))[0], (0.1 + 0.4 * weight) / (1 + weight))
    # The third is alone with the first's third row and the second's second.
    weights = np.exp(0.8 * np.arange(3))
    expected = np.array([0.2, 0.5, 0.6]) @ weights / weights.sum()
    np.testing.assert_allclose(ensemble.add(np.array([[0.6, 0]]))[0], expected)
    # Now the second answer has no row left for this step, and the third none either: only the first and the newest.
    weights = np.exp(0.8 * np.arange(2))
    np.testing.assert_allclose(ensemble.add(np.array([[0.9, 0]]))[0], np.array([0.3, 0.9]) @ weights / weights.sum())


def test_an_ensemble_by_similarity_is_starvlas():
    """Alpha 0.1: an answer that points the other way weighs e^-0.1, one that agrees e^0.1."""
    ensemble = TemporalEnsemble(find_convention("openpi", "starvla"))
    ensemble.add(np.array([[1.0, 0], [-1.0, 0]]))
    found = ensemble.add(np.array([[1.0, 0]]))
    np.testing.assert_allclose(found, [np.tanh(0.1), 0], atol=1e-6)
    plain = TemporalEnsemble(dataclasses.replace(find_convention("openpi", "starvla"), ensemble_alpha=0.0))
    plain.add(np.array([[1.0, 0], [-1.0, 0]]))
    np.testing.assert_allclose(plain.add(np.array([[1.0, 0]])), [0, 0], atol=1e-12)


# Messages and images.


def test_a_value_stands_where_its_path_says():
    message: dict = {"do_sample": False}
    put(message, ("examples", 0, "image", 0), "picture")
    put(message, ("examples", 0, "lang"), "words")
    put(message, "unnorm_key", "bridge")
    expected = {"do_sample": False, "examples": [{"image": ["picture"], "lang": "words"}], "unnorm_key": "bridge"}
    assert message == expected
    assert get(message, ("examples", 0, "image", 0)) == "picture"
    assert get(message, ("examples", 1)) is None
    assert get(message, ("do_sample", "x")) is None
    assert get({"data": {"actions": np.zeros((1, 2, 7))}}, ("data", "actions", 0)).shape == (2, 7)


def test_an_image_between_four_pixels_is_not_the_mean_of_all_it_covers():
    convention = dataclasses.replace(find_convention("groot", "groot"), image_size=(1, 2))
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, :4] = np.array([0, 40, 80, 200], np.uint8)[None, :, None]
    # The left half's middle lies between its second and third pixel: (40 + 80) / 2, not (0 + 40 + 80 + 200) / 4.
    assert resize(picture, convention)[0, :, 0].tolist() == [60, 0]
    assert resize(picture, dataclasses.replace(convention, resize="area"))[0, :, 0].tolist() == [80, 0]


def test_a_pixel_that_is_covered_in_part_counts_in_part():
    """Three pixels to two: each is one and a half wide, (90 + 30 / 2) / 1.5 = 70 and (30 / 2 + 240) / 1.5 = 170."""
    convention = dataclasses.replace(find_convention("openvla", "openvla"), image_size=(1, 2))
    picture = np.repeat(np.array([[90, 30, 240]], np.uint8)[..., None], 3, axis=2)
    assert resize(picture, convention)[0, :, 0].tolist() == [70, 170]


@pytest.mark.parametrize("kind", ["area", "linear", "lanczos4"])
def test_images_are_those_of_opencv(kind):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    convention = dataclasses.replace(find_convention("openvla", "openvla"), resize=kind)
    way = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "lanczos4": cv2.INTER_LANCZOS4}[kind]
    rng = np.random.default_rng(0)
    for size in ((480, 640), (300, 500)):
        picture = rng.integers(0, 256, (*size, 3), np.uint8)
        theirs = cv2.resize(picture, (224, 224), interpolation=way).astype(int)
        assert np.abs(resize(picture, convention).astype(int) - theirs).max() <= 1, "rounding"


# As a policy.


class Answers:
    """Answers from a list; keeps what it was shown."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.seen = list(replies), []

    def start(self, instruction: str, seed: int) -> int:
        del instruction, seed
        return 0

    def ask(self, request: Request) -> Reply:
        self.seen.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def close(self) -> None:
        pass


def drive(convention: Convention, *replies: Reply, decisions: int) -> tuple[Answers, list, WidowXEnv]:
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=(48, 64))
    observation, _ = env.reset(options={"episode_id": 0})
    wire = Answers(*replies)
    policy = RemotePolicy(wire, convention, lambda: env.status.robot)
    policy.reset("put carrot on plate", 0)
    made = []
    for _ in range(decisions):
        made.append(policy.act(observation))
        for row in made[-1].chunk.deltas:
            observation, *_ = env.step(row)
    return wire, made, env


def test_the_models_own_words_are_the_action_text():
    closing = Reply(np.array([0.05, 0, 0, 0, 0, 0, 0.0]), 0, words="move forward 5 cm, close gripper")
    on = Reply(np.array([0, 0, 0.05, 0, 0, 0]), 0, words="move up 5 cm")
    _, made, env = drive(LAP, closing, on, decisions=2)
    assert [one.action for one in made] == ["move forward 5 cm, close gripper", "move up 5 cm"]
    assert [one.chunk.text for one in made] == [one.action for one in made]
    assert env.status.robot.gripper == 0, "the second answer does not name the gripper"
    _, (plain,), _ = drive(find_convention("openvla", "openvla"), Reply(np.zeros(7), 0, words=""), decisions=1)
    assert plain.action.startswith(DESCRIPTION_MARK)


def test_with_a_history_a_request_holds_the_images_of_every_control_step():
    convention = dataclasses.replace(find_convention("openpi", "pi0-bridge"), history=3, execute=2, image_size=None)
    rows = np.zeros((4, 7))
    wire, made, _ = drive(convention, Reply(rows, 0), decisions=6)
    assert [len(one.chunk.deltas) for one in made] == [1] * 6, "one step at a time, to see what lies between"
    assert [request.image.shape for request in wire.seen] == [(3, 48, 64, 3)] * 3


def test_an_ensemble_asks_at_every_step_and_carries_out_the_mean():
    convention = dataclasses.replace(find_convention("openpi", "pi0-bridge"), ensemble=2, execute=1)
    first, second = np.zeros((2, 7)), np.zeros((2, 7))
    first[:, 0], second[:, 0] = 0.02, 0.04
    wire, made, _ = drive(convention, Reply(first, 0), Reply(second, 0), decisions=3)
    assert len(wire.seen) == 3
    np.testing.assert_allclose([one.chunk.deltas[0, 0] for one in made], [0.02, 0.03, 0.04])
