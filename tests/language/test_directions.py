"""Every direction, in every format, means what its word says. A round trip cannot see a swapped sign; these can."""

from __future__ import annotations

import numpy as np
import pytest

from vlm2vla_sim.core.rotations import rotvec_to_matrix
from vlm2vla_sim.language.formats import get_format

FORWARD, LEFT, UP = np.eye(3)

# What it is in metres, radians and gripper opening; then word for word what is written in each format.
FORMATS = ("vlm2vla", "prose", "integers", "tokens")
SYMBOLS = "zabcdefghi"
GOLDEN = {
    "forward": (
        [0.03, 0, 0, 0, 0, 0, 1],
        "[[3, 0, 0, 1]]",
        "move forward 3 cm, open gripper",
        "530 500 500 500 500 500 1000",
        "[[c, z, z, a]]",
    ),
    "backward": (
        [-0.03, 0, 0, 0, 0, 0, 1],
        "[[-3, 0, 0, 1]]",
        "move backward 3 cm, open gripper",
        "470 500 500 500 500 500 1000",
        "[[-c, z, z, a]]",
    ),
    "left": (
        [0, 0.04, 0, 0, 0, 0, 0],
        "[[0, 4, 0, 0]]",
        "move left 4 cm, close gripper",
        "500 540 500 500 500 500 0",
        "[[z, d, z, z]]",
    ),
    "right": (
        [0, -0.04, 0, 0, 0, 0, 0],
        "[[0, -4, 0, 0]]",
        "move right 4 cm, close gripper",
        "500 460 500 500 500 500 0",
        "[[z, -d, z, z]]",
    ),
    "up": (
        [0, 0, 0.08, 0, 0, 0, 1],
        "[[0, 0, 8, 1]]",
        "move up 8 cm, open gripper",
        "500 500 580 500 500 500 1000",
        "[[z, z, h, a]]",
    ),
    "down": (
        [0, 0, -0.08, 0, 0, 0, 1],
        "[[0, 0, -8, 1]]",
        "move down 8 cm, open gripper",
        "500 500 420 500 500 500 1000",
        "[[z, z, -h, a]]",
    ),
    "tilt left": (
        [0, 0, 0, np.pi / 2, 0, 0, 1],
        "[[0, 0, 0, 90, 0, 0, 1]]",
        "tilt left 90 degrees, open gripper",
        "500 500 500 750 500 500 1000",
        "[[z, z, z, iz, z, z, a]]",
    ),
    "tilt right": (
        [0, 0, 0, -np.pi / 2, 0, 0, 1],
        "[[0, 0, 0, -90, 0, 0, 1]]",
        "tilt right 90 degrees, open gripper",
        "500 500 500 250 500 500 1000",
        "[[z, z, z, -iz, z, z, a]]",
    ),
    "tilt backward": (
        [0, 0, 0, 0, np.pi / 2, 0, 1],
        "[[0, 0, 0, 0, 90, 0, 1]]",
        "tilt backward 90 degrees, open gripper",
        "500 500 500 500 750 500 1000",
        "[[z, z, z, z, iz, z, a]]",
    ),
    "tilt forward": (
        [0, 0, 0, 0, -np.pi / 2, 0, 1],
        "[[0, 0, 0, 0, -90, 0, 1]]",
        "tilt forward 90 degrees, open gripper",
        "500 500 500 500 250 500 1000",
        "[[z, z, z, z, -iz, z, a]]",
    ),
    "rotate counterclockwise": (
        [0, 0, 0, 0, 0, np.pi / 4, 0],
        "[[0, 0, 0, 0, 0, 45, 0]]",
        "rotate counterclockwise 45 degrees, close gripper",
        "500 500 500 500 500 625 0",
        "[[z, z, z, z, z, de, z]]",
    ),
    "rotate clockwise": (
        [0, 0, 0, 0, 0, -np.pi / 4, 0],
        "[[0, 0, 0, 0, 0, -45, 0]]",
        "rotate clockwise 45 degrees, close gripper",
        "500 500 500 500 500 375 0",
        "[[z, z, z, z, z, -de, z]]",
    ),
    "open": (
        [0, 0, 0, 0, 0, 0, 1],
        "[[0, 0, 0, 1]]",
        "open gripper",
        "500 500 500 500 500 500 1000",
        "[[z, z, z, a]]",
    ),
    "close": (
        [0, 0, 0, 0, 0, 0, 0],
        "[[0, 0, 0, 0]]",
        "close gripper",
        "500 500 500 500 500 500 0",
        "[[z, z, z, z]]",
    ),
}

LONG = np.array([[0.03, -0.02, -0.08, 0, 0, 0, 1], [0, 0, 0, np.radians(10), np.radians(-5), np.radians(-20), 0]])


@pytest.mark.parametrize("direction", GOLDEN)
@pytest.mark.parametrize("name", FORMATS)
def test_a_direction_is_written_and_read_as_its_word_says(direction: str, name: str) -> None:
    row, *texts = GOLDEN[direction]
    text = texts[FORMATS.index(name)]
    action_format = get_format(name, symbols=SYMBOLS if name == "tokens" else None)
    assert action_format.write(np.array([row])) == text
    np.testing.assert_allclose(action_format.read(text).deltas, [row], atol=1e-6)


def test_rows_that_move_turn_and_close_are_written_in_full() -> None:
    assert get_format("vlm2vla").write(LONG) == "[[3, -2, -8, 0, 0, 0, 1], [0, 0, 0, 10, -5, -20, 0]]"
    assert get_format("prose").write(LONG) == (
        "move forward 3 cm and right 2 cm and down 8 cm, open gripper; "
        "tilt left 10 degrees and forward 5 degrees, rotate clockwise 20 degrees, close gripper"
    )
    assert get_format("integers").write(LONG) == "530 480 420 500 500 500 1000 500 500 500 528 486 444 0"
    assert get_format("tokens", symbols=SYMBOLS).write(LONG) == ("[[c, -b, -h, z, z, z, a], [z, z, z, az, -e, -bz, z]]")


@pytest.mark.parametrize(
    ("words", "goes"),
    [
        ("move forward 9 cm", FORWARD),
        ("move backward 9 cm", -FORWARD),
        ("move left 9 cm", LEFT),
        ("move right 9 cm", -LEFT),
        ("move up 9 cm", UP),
        ("move down 9 cm", -UP),
    ],
)
def test_a_move_goes_where_the_base_frame_says(words: str, goes: np.ndarray) -> None:
    moved = get_format("prose").read(f"{words}, open gripper").deltas[0, :3]
    np.testing.assert_allclose(moved, 0.09 * goes, atol=1e-7)


@pytest.mark.parametrize(
    ("words", "goes"),
    [
        ("tilt left 30 degrees", LEFT),
        ("tilt right 30 degrees", -LEFT),
        ("tilt forward 30 degrees", FORWARD),
        ("tilt backward 30 degrees", -FORWARD),
    ],
)
def test_a_tilt_swings_the_fingertips_of_a_gripper_that_points_down_where_it_says(words: str, goes: np.ndarray) -> None:
    turn = rotvec_to_matrix(get_format("prose").read(f"{words}, open gripper").deltas[0, 3:6])
    np.testing.assert_allclose(turn @ -UP, np.sin(np.radians(30)) * goes - np.cos(np.radians(30)) * UP, atol=1e-6)


@pytest.mark.parametrize(("words", "takes_forward_to"), [("counterclockwise", LEFT), ("clockwise", -LEFT)])
def test_a_rotation_is_as_a_clock_lying_on_the_table_shows_it(words: str, takes_forward_to: np.ndarray) -> None:
    turn = rotvec_to_matrix(get_format("prose").read(f"rotate {words} 90 degrees, open gripper").deltas[0, 3:6])
    np.testing.assert_allclose(turn @ FORWARD, takes_forward_to, atol=1e-6)
