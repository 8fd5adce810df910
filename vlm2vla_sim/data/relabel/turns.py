"""Which turns of the gripper are said: those that last, not the tilts of an arm that are taken back.

The arm of a demonstration tilts by a few degrees while it moves, and a tilt of 5 degrees that is said in one phase and
taken back in the next teaches trembling. What is said so far is kept as long as the gripper stays near it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm2vla_sim.core.frames import rotvec_to_matrix
from vlm2vla_sim.data.relabel.path import GripperPath

TILT = np.radians(6)
"""[rad] tilts up to this are not said, however fine the text is."""


def said_rotations(path: GripperPath, frames: Sequence[int], step: float) -> dict[int, np.ndarray]:
    """Frame -> (3, 3) rotation that the text leads to there, for each of `frames`, which are in order.

    step: [rad] resolution of the text. A tilt is said once the gripper is more than one and a half steps, and more than
    6 degrees, away from what has been said; a turn about the vertical, with which fingers fit an object, from one step.
    """
    if not frames:
        return {}
    slack = np.array([max(1.5 * step, TILT)] * 2 + [step]) + 1e-6
    slack = np.maximum(slack, [3 * path.tremble, 3 * path.tremble, 2 * path.tremble])
    turned = path.turned[list(frames)]
    said = np.stack([_levels(turned[:, axis], float(slack[axis]), tilt=axis < 2) for axis in range(3)], axis=1)
    return {frame: rotvec_to_matrix(vector) @ path.rotations[0] for frame, vector in zip(frames, said, strict=True)}


def _levels(values: np.ndarray, slack: float, *, tilt: bool) -> np.ndarray:
    """`values`, (n,), replaced by as few different ones as stay within `slack`; the first is 0 if that is near."""
    levels = np.empty_like(values)
    level = 0.0
    for index, value in enumerate(values):
        if abs(value - level) > slack and not (tilt and _is_taken_back(values[index:] - level, slack)):
            level = _new_level(values[index:], slack)
        levels[index] = level
    return levels


def _is_taken_back(away: np.ndarray, slack: float) -> bool:
    """Whether `away`, (n,), which begins above `slack`, stays small and comes back below it."""
    back = np.flatnonzero(np.abs(away) <= slack)
    return bool(len(back) and np.abs(away[: back[0]]).max() <= slack + TILT)


def _new_level(values: np.ndarray, slack: float) -> float:
    """The middle of as many of `values` as are within `slack` of one level: at first the gripper still turns."""
    low, high, count = values[0] - slack, values[0] + slack, 1
    for value in values[1:]:
        if value - slack > high or value + slack < low:
            break
        low, high, count = max(low, value - slack), min(high, value + slack), count + 1
    return float(np.clip(np.median(values[:count]), low, high))
