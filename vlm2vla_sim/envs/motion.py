"""Limits every control step to the arm's speed and workspace.

The controller's target is kept in the workspace, because a policy that pushes out of reach would otherwise move it away
from the arm (measured in SIMPLER: 40 steps of +5 cm leave the target 1.9 m ahead of the arm). How rows are split into
steps is in `core.control_steps`, and can be imported from here as well.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core.control_steps import (  # noqa: F401 - also imported from here
    MAX_STEP,
    MAX_TURN,
    SLACK,
    StepLimits,
    split,
)
from vlm2vla_sim.errors import ActionError
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import ACTION_SIZE


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
    return 1.0 if length <= longest * (1 + SLACK) else longest / length
