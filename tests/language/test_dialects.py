"""The formats of other projects: their texts, what they refuse, and that writer, reader and grammar agree."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from formats_under_test import dialect, random_text

from vlm2vla_sim.core.rotations import euler_sxyz_to_rotvec, rotvec_to_euler_sxyz
from vlm2vla_sim.errors import ActionError, ActionTextError, SettingError
from vlm2vla_sim.language.formats import DIALECTS, FORMATS, ActionStatistics, get_format, is_self_delimiting
from vlm2vla_sim.language.formats.choice import MOTIONS, PHRASES
from vlm2vla_sim.language.formats.clap import add_up
from vlm2vla_sim.language.formats.properties import in_pieces, properties_of, read_action, write_action
from vlm2vla_sim.language.formats.statistics import BRIDGE, read_statistics, save_statistics
from vlm2vla_sim.language.prompts import action_prompt, prompts_hash

POSE = np.array([0.31, -0.04, 0.17, 0.1, -0.2, 0.7, 1.0])
"""(7,) as `properties.POSE_SIZE`."""
WIDE = ActionStatistics((-0.4, -0.14, -0.23, -3.2, -1.9, -6.3, 0), (0.42, 0.26, 0.21, 3.1, 1.9, 6.3, 1))


in_every_dialect = pytest.mark.parametrize("name", DIALECTS)


def row(*numbers: float) -> np.ndarray:
    """(1, 7) from dx, dy, dz [cm], Euler angles [degrees], gripper."""
    move, euler = np.array(numbers[:3]) / 100, np.radians(numbers[3:6])
    return np.array([[*move, *euler_sxyz_to_rotvec(euler), numbers[6]]])


def numbers(chunk) -> list[float]:
    """The inverse of `row`, of a chunk of one row."""
    (deltas,) = chunk.deltas.astype(np.float64)
    euler = np.degrees(rotvec_to_euler_sxyz(deltas[3:6]))
    return [round(float(value) + 0.0, 3) for value in (*(100 * deltas[:3]), *euler, deltas[6])]


# What the published code of VLA-0 and LAP wrote and read; benchmarks/dialect_conformance.py runs it beside ours.

VLA0 = (
    # NVlabs/vla0@731bef2 QwenActor.get_text_action, over BRIDGE and over WIDE: action, text
    (
        BRIDGE,
        [
            *(0.019789742305874825, 0.010883256793022156, 0.007771719247102737, -0.03698858246207237),
            *(-0.040304962545633316, -0.19034230709075928, 0.0752401351928711),
        ],
        "851 637 511 270 308 41 75",
    ),
    (
        BRIDGE,
        [
            *(-0.028421957045793533, -0.031442828476428986, -0.02554498054087162, 0.02828444540500641),
            *(-0.0031033381819725037, 0.05881762504577637, 0.2572997808456421),
        ],
        "5 124 8 671 526 647 257",
    ),
    (
        WIDE,
        [
            *(0.30523350834846497, 0.040135711431503296, 0.16379709541797638, 1.816842794418335),
            *(0.7803019285202026, -3.3939085006713867, 0.7670095562934875),
        ],
        "860 450 895 796 705 231 767",
    ),
    (
        WIDE,
        [
            *(0.22133764624595642, 0.022996142506599426, -0.011134013533592224, -0.5524764060974121),
            *(0.11138617992401123, -3.3988823890686035, 0.7857856750488281),
        ],
        "758 407 497 420 529 230 786",
    ),
)
LAP = (
    # lihzha/lap@3958d14: what parse_language_to_deltas reads, in cm and degrees
    ("move forward 3 cm, move up 2 cm, move left 7 cm, open gripper", (3, 7, 2, 0, 0, 0, 1)),
    ("move back 12 cm, move down 1 cm, move right 4 cm, close gripper", (-12, -4, -1, 0, 0, 0, 0)),
    ("move backward 2 cm, move forward 5 cm, close gripper", (3, 0, 0, 0, 0, 0, 0)),
    ("move forward slightly, move left moderately, move down a lot, open gripper", (1.5, 5, -10, 0, 0, 0, 1)),
    ("tilt left 10 degrees, close gripper", (0, 0, 0, 10, 0, 0, 0)),
    ("tilt right 20 degrees, close gripper", (0, 0, 0, -20, 0, 0, 0)),
    ("tilt back 30 degrees, close gripper", (0, 0, 0, 0, 30, 0, 0)),
    ("tilt down 30 degrees, close gripper", (0, 0, 0, 0, 30, 0, 0)),
    ("tilt up 10 degrees, set gripper to 0.3", (0, 0, 0, 0, -10, 0, 0.3)),
    ("tilt forward 10 degrees, set gripper to 0.75", (0, 0, 0, 0, -10, 0, 0.75)),
    (
        "tilt right 10 degrees, tilt back 20 degrees, rotate clockwise 40 degrees, open gripper",
        (0, 0, 0, -10, 20, -40, 1),
    ),
    ("rotate counterclockwise 90 degrees, open gripper", (0, 0, 0, 0, 0, 90, 1)),
    ("Move forward -3 cm, Open gripper", (-3, 0, 0, 0, 0, 0, 1)),
)


@pytest.mark.parametrize(("statistics", "action", "text"), VLA0)
def test_vla0_writes_and_reads_as_vla_0_does(statistics, action, text) -> None:
    spoken = dialect("vla0", statistics)
    assert spoken.write(np.array([action], np.float32)) == text
    width = np.array(statistics.high) - np.array(statistics.low)
    np.testing.assert_array_less(np.abs(spoken.read(text).deltas[0] - action), width / 2000 + 1e-6)
    assert spoken.read(text).stepwise


@pytest.mark.parametrize(("text", "meant"), LAP)
def test_lap_reads_as_lap_does(text, meant) -> None:
    chunk = get_format("lap").read(text)
    assert numbers(chunk) == pytest.approx(meant, abs=1e-3)
    assert chunk.row_steps == 5


@pytest.mark.parametrize(
    ("action", "sentence", "compact"),
    [
        # action_text.summarize_numeric_actions(..., "0f" and "compact", include_rotation=True)
        (
            (2.6, -4.4, 0.4, 0, 0, 0, 1),
            "move forward 3 cm, move right 4 cm, open gripper",
            "<+03 -04 +00 +00 +00 +00 1>",
        ),
        ((-0.5, 0, -12, 0, 0, 0, 0), "move down 12 cm, close gripper", "<+00 +00 -12 +00 +00 +00 0>"),
        (
            (0, 1.5, 2.5, 8.4, -21, 36, 0.49),
            "move up 2 cm, move left 2 cm, tilt left 10 degrees, tilt forward 20 degrees, "
            "rotate counterclockwise 40 degrees, close gripper",
            "<+00 +02 +02 +10 -20 +35 0>",
        ),
    ],
)
def test_lap_writes_as_lap_does(action, sentence, compact) -> None:
    assert get_format("lap").write(row(*action)) == sentence
    assert get_format("lap-compact").write(row(*action)) == compact


def test_the_frame_of_laps_gripper_turns_with_the_wrist_and_tilts_with_it() -> None:
    spoken = get_format("lap-gripper")
    quarter = np.array([0.3, 0, 0.2, 0, 0, np.pi / 2, 1])
    assert spoken.read("move forward 3 cm, open gripper", pose=quarter).deltas[0, :3] == pytest.approx([0, 0.03, 0])
    # parse_language_to_deltas with the state of this pose
    pose = np.array([0.3, 0.0, 0.2, -0.731164185026785, 0.7714222374700643, -0.17473087133419163, 1.0])
    chunk = spoken.read("tilt right 10 degrees, set gripper to 0.40", pose=pose)
    theirs = [-0.12162732503835044, 0.029123702121578887, 0.12006205494932176]
    assert rotvec_to_euler_sxyz(chunk.deltas[0, 3:6]) == pytest.approx(theirs, abs=1e-6)


# Every dialect.


def test_the_prompts_of_the_shipped_weights_are_unchanged() -> None:
    assert prompts_hash().startswith("a1d485a1b555ae1e")
    assert not set(FORMATS) & set(DIALECTS)


@in_every_dialect
def test_the_example_is_read_and_the_prompt_says_all(name) -> None:
    spoken = dialect(name)
    assert spoken.name == name
    assert read_action(spoken, spoken.example, POSE).deltas.shape[1] == 7
    prompt = action_prompt("grasp the carrot", "move down", spoken)
    assert spoken.rules in prompt
    assert ("32 steps" in prompt) != properties_of(spoken).own_prompt


@in_every_dialect
def test_random_motion_is_written_within_the_grammar_and_read_back(name) -> None:
    spoken, rng = dialect(name), np.random.default_rng(5)
    grammar = spoken.grammar()
    for _ in range(40):
        motion = np.array([*rng.normal(0, 0.06, 3), *rng.normal(0, 0.2, 3), rng.integers(0, 2)])
        for piece in in_pieces(spoken, np.array([motion]), gripper=1.0)[:3]:
            text = write_action(spoken, piece, POSE)
            assert re.fullmatch(grammar.regex, text), text
            chunk = read_action(spoken, text, POSE)
            # In turned axes the rounding of three numbers adds up.
            within = 0.0051 * (3**0.5 if name == "lap-gripper" else 1)
            np.testing.assert_allclose(chunk.deltas[:, :3], piece[:, :3], atol=within)
            np.testing.assert_allclose(chunk.deltas[:, 3:6], piece[:, 3:6], atol=np.radians(10))
            assert chunk.deltas[-1, 6].round() == piece[-1, 6].round()
            assert (chunk.stepwise, chunk.row_steps) == (
                properties_of(spoken).stepwise,
                properties_of(spoken).row_steps,
            )


@in_every_dialect
def test_what_the_grammar_lets_through_is_read(name) -> None:
    """A walk through each grammar; benchmarks/dialects.py takes 10,000 of them."""
    spoken, rng = dialect(name), np.random.default_rng(3)
    for _ in range(10):
        text = random_text(spoken.grammar().regex, rng)
        chunk = read_action(spoken, text, POSE)
        assert np.isfinite(chunk.deltas).all()


@in_every_dialect
def test_rubbish_is_refused_with_its_place(name) -> None:
    spoken = dialect(name)
    for text in (
        "",
        "hello",
        "[[",
        "<+03 +02>",
        "500 500",
        '{"goals": []}',
        "move sideways 3 cm, open gripper",
        "1" * 21000,
    ):
        with pytest.raises(ActionTextError):
            read_action(spoken, text, POSE)


@in_every_dialect
def test_a_text_that_was_cut_off_is_refused_or_shows_its_end(name) -> None:
    spoken = dialect(name)
    whole = spoken.example
    assert is_self_delimiting(spoken, whole) == (name in ("paper", "lap-compact", "goal-json", "choice"))
    if is_self_delimiting(spoken, whole):
        for end in range(1, len(whole)):
            with pytest.raises(ActionTextError):
                read_action(spoken, whole[:end], POSE)


# Units.


@pytest.mark.parametrize(
    "text", ["[[0.1, 0.03, -0.2, 1]]", "[0.1, 0.03, -0.2, 1]", "[[0, 0, 0.3, 0, 0, 30, 1], [0, 0, 0, 0, 0, 0, 0]]"]
)
def test_metres_are_refused_where_centimetres_are_read(text) -> None:
    with pytest.raises(ActionTextError, match=r"every length is below 0\.5 .*almost certainly metres.*'paper'"):
        get_format("vlm2vla").read(text)
    assert get_format("paper").read(text).deltas[0, 2] in (pytest.approx(-0.2), pytest.approx(0.3))


@pytest.mark.parametrize(
    ("text", "dz"),
    [
        ("[[0, 0, 0, 0]]", 0),
        ("[[0, 0, 0, 0, 0, 10, 1]]", 0),
        ("[[0, 0, 0.5, 1]]", 0.005),
        ("[[0, 0, -0.5, 1], [0, 0, 0, 0]]", -0.005),
        ("[[3, 0, -0.2, 1]]", -0.002),
        ("[[0 cm, 0 cm, 0.2 cm, 1]]", 0.002),
    ],
)
def test_small_moves_of_centimetres_are_read(text, dz) -> None:
    assert get_format("vlm2vla").read(text).deltas[0, 2] == pytest.approx(dz)


def test_a_format_that_writes_millimetres_reads_them() -> None:
    from vlm2vla_sim.language.formats import Resolution

    fine = get_format("vlm2vla", resolution=Resolution(translation=0.001))
    assert fine.read("[[0.1, 0, -0.2, 1]]").deltas[0, 2] == pytest.approx(-0.002)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("paper", "[[3, 0, -8, 1]]", r"dx of row 1 is 3 m: almost certainly cm"),
        ("paper", "[[0.03 cm, 0, 0, 1]]", r"is in 'cm'; expected m"),
        ("paper", "[[0.6, 0, 0, 1]]", r"dx of row 1 is 60 cm; expected -50 to 50 cm"),
        ("goal-json", '{"position": [0.3, 0, 0.2], "gripper": "open"}', "almost certainly metres"),
        ("goal-json", '{"position": [30, 0, 90], "gripper": "open"}', r"z = 90 cm; expected -5 to 50 cm"),
        ("goal-json", '{"position": [30, 0, 9], "gripper": "half"}', "gripper is 'half'"),
        ("goal-json", '{"position": [30, 0], "gripper": "open"}', "expected three numbers"),
        ("goal-json", '{"position": [30, 0, 9], "gripper": "open", "speed": 3}', "expected the keys"),
        ("lap", "move forward 3 m, open gripper", "is in 'm'; expected cm"),
        ("lap", "move forward, open gripper", "does not say how far"),
        ("lap", "tilt left slightly, open gripper", "stands for no angle"),
        ("lap", "move forward 3 cm", "does not say what the gripper does"),
        ("lap", "open gripper, close gripper", "sets the gripper twice"),
        ("lap", "move forward 3 cm,", "ends after ','"),
        ("lap", "set gripper to 1.5", "expected 0 .closed. to 1 .open."),
        ("lap-compact", "<+03 +02 +00 5>", "gripper is 5"),
        ("lap-compact", "<+99 +02 +00 1>", "dx of row 1 is 99 cm"),
        ("vla0", "500 500 500", "there are 3 numbers"),
        ("vla0", "1001 500 500 500 500 500 500", "whole number from 0 to 1000"),
        ("clap", "<think> move up 3 cm, open gripper </think>", "no numbers after the words"),
        ("choice", "move down 7 cm", "not one of the 39 phrases"),
    ],
)
def test_what_is_wrong_is_said(name, text, complaint) -> None:
    with pytest.raises(ActionTextError, match=complaint):
        read_action(dialect(name), text, POSE)


# What a format needs.


@pytest.mark.parametrize("name", ["goal-json", "choice", "lap-gripper"])
def test_without_the_arms_pose_a_format_that_needs_it_is_refused(name) -> None:
    assert properties_of(dialect(name)).needs_pose
    with pytest.raises(SettingError, match="depend on the arm's pose, which is not known here"):
        read_action(dialect(name), dialect(name).example, None)


@pytest.mark.parametrize("name", ["vla0", "clap"])
def test_without_statistics_a_format_of_bins_is_refused(name) -> None:
    with pytest.raises(SettingError, match="no statistics were given"):
        get_format(name)


def test_statistics_are_those_of_the_actions_and_are_read_as_saved(tmp_path) -> None:
    actions = np.zeros((4, 7), np.float32)
    actions[:, 0], actions[:, 6] = [-0.02, 0.01, 0.03, 0], [0, 1, 1, 0]
    found = ActionStatistics.of([actions[:2], actions[2:]], source="two episodes")
    assert (found.low[0], found.high[0], found.actions) == (pytest.approx(-0.02), pytest.approx(0.03), 4)
    save_statistics(found, tmp_path)
    assert read_statistics(tmp_path) == found
    spoken = get_format("vla0", statistics=found)
    np.testing.assert_allclose(spoken.read(spoken.write(actions)).deltas, actions, atol=0.00003)
    with pytest.raises(
        ActionError, match=r"dx of row 1 is 0\.04 in m and rad; two episodes ranges from -0\.02 to 0\.03"
    ):
        spoken.write(np.array([[0.04, 0, 0, 0, 0, 0, 1]]))
    with pytest.raises(SettingError, match=r"cannot be read.*--adapter"):
        read_statistics(tmp_path / "other")


def test_a_goal_is_reached_from_wherever_the_arm_is() -> None:
    spoken = get_format("goal-json")
    text = '```json\n[{"position": [33, 5, 12], "rotation": [0, 0, 90], "gripper": "closed"}]\n```'
    for pose in (POSE, np.array([0.4, 0.1, 0.05, 0, 0, 0, 1])):
        chunk = spoken.read(text, pose=pose)
        assert pose[:3] + chunk.deltas[0, :3] == pytest.approx([0.33, 0.05, 0.12], abs=1e-6)
        assert spoken.write(chunk.deltas, pose=pose) == (
            '{"goals": [{"position": [33, 5, 12], "rotation": [0, 0, 90], "gripper": "closed"}]}'
        )


def test_claps_words_are_the_sum_of_its_steps() -> None:
    steps = np.array([[0.02, 0, -0.02, 0, 0, -0.15, 1]] * 4)
    text = dialect("clap").write(steps)
    assert text.startswith(
        "<think> move forward 8 cm, move down 8 cm, rotate clockwise 30 degrees, open gripper </think> "
    )
    assert text.endswith(dialect("vla0").write(steps))
    without_tags = text.replace("<think>", "").replace("</think>", "")
    np.testing.assert_array_equal(dialect("clap").read(without_tags).deltas, dialect("clap").read(text).deltas)
    assert add_up(steps)[0, 5] == pytest.approx(-0.6)


def test_every_phrase_is_read_as_what_is_written() -> None:
    spoken = get_format("choice")
    for told in (0.0, 1.0):
        pose = np.array([*POSE[:6], told])
        for phrase in PHRASES:
            chunk = spoken.read(f"{phrase.capitalize()}.", pose=pose)
            if phrase in MOTIONS or phrase == "stay":
                assert chunk.deltas[0, 6] == told
                assert spoken.write(chunk.deltas, pose=pose) == phrase
    assert not any(longer.startswith(phrase) for phrase, longer in pairwise(sorted(PHRASES)))


@pytest.mark.parametrize("name", ["lap", "lap-compact", "choice", "vla0"])
def test_a_long_motion_is_said_in_pieces_that_add_up(name) -> None:
    spoken = dialect(name)
    motion = np.array([[0.23, -0.11, 0.0, 0, 0, 0, 0.0]])
    pieces = in_pieces(spoken, motion, gripper=1.0)
    assert len(pieces) > 1
    total = sum(
        read_action(spoken, write_action(spoken, piece, POSE), POSE).deltas[:, :3].sum(axis=0) for piece in pieces
    )
    assert total == pytest.approx([0.23, -0.11, 0], abs=0.0055)
    assert pieces[-1][-1, 6] == 0
