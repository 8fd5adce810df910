"""Bound an action so that the controller's target stays in the workspace, rotation about the gripper included."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs import motion
from vlm2vla_sim.robots.base import Workspace
from vlm2vla_sim.types import Pose


def bound_step(delta: np.ndarray, *, target: Pose, measured: Pose, workspace: Workspace) -> tuple[np.ndarray, Pose]:
    """The server's action for `delta`, shortened where it would carry the target out of the workspace.

    Args:
        delta: (7,) as `types.ACTION_SIZE`.
        target: the controller's target before the step, base frame.
        measured: the gripper's measured pose, about which the controller rotates the target.
        workspace: the box for the target; a target outside may stay or come back, but not move further out.

    Returns:
        (7,) float64 the server's action, and the target after it.

    Raises:
        ActionError: another shape, or a number that is not finite.
    """
    delta, _ = motion.limit(delta, target=target.position, workspace=workspace)
    low = np.minimum(workspace.low, target.position)
    high = np.maximum(workspace.high, target.position)
    after = frames.advance_target(target, measured, delta)
    delta[:3] += np.clip(after.position, low, high) - after.position
    if np.abs(delta[:3]).max() > motion.MAX_STEP:
        # A target far ahead of the arm moves far when rotated about it; without the rotation it stays inside.
        delta, _ = motion.limit(delta * [0, 0, 0, 0, 0, 0, 1], target=target.position, workspace=workspace)
    action = frames.action_to_bridge(delta)
    # The Euler angles of a rotation within the limit may exceed it by a rounding error.
    action[3:6] = np.clip(action[3:6], -motion.MAX_TURN, motion.MAX_TURN)
    after = frames.advance_target(target, measured, frames.action_from_bridge(action))
    inside = np.clip(after.position, low, high)  # the effect of that rounding error
    action[:3] = np.clip(action[:3] + inside - after.position, -motion.MAX_STEP, motion.MAX_STEP)
    return action, Pose(inside, after.quaternion)
