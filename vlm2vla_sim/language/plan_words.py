"""The wording of motion plans: sentences with directions and without numbers, but for motions below a centimetre.

The scripted policy and the rule-based labels use the same wording, so that a model trained on one can be compared with
the other. Directions are those of the robot's base.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.language.words import WORDS

SMALLEST = 0.01
"""[m] a smaller component of a motion is not named."""
MINOR = 0.3
"""A direction is named if its component is at least this fraction of the largest one."""
SMALLEST_TURN = np.radians(10)
"""[rad]"""


def horizontal(move: np.ndarray) -> str:
    """The directions of a motion seen from above, the larger first. move: (>= 2,) dx, dy [m].

    >>> horizontal(np.array([0.03, 0.08]))
    'left and forward'
    """
    return _named(move[:2], smallest=SMALLEST) or "a little"


def directions(move: np.ndarray) -> str:
    """The named directions of a motion, the larger first. move: (>= 3,) dx, dy, dz [m].

    >>> directions(np.array([0.1, 0.01, -0.2, 0]))
    'down and forward'
    >>> directions(np.array([0, 0.004, 0]))
    '4 mm left'
    """
    largest = float(np.abs(move[:3]).max())
    return _named(move[:3], smallest=max(SMALLEST, MINOR * largest)) or _millimetres(move[:3])


def to_and_fro(moves: np.ndarray) -> str:
    """The two directions of a motion to and fro. moves: (n, >= 2) dx, dy of each row [m].

    >>> to_and_fro(np.array([[0, 0.1, 0], [0, -0.1, 0]]))
    'to and fro, left and right'
    """
    axis = int(np.argmax(np.abs(moves[:, :2]).sum(axis=0)))
    first = next((value for value in moves[:, axis] if abs(value) >= SMALLEST), 1.0)
    words = (WORDS[axis].plus, WORDS[axis].minus)
    return "to and fro, " + " and ".join(words if first > 0 else words[::-1])


def turns(rotvec: np.ndarray) -> str:
    """The rotation of the gripper; empty below `SMALLEST_TURN`. rotvec: (3,) [rad], base axes.

    >>> turns(np.array([0, 0, -0.5]))
    'rotate clockwise'
    """
    column = int(np.argmax(np.abs(rotvec)))
    if abs(rotvec[column]) < SMALLEST_TURN:
        return ""
    words = WORDS[3 + column]
    return f"{words.verb} {words.plus if rotvec[column] > 0 else words.minus}"


def approach(where: str, name: str) -> str:
    """Move above the object with the gripper open. where: from `horizontal`; name: "the carrot"."""
    return f"move {where} above {name}, with the gripper open"


def descend(name: str) -> str:
    """Lower the gripper and grasp."""
    return f"move down to {name}, then close the gripper"


def lift(name: str) -> str:
    """Lift the object."""
    return f"lift {name}"


def carry(name: str, where: str, goal: str) -> str:
    """Carry the object over its goal. goal: "the plate"."""
    return f"carry {name} {where} over {goal}"


def lower(name: str, goal: str) -> str:
    """Lower the object and release it."""
    return f"lower {name} to {goal}, then open the gripper"


def leave() -> str:
    """Move up without the object."""
    return "move up, away from the object"


def _millimetres(move: np.ndarray) -> str:
    """A motion of less than `SMALLEST`, in whole millimetres; "a little" below one."""
    parts = [
        (abs(round(1000 * float(value))), words.plus if value > 0 else words.minus)
        for value, words in zip(move, WORDS[:3], strict=True)
        if abs(value) >= max(0.0005, MINOR * float(np.abs(move).max()))
    ]
    parts.sort(reverse=True)
    return " and ".join(f"{size} mm {word}" for size, word in parts) or "a little"


def _named(move: np.ndarray, *, smallest: float) -> str:
    parts = [
        (abs(float(value)), words.plus if value > 0 else words.minus)
        for value, words in zip(move, WORDS[:3], strict=False)
        if abs(value) >= smallest - 1e-9
    ]
    parts.sort(reverse=True)
    return " and ".join(word for _, word in parts)
