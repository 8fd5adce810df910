"""Splits rows of motion into 5 Hz control steps, and limits every step to the arm's speed and workspace.

A row of 20 cm becomes eight steps instead of one jump. The controller's target is kept in the workspace, because a
policy that pushes out of reach would otherwise move it away from the arm (measured in SIMPLER: 40 steps of +5 cm leave
the target 1.9 m ahead of the arm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.errors import ActionError
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import ACTION_SIZE

MAX_STEP = 0.05
"""[m] longest translation of one control step. rail-berkeley/bridge_data_robot@a902e5b clips +-0.05 m per axis."""
MAX_TURN = 0.25
"""[rad] largest rotation of one control step; same source."""
_SLACK = 1e-6
"""Relative tolerance, so that rounding does not split a row of exactly two steps into three."""


@dataclass(frozen=True)
class StepLimits:
    """How a row is split: the largest translation and rotation of a step, and the time the gripper gets to move."""

    step: float = 0.025
    """[m] largest translation of a step, up to MAX_STEP."""
    turn: float = 0.25
    """[rad] largest rotation of a step, up to MAX_TURN."""
    gripper_steps: int = 3
    """Control steps for which the arm holds still while the gripper opens or closes, 1 or more. At 5 Hz the gripper of
    SIMPLER takes 3 to 5 steps to close, that of the twin 3."""

    def __post_init__(self) -> None:
        if not 0 < self.step <= MAX_STEP:
            raise ActionError(f"StepLimits.step is {self.step} m; expected more than 0 and at most {MAX_STEP} m.")
        if not 0 < self.turn <= MAX_TURN:
            raise ActionError(f"StepLimits.turn is {self.turn} rad; expected more than 0 and at most {MAX_TURN} rad.")
        if self.gripper_steps < 1:
            raise ActionError(f"StepLimits.gripper_steps is {self.gripper_steps}; expected 1 or more.")


def split(rows: np.ndarray, *, gripper: float, limits: StepLimits | None = None) -> Iterator[np.ndarray]:
    """Split rows into control steps, each (7,) float32 as `types.ACTION_SIZE`.

    Each row becomes as few equal steps as the limits allow, and their sum is the row. In a row that changes the gripper
    the motion comes first; then the gripper is commanded and the arm waits for `limits.gripper_steps` steps. A row
    without motion that does not change the gripper is one step.

    Args:
        rows: (T, 7) float32 as `ActionChunk.deltas`.
        gripper: the last gripper command, 0 (closed) .. 1 (open).
        limits: `StepLimits()` by default.
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
    """Limit an action to what the arm may carry out.

    Translation and rotation are scaled down to `MAX_STEP` and `MAX_TURN`, which keeps their direction. The translation
    is then clipped so that target + translation stays in the workspace, and the gripper is clipped to 0 .. 1.

    Args:
        action: (7,) as `types.ACTION_SIZE`.
        target: (3,) [m] position of the controller's target, base frame.
        workspace: the box for target + translation.

    Returns:
        (7,) float64, the limited action, and whether it differs from `action`.

    Raises:
        ActionError: another shape, or a number that is not finite.
    """
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (ACTION_SIZE,):
        raise ActionError(
            f"The action has shape {action.shape}; expected ({ACTION_SIZE},): dx, dy, dz [m], rotation vector [rad], "
            "gripper [0 closed .. 1 open]."
        )
    if not np.isfinite(action).all():
        raise ActionError(f"The action has a number that is not finite: {action.tolist()}.")
    safe = action.copy()
    safe[:3] *= _shrink(action[:3], MAX_STEP)
    safe[3:6] *= _shrink(action[3:6], MAX_TURN)
    low, high = np.array(workspace.low), np.array(workspace.high)
    # The arm may start outside the workspace: the target may then stay or come back, but not move further out.
    safe[:3] = np.clip(target + safe[:3], np.minimum(low, target), np.maximum(high, target)) - target
    safe[6] = np.clip(action[6], 0.0, 1.0)
    return safe, bool(np.abs(safe - action).max() > 1e-5)


def _shrink(vector: np.ndarray, longest: float) -> float:
    length = float(np.linalg.norm(vector))
    return 1.0 if length <= longest * (1 + _SLACK) else longest / length
