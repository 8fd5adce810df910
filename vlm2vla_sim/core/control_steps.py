"""Splits rows of motion into 5 Hz control steps.

A row of 20 cm becomes eight steps instead of one jump. The executor splits rows with it, and formats whose rows are
control steps split a longer motion with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.errors import ActionError

CONTROL_HZ = 5
"""Control steps per second. simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:167-168"""
MAX_STEP = 0.05
"""[m] longest translation of one control step. rail-berkeley/bridge_data_robot@a902e5b clips +-0.05 m per axis."""
MAX_TURN = 0.25
"""[rad] largest rotation of one control step; same source."""
SLACK = 1e-6
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


def split(
    rows: np.ndarray, *, gripper: float, limits: StepLimits | None = None, least: int = 0
) -> Iterator[np.ndarray]:
    """Split rows into control steps, each (7,) float32 as `types.ACTION_SIZE`.

    Each row becomes as few equal steps as the limits allow, and their sum is the row. In a row that changes the gripper
    the motion comes first; then the gripper is commanded and the arm waits for `limits.gripper_steps` steps. A row
    without motion that does not change the gripper is one step.

    Args:
        rows: (T, 7) float32 as `ActionChunk.deltas`.
        gripper: the last gripper command, 0 (closed) .. 1 (open).
        limits: `StepLimits()` by default.
        least: the fewest steps of a row, over which its motion is spread; the steps in which the gripper acts count.
    """
    limits = limits or StepLimits()
    for row in rows:
        moving, turning = float(np.linalg.norm(row[:3])), float(np.linalg.norm(row[3:6]))
        count = max(moving / limits.step, turning / limits.turn) * (1 - SLACK)
        changes = bool(abs(float(row[6]) - gripper) > 1e-6)
        steps = int(np.ceil(count))
        if steps:
            steps = max(steps, least - (limits.gripper_steps if changes else 0))
        for _ in range(steps):
            yield np.concatenate([row[:6] / steps, [gripper]]).astype(np.float32)
        gripper = float(row[6])
        waiting = max(limits.gripper_steps if changes else int(steps == 0), least - steps)
        for _ in range(waiting):
            yield np.concatenate([np.zeros(6), [gripper]]).astype(np.float32)
