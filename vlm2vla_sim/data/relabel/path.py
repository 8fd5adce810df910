"""The gripper's path, and its division into rows of an action.

At 5 Hz a motion is about forty steps of a centimetre with noise. Written like that, every number is close to zero and a
model learns to answer zero (the paper's appendix 6.2 reports this). Small steps are therefore merged into larger moves.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.frames import euler_sxyz_to_matrix, matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.data.relabel.noise import noise_of, smooth
from vlm2vla_sim.data.relabel.polyline import corners, distance_to_chord
from vlm2vla_sim.data.relabel.settled import trusted_targets
from vlm2vla_sim.errors import SettingError

LARGEST_TURN = np.radians(120)
"""[rad] largest rotation of one row; beyond half a turn its direction would be ambiguous."""
SLACK = 1e-6
"""[m, rad] tolerance of the thresholds, because states are float32."""
SHAKES = 0.001
"""[m] noise from which on positions are smoothed."""
TREMBLES = np.radians(1)
"""[rad] noise from which on rotations are smoothed."""


@dataclass(frozen=True)
class RowThresholds:
    """When enough small moves have accumulated for a row."""

    axis_cm: float = 2.5
    """Along one axis, without a change of sign. The paper's threshold (arXiv 2509.22195, appendix 6.2)."""
    total_cm: float = 5.0
    """In a straight line, whatever the axes did. Same source."""
    turn_degrees: float = 15.0
    """About any axis. Chosen by us: the paper has no rotation."""
    straight_cm: float = 0.5
    """A row stays within this distance of the path: rows are merged as long as they do, and divided at the corners
    where they do not. Half the resolution of the text, which says no finer. 0 leaves the rows of the thresholds above,
    the paper's. Chosen by us: the text gets shorter, the arm needs fewer steps, and no corner is cut."""

    def __post_init__(self) -> None:
        for name in ("axis_cm", "total_cm", "turn_degrees"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise SettingError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if not (math.isfinite(self.straight_cm) and self.straight_cm >= 0):
            raise SettingError(f"straight_cm is {self.straight_cm}; expected 0 or more.")


@dataclass(frozen=True, eq=False)
class GripperPath:
    """The pose of the gripper before every step and after the last one; base frame."""

    positions: np.ndarray
    """(T + 1, 3) float64 [m]."""
    rotations: np.ndarray
    """(T + 1, 3, 3) float64; relative rotations are about base axes."""

    turned: np.ndarray
    """(T + 1, 3) float64 [rad] the rotation vector from the first frame to each; base axes."""
    aims: np.ndarray
    """(T + 1, 3) float64 [m] what the text leads to: the positions, or the target where the arm rests (`settled`)."""
    targets: np.ndarray | None = None
    """(T, 3) float64 [m] the controller's target in each frame; None where the commands do not explain the motion."""
    noise: float = 0.0
    """[m] standard deviation of the noise that was measured, and smoothed."""
    tremble: float = 0.0
    """[rad] the same of rotations."""

    def turn(self, start: int, stop: int) -> np.ndarray:
        """(3,) rotation vector [rad] from frame `start` to frame `stop`."""
        return matrix_to_rotvec(self.rotations[stop] @ self.rotations[start].T)


def reached_path(trajectory: Trajectory) -> GripperPath:
    """The measured path. The effect of the last action was not measured and counts as no motion."""
    states = trajectory.states.astype(np.float64)
    positions = np.concatenate([states[:, :3], states[-1:, :3]])
    rotations = np.array([euler_sxyz_to_matrix(state[3:6]) for state in states])
    rotations = np.concatenate([rotations, rotations[-1:]])
    turned = _turned(rotations)
    noise, tremble = (size if size >= least else 0.0 for size, least in _noises(positions, turned))
    if noise:
        positions = smooth(positions, noise)
    # Half a turn from the start, a rotation vector changes its sign, and a line through both means nothing.
    if tremble and np.linalg.norm(np.diff(turned, axis=0), axis=1).max() < np.pi / 2:
        turned = smooth(turned, tremble)
        rotations = np.array([rotvec_to_matrix(vector) @ rotations[0] for vector in turned])
    targets, resting = trusted_targets(trajectory, positions, noise=noise)
    aims = positions.copy()
    aims[:-1][resting] = targets[resting]
    return GripperPath(positions, rotations, turned, aims, targets if resting.any() else None, noise, tremble)


def _noises(positions: np.ndarray, turned: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """(standard deviation, the least that is smoothed) of positions [m] and of rotations [rad]."""
    return (noise_of(positions[:-1]), SHAKES), (noise_of(turned[:-1]), TREMBLES)


def _turned(rotations: np.ndarray) -> np.ndarray:
    """(n, 3) [rad] the rotation vectors from the first of `rotations`, (n, 3, 3), to each."""
    return np.array([matrix_to_rotvec(rotation @ rotations[0].T) for rotation in rotations])


def commanded_path(trajectory: Trajectory) -> GripperPath:
    """The sum of the commanded steps, starting at the measured pose of the first frame."""
    states, actions = trajectory.states.astype(np.float64), trajectory.actions.astype(np.float64)
    positions = states[0, :3] + np.concatenate([np.zeros((1, 3)), np.cumsum(actions[:, :3], axis=0)])
    rotations = [euler_sxyz_to_matrix(states[0, 3:6])]
    for action in actions:
        rotations.append(rotvec_to_matrix(action[3:6]) @ rotations[-1])
    return GripperPath(positions, np.array(rotations), _turned(np.array(rotations)), positions)


PATHS = {"reached": reached_path, "commanded": commanded_path}
"""Name of a kind of motion -> the function that computes its path."""


def row_boundaries(path: GripperPath, start: int, stop: int, thresholds: RowThresholds) -> list[int]:
    """The frames, from `start` to `stop` inclusive, between which each part of the path becomes one row."""
    frames = [start]
    extremes = np.zeros((2, 3))
    for frame in range(start + 1, stop + 1):
        move = path.positions[frame] - path.positions[frames[-1]]
        extremes = np.array([np.minimum(extremes[0], move), np.maximum(extremes[1], move)])
        if _is_enough(move, extremes, path.turn(frames[-1], frame), thresholds):
            frames.append(frame)
            extremes = np.zeros((2, 3))
    if frames[-1] != stop:
        # The rest is too small for a row of its own, and must not be dropped.
        if len(frames) > 1:
            frames[-1] = stop
        else:
            frames.append(stop)
    if thresholds.straight_cm == 0:
        return frames
    tolerance = max(thresholds.straight_cm / 100, 2 * path.noise) + SLACK
    divided = {start, stop}
    for first, last in itertools.pairwise(frames):
        divided.update(first + corner for corner in corners(path.positions[first : last + 1], tolerance))
    return _merge_straight(path, sorted(divided), tolerance)


def _is_enough(move: np.ndarray, extremes: np.ndarray, turn: np.ndarray, thresholds: RowThresholds) -> bool:
    """extremes: (2, 3) [m], the minimum and maximum of each component of `move` since the last boundary."""
    one_way = (extremes[0] > -0.002) | (extremes[1] < 0.002)
    along_axis = np.abs(move[one_way]).max(initial=0.0)
    return bool(
        along_axis >= thresholds.axis_cm / 100 - SLACK
        or np.linalg.norm(move) >= thresholds.total_cm / 100 - SLACK
        or np.linalg.norm(turn) >= np.radians(thresholds.turn_degrees) - SLACK
    )


def _merge_straight(path: GripperPath, frames: list[int], tolerance: float) -> list[int]:
    """`frames` without those between which the path is straight."""
    kept = [frames[0]]
    for index in range(1, len(frames) - 1):
        first, last = kept[-1], frames[index + 1]
        straight = distance_to_chord(path.positions[first : last + 1]).max() <= tolerance
        if not straight or np.linalg.norm(path.turn(first, last)) > LARGEST_TURN:
            kept.append(frames[index])
    return [*kept, frames[-1]]
