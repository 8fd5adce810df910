"""From the rows a sentence means to the 5 Hz steps an arm can follow, inside a box it may not leave.

Without it a row of 20 cm would be one jump, and a policy that pushes out of reach would wind the controller's target up
by metres (measured in SIMPLER: 40 steps of +5 cm leave the target 1.9 m ahead of the arm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.errors import ActionError
from vlm2vla_sim.types import ACTION_SIZE

MAX_STEP = 0.05
"""[m] the longest translation of one control step. rail-berkeley/bridge_data_robot@a902e5b clips +-0.05 m per axis."""
MAX_TURN = 0.25
"""[rad] the largest rotation of one control step; same source."""
_SLACK = 1e-6
"""Relative slack, so that a row of exactly two steps is not split into three by a rounding error."""


@dataclass(frozen=True)
class StepLimits:
    """How a row is split: the longest step and turn, and how long the gripper is given to open or close."""

    step: float = 0.025
    """[m]"""
    turn: float = 0.25
    """[rad]"""
    gripper_steps: int = 3
    """Control steps the arm waits, without moving, after the gripper is told to change. At 5 Hz SIMPLER's gripper takes
    3 to 5 steps to close, our twin's 3."""

    def __post_init__(self) -> None:
        if not 0 < self.step <= MAX_STEP:
            raise ActionError(f"A step of {self.step} m was asked for; expected more than 0 and at most {MAX_STEP} m.")
        if not 0 < self.turn <= MAX_TURN:
            raise ActionError(
                f"A turn of {self.turn} rad was asked for; expected more than 0 and at most {MAX_TURN} rad."
            )
        if self.gripper_steps < 1:
            raise ActionError(f"gripper_steps is {self.gripper_steps}; expected 1 or more: it is told in a step.")


@dataclass(frozen=True)
class Workspace:
    """The box the gripper's target may not leave; base frame [m]."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


def split(rows: np.ndarray, *, gripper: float, limits: StepLimits | None = None) -> Iterator[np.ndarray]:
    """The control steps, each (7,) float32, that carry out `rows`.

    rows: (T, 7) float32 as in `ActionChunk.deltas`. Each row becomes as few equal steps as the limits allow; the sum of
    the steps is the row. A row in which the gripper changes first makes its motion, then acts, then waits.
    gripper: what it was last told, 0 closed .. 1 open.
    """
    limits = limits or StepLimits()
    for row in rows:
        moving, turning = float(np.linalg.norm(row[:3])), float(np.linalg.norm(row[3:6]))
        count = max(moving / limits.step, turning / limits.turn) * (1 - _SLACK)
        changes = bool(abs(float(row[6]) - gripper) > 1e-6)
        steps = int(np.ceil(count))
        for _ in range(steps):
            yield np.concatenate([row[:6] / steps, [gripper]]).astype(np.float32)
        gripper = float(row[6])
        waiting = limits.gripper_steps if changes else int(steps == 0)
        for _ in range(waiting):
            yield np.concatenate([np.zeros(6), [gripper]]).astype(np.float32)


def limit(action: np.ndarray, *, target: np.ndarray, workspace: Workspace) -> tuple[np.ndarray, bool]:
    """The action the arm will be given, and whether anything was clipped.

    action: (7,) as in `types.ACTION_SIZE`. target: (3,) [m] the controller's present target position. The step is
    shortened to `MAX_STEP` and `MAX_TURN` keeping its direction, then so that target + step stays in the workspace;
    the gripper is clipped to 0..1. ActionError for a wrong shape or a number that is not finite.
    """
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (ACTION_SIZE,):
        raise ActionError(
            f"The action has shape {action.shape}; expected ({ACTION_SIZE},): dx, dy, dz [m], rotation vector [rad], "
            "gripper [0 closed .. 1 open]."
        )
    if not np.isfinite(action).all():
        raise ActionError(f"The action holds a number that is not finite: {action.tolist()}.")
    safe = action.copy()
    safe[:3] *= _shrink(action[:3], MAX_STEP)
    safe[3:6] *= _shrink(action[3:6], MAX_TURN)
    low, high = np.array(workspace.low), np.array(workspace.high)
    # A target that is already outside (the arm may start there) may stay, or come back, but not go further out.
    safe[:3] = np.clip(target + safe[:3], np.minimum(low, target), np.maximum(high, target)) - target
    safe[6] = np.clip(action[6], 0.0, 1.0)
    return safe, bool(np.abs(safe - action).max() > 1e-5)


def _shrink(vector: np.ndarray, longest: float) -> float:
    length = float(np.linalg.norm(vector))
    return 1.0 if length <= longest * (1 + _SLACK) else longest / length
