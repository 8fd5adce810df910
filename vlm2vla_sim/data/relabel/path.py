"""The way a gripper went, as rows worth saying: where a recorded path is cut, and what each piece comes to.

Recorded at 5 Hz, a motion is forty steps of a centimetre and their noise. Said like that, every number is near zero and
a model learns to say zero (the paper's appendix 6.2 found just this). Here small steps are put together until they are
a motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.frames import euler_sxyz_to_matrix, matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import SettingError

LARGEST_TURN = np.radians(120)
"""[rad] in one row; beyond half a turn nobody could tell which way it went."""
SLACK = 1e-6
"""[m, rad] by which a threshold may be missed: states are float32."""


@dataclass(frozen=True)
class Cuts:
    """When small moves are enough to make a row."""

    axis_cm: float = 2.5
    """Along one axis, without a change of sign. The paper's threshold (arXiv 2509.22195, appendix 6.2)."""
    total_cm: float = 5.0
    """In a straight line, whatever the axes did. The same source."""
    turn_degrees: float = 15.0
    """About any axis. Ours: the paper has no rotation."""
    straight_cm: float = 1.0
    """Rows that continue one another are put together while the path stays within this of a straight line; 0: never.
    Ours: the words get shorter, and the arm needs fewer steps."""

    def __post_init__(self) -> None:
        for name in ("axis_cm", "total_cm", "turn_degrees"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise SettingError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if not (math.isfinite(self.straight_cm) and self.straight_cm >= 0):
            raise SettingError(f"straight_cm is {self.straight_cm}; expected 0 or more.")


@dataclass(frozen=True, eq=False)
class Path:
    """Where the gripper was before every step, and after the last; base frame."""

    positions: np.ndarray
    """(T + 1, 3) float64 [m]."""
    rotations: np.ndarray
    """(T + 1, 3, 3) float64; turned from one to another about base axes."""

    def turn(self, start: int, stop: int) -> np.ndarray:
        """(3,) rotation vector [rad] from frame `start` to frame `stop`."""
        return matrix_to_rotvec(self.rotations[stop] @ self.rotations[start].T)


def reached_path(trajectory: Trajectory) -> Path:
    """Where the gripper was measured. What the last action did was not measured; it counts as nothing."""
    states = trajectory.states.astype(np.float64)
    positions = np.concatenate([states[:, :3], states[-1:, :3]])
    rotations = np.array([euler_sxyz_to_matrix(state[3:6]) for state in states])
    return Path(positions, np.concatenate([rotations, rotations[-1:]]))


def commanded_path(trajectory: Trajectory) -> Path:
    """Where the steps that were sent add up to, beginning where the gripper was measured."""
    states, actions = trajectory.states.astype(np.float64), trajectory.actions.astype(np.float64)
    positions = states[0, :3] + np.concatenate([np.zeros((1, 3)), np.cumsum(actions[:, :3], axis=0)])
    rotations = [euler_sxyz_to_matrix(states[0, 3:6])]
    for action in actions:
        rotations.append(rotvec_to_matrix(action[3:6]) @ rotations[-1])
    return Path(positions, np.array(rotations))


PATHS = {"reached": reached_path, "commanded": commanded_path}
"""Which motion is put into words -> how it is found."""


def cut(path: Path, start: int, stop: int, cuts: Cuts) -> list[int]:
    """The frames from `start` to `stop`, both included, between which each stretch is a row."""
    frames = [start]
    extremes = np.zeros((2, 3))
    for frame in range(start + 1, stop + 1):
        move = path.positions[frame] - path.positions[frames[-1]]
        extremes = np.array([np.minimum(extremes[0], move), np.maximum(extremes[1], move)])
        if _is_enough(move, extremes, path.turn(frames[-1], frame), cuts):
            frames.append(frame)
            extremes = np.zeros((2, 3))
    if frames[-1] != stop:
        # What is left is too small to be said by itself, and must not get lost.
        if len(frames) > 1:
            frames[-1] = stop
        else:
            frames.append(stop)
    return _join(path, frames, cuts)


def _is_enough(move: np.ndarray, extremes: np.ndarray, turn: np.ndarray, cuts: Cuts) -> bool:
    """extremes: (2, 3) [m], the smallest and the largest that each component of `move` has been since the last cut."""
    steady = (extremes[0] > -0.002) | (extremes[1] < 0.002)
    along = np.abs(move[steady]).max(initial=0.0)
    return bool(
        along >= cuts.axis_cm / 100 - SLACK
        or np.linalg.norm(move) >= cuts.total_cm / 100 - SLACK
        or np.linalg.norm(turn) >= np.radians(cuts.turn_degrees) - SLACK
    )


def _join(path: Path, frames: list[int], cuts: Cuts) -> list[int]:
    """`frames` without those between which the path is straight."""
    kept = [frames[0]]
    for index in range(1, len(frames) - 1):
        if not _is_straight(path, kept[-1], frames[index + 1], cuts.straight_cm / 100):
            kept.append(frames[index])
    return [*kept, frames[-1]]


def _is_straight(path: Path, start: int, stop: int, tolerance: float) -> bool:
    chord = path.positions[stop] - path.positions[start]
    length = float(np.linalg.norm(chord))
    if tolerance == 0 or np.linalg.norm(path.turn(start, stop)) > LARGEST_TURN:
        return False
    offsets = path.positions[start : stop + 1] - path.positions[start]
    # Along the chord a path must not come back, either: a detour on one line is no straight line.
    along = np.clip(offsets @ chord / max(length**2, 1e-12), 0, 1)
    return bool(np.linalg.norm(offsets - along[:, None] * chord, axis=1).max() <= tolerance)
