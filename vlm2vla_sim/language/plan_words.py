"""The wording of motion plans: sentences with directions and without numbers.

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
    """
    largest = float(np.abs(move[:3]).max())
    return _named(move[:3], smallest=max(SMALLEST, MINOR * largest)) or "a little"


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


def _named(move: np.ndarray, *, smallest: float) -> str:
    parts = [
        (abs(float(value)), words.plus if value > 0 else words.minus)
        for value, words in zip(move, WORDS[:3], strict=False)
        if abs(value) >= smallest - 1e-9
    ]
    parts.sort(reverse=True)
    return " and ".join(word for _, word in parts)
