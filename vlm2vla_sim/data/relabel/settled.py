"""Where the arm was told to be, at the frames at which it stands still.

An arm that presses on a table, or carries something, comes to rest some millimetres away from its target. The text
moves the target: what is said of such a frame is the target, or else the arm that carries the text out rounds that
distance to a whole centimetre. Only where the recorded commands explain the motion are they relied on.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core.frames import rotvec_to_matrix
from vlm2vla_sim.data.episode import Trajectory

STILL = 0.001
"""[m] a measured step below this counts as no motion, beside the noise."""
OFF = 0.012
"""[m] farthest that an arm at rest is from its target. Farther away, the commands are not in our convention."""
FAR = 0.03
"""[m] a motion of at least this has to be explained before commands are relied on."""


def targets(trajectory: Trajectory) -> np.ndarray:
    """(T, 3) [m] the controller's target before each action, by the rule of `frames.advance_target`; base frame.

    It begins at the measured position.
    """
    states, actions = trajectory.states.astype(np.float64), trajectory.actions.astype(np.float64)
    found = np.empty((len(states), 3))
    target = states[0, :3]
    for index, (state, action) in enumerate(zip(states, actions, strict=True)):
        found[index] = target
        if np.any(action[3:6]):
            target = state[:3] + rotvec_to_matrix(action[3:6]) @ (target - state[:3])
        target = target + action[:3]
    return found


def trusted_targets(trajectory: Trajectory, positions: np.ndarray, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) [m] the targets, and (T,) bool: the frames at which the arm rests at them.

    positions: (T + 1, 3) [m] the measured path. noise: [m] of it. Where the commands do not explain the motion, the arm
    rests at no frame.
    """
    count = len(trajectory)
    told = np.linalg.norm(trajectory.actions[:, :3], axis=1) + np.linalg.norm(trajectory.actions[:, 3:6], axis=1) > 1e-3
    resting = np.zeros(count, bool)
    resting[2:] = ~told[:-2] & ~told[1:-1]
    resting[1:] &= np.linalg.norm(np.diff(positions[:count], axis=0), axis=1) <= STILL + noise
    target = targets(trajectory)
    off = np.linalg.norm(positions[:count] - target, axis=1)[resting]
    far = min(np.linalg.norm(way - way[0], axis=1).max() for way in (positions[:count], target))
    if not len(off) or off.max() > OFF + 3 * noise or far < FAR:
        resting[:] = False
    return target, resting
