"""Random episodes in BridgeData's convention, what they mean in ours, and whether a reason is a sentence.

The meaning is computed apart from the package: rotations by multiplying quaternions.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import check_images
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError


@dataclass
class Meaning:
    """What an episode must be read as."""

    states: np.ndarray
    """(T, 7), ours."""
    actions: np.ndarray
    """(T, 7), ours."""
    shades: list[int]
    """Brightness of each image, which tells them apart."""
    instruction: str


def random_episode(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 7) states and (count, 7) actions of BridgeData; no action is all zeros."""
    states = np.column_stack([rng.uniform(-0.4, 0.4, (count, 6)), rng.uniform(0.1, 1.2, count)])
    deltas = rng.uniform(0.001, 0.05, (count, 6)) * rng.choice([-1, 1], (count, 6))
    return states, np.column_stack([deltas, rng.integers(0, 2, count)])


def meaning_of(states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """BridgeData's numbers in our convention."""
    opening = np.clip((states[:, 6] - 0.20) / 0.88, 0, 1)
    turns = np.array([rotation_vector(*action[3:6]) for action in actions]).reshape(-1, 3)
    return np.column_stack([states[:, :6], opening]), np.column_stack([actions[:, :3], turns, actions[:, 6]])


def rotation_vector(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Of a turn about the fixed axes x, then y, then z."""
    quaternion = np.array([1.0, 0.0, 0.0, 0.0])
    for axis, angle in enumerate((roll, pitch, yaw)):
        turn = np.zeros(4)
        turn[0], turn[1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
        a, b, c, d = turn
        matrix = np.array([[a, -b, -c, -d], [b, a, -d, c], [c, d, a, -b], [d, -c, b, a]])
        quaternion = matrix @ quaternion
    length = np.linalg.norm(quaternion[1:])
    return quaternion[1:] * (2 * np.arctan2(length, quaternion[0]) / length if length else 2.0)


def encoded(shade: int, kind: str = "JPEG") -> bytes:
    """A small image of one shade."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, kind)
    return file.getvalue()


def shade_of(index: int) -> int:
    """The brightness of image `index`."""
    return 40 + 20 * index


NOT_NUMBERS: tuple[Callable[[np.ndarray], Any], ...] = (
    lambda row: None,
    lambda row: "1.0",
    lambda row: b"\x00" * 28,
    lambda row: {"x": 1.0},
    lambda row: [str(number) for number in row],
    lambda row: [None, *row[1:]],
    lambda row: row[:-1],
    lambda row: np.append(row, 0.0),
    lambda row: row[None],
    lambda row: row[0],
    lambda row: [],
    lambda row: np.append(row[:-1], np.nan),
    lambda row: np.append(np.inf, row[1:]),
    lambda row: np.append(1e300, row[1:]),
    lambda row: [10**400, *row[1:]],
    lambda row: row > 0,
    lambda row: row.astype(complex),
    lambda row: row.astype(str),
    lambda row: np.full(7, "2022-05-01", "datetime64[D]"),
)
"""What may stand in the place of seven numbers and must be refused. Each takes the row, (7,)."""

NUMBERS: tuple[Callable[[np.ndarray], Any], ...] = (
    lambda row: row.astype(np.float32),
    lambda row: row.astype(">f8"),
    lambda row: row.tolist(),
    lambda row: tuple(row.tolist()),
    lambda row: [np.float32(number) for number in row],
    lambda row: row.astype(np.longdouble),
)
"""Other types for the same seven numbers."""

JUNK: tuple[Any, ...] = (
    None,
    "text",
    b"\xff\x00",
    float("nan"),
    [],
    {},
    {"a": {"b": [1, "x", None]}},
    np.array(["teleop"]),
    np.array([None, "x"], dtype=object),
    np.zeros((0, 3)),
    2**70,
    {1, 2},
)
"""What may stand where nobody looks."""


def outcome(source: Iterable[Trajectory | Skipped]) -> list[Trajectory | str]:
    """Each episode, or the reason why it is not used. Every image is decoded, as `relabel` does it."""
    found: list[Trajectory | str] = []
    for one in source:
        if isinstance(one, Skipped):
            found.append(one.reason)
            continue
        try:
            check_images(one)
            found.append(one)
        except DataError as error:
            found.append(str(error))
    return found


def assert_right(found: Trajectory | str, expected: Meaning) -> None:
    """`found` is what it must be read as."""
    assert isinstance(found, Trajectory), found
    assert found.states.shape == expected.states.shape
    assert np.allclose(found.states, expected.states, atol=2e-6)
    assert np.allclose(found.actions, expected.actions, atol=2e-6)
    assert found.instruction == expected.instruction
    shades = [float(found.images[index].mean()) for index in range(len(found))]
    assert np.allclose(shades, expected.shades, atol=3)


RAW = re.compile(
    r"object has no attribute|could not convert|setting an array|index .* out of|not supported between|unhashable|"
    r"must be real number|cannot reshape|invalid literal|inhomogeneous|unsupported operand|Traceback|not subscriptable|"
    r"required positional|object is not|ufunc|broadcast|cannot convert float|"
    r"object at 0x|Opaque\("
)
"""What Python and NumPy say of a program's mistake; no answer for somebody who wants to use a data set."""


def assert_sentence(reason: Trajectory | str) -> None:
    """`reason` is one, about the data."""
    assert isinstance(reason, str), "It was read, but must be refused."
    assert re.match(r"^[A-Z\d]|^\w[\w./-]* ", reason), reason
    assert len(reason.split()) >= 3, reason
    assert reason.rstrip().endswith((".", ")")), reason
    assert not RAW.search(reason), reason
