"""How motion plans are worded: sentences with directions and without numbers, the same from whoever makes them.

The scripted policy says them before it moves, the relabeller after somebody else has moved. A model that learned from
the one and is judged beside the other must not find two dialects. Directions are those of the robot's base.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.language.words import WORDS

SMALLEST = 0.01
"""[m] a part of a motion below this is not named."""
MINOR = 0.3
"""A direction is named when it is at least this share of the largest one."""
SMALLEST_TURN = np.radians(10)
"""[rad]"""


def horizontal(move: np.ndarray) -> str:
    """The directions of a move seen from above, the larger first. move: (>= 2,) dx, dy [m].

    >>> horizontal(np.array([0.03, 0.08]))
    'left and forward'
    """
    return _named(move[:2], smallest=SMALLEST) or "a little"


def directions(move: np.ndarray) -> str:
    """All directions that matter in a move, the larger first. move: (>= 3,) dx, dy, dz [m].

    >>> directions(np.array([0.1, 0.01, -0.2, 0]))
    'down and forward'
    """
    largest = float(np.abs(move[:3]).max())
    return _named(move[:3], smallest=max(SMALLEST, MINOR * largest)) or "a little"


def turns(rotvec: np.ndarray) -> str:
    """How the gripper turns, or nothing when it hardly does. rotvec: (3,) [rad], base axes.

    >>> turns(np.array([0, 0, -0.5]))
    'rotate clockwise'
    """
    column = int(np.argmax(np.abs(rotvec)))
    if abs(rotvec[column]) < SMALLEST_TURN:
        return ""
    words = WORDS[3 + column]
    return f"{words.verb} {words.plus if rotvec[column] > 0 else words.minus}"


def approach(where: str, thing: str) -> str:
    """Go above the object with the gripper open. where: from `horizontal`; thing: "the carrot"."""
    return f"move {where} above {thing}, with the gripper open"


def descend(thing: str) -> str:
    """Go down and grasp."""
    return f"move down to {thing}, then close the gripper"


def lift(thing: str) -> str:
    """Go up with the object."""
    return f"lift {thing}"


def carry(thing: str, where: str, goal: str) -> str:
    """Bring the object over its goal; goal: "the plate"."""
    return f"carry {thing} {where} over {goal}"


def lower(thing: str, goal: str) -> str:
    """Go down with the object and let it go."""
    return f"lower {thing} to {goal}, then open the gripper"


def leave() -> str:
    """Go up without the object."""
    return "move up, away from the object"


def _named(move: np.ndarray, *, smallest: float) -> str:
    parts = [
        (abs(float(value)), words.plus if value > 0 else words.minus)
        for value, words in zip(move, WORDS[:3], strict=False)
        if abs(value) >= smallest - 1e-9
    ]
    parts.sort(reverse=True)
    return " and ".join(word for _, word in parts)
