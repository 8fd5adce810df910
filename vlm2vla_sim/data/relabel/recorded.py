"""What the rules know of a recorded episode besides its path, and the thresholds between the kinds of motion."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.relabel.gripper import GripperInterval
from vlm2vla_sim.data.relabel.path import GripperPath
from vlm2vla_sim.errors import SettingError

DOWN = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class MotionRules:
    """Thresholds of the kinds of motion."""

    pause_s: float = 1.0
    """[s] standing still for this long is a pause, a phase of its own."""
    leave_out_pauses: bool = False
    """Whether a pause becomes no phase: its frames then belong to the phase after it."""
    lifted_cm: float = 2.0
    """[cm] a held thing that stays below this height above where it was grasped is pushed or pulled, not carried."""
    contact_cm: float = 3.0
    """[cm] shortest way of a push with an empty gripper."""
    turned_degrees: float = 25.0
    """Smallest turn in place of a held thing that is a phase of its own."""
    tilted_degrees: float = 35.0
    """Smallest tilt of a held thing that pours."""

    def __post_init__(self) -> None:
        for name in ("pause_s", "lifted_cm", "contact_cm", "turned_degrees", "tilted_degrees"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise SettingError(f"{name} is {getattr(self, name)}; expected a number above 0.")


@dataclass(frozen=True, eq=False)
class RecordedMotion:
    """An episode as the rules see it."""

    path: GripperPath
    intervals: list[GripperInterval]
    opening: np.ndarray
    """(T,) measured opening of the gripper [0..1]."""
    fps: float
    """[Hz]"""
    hints: tuple[str, ...]
    """The kinds that the instruction's verbs name; see `kinds.kinds_in`."""
    rules: MotionRules

    @property
    def positions(self) -> np.ndarray:
        """(T + 1, 3) [m], base frame."""
        return self.path.positions

    @functools.cached_property
    def pointing(self) -> np.ndarray:
        """(T + 1, 3) unit vectors: where the gripper points."""
        return self.path.rotations @ DOWN

    @functools.cached_property
    def yaw(self) -> np.ndarray:
        """(T + 1,) [rad] the gripper's direction seen from above, without jumps."""
        return np.unwrap(np.arctan2(self.path.rotations[:, 1, 0], self.path.rotations[:, 0, 0]))

    def tilt(self, start: int, stop: int) -> np.ndarray:
        """(stop - start + 1,) [rad] how far the gripper is tilted from how it pointed at frame `start`."""
        return np.arccos(np.clip(self.pointing[start : stop + 1] @ self.pointing[start], -1, 1))

    def is_lifted(self, interval: GripperInterval) -> bool:
        """Whether what is held during `interval` is lifted from where it was grasped."""
        heights = self.positions[interval.start : interval.act + 1, 2] - self.positions[interval.start, 2]
        return bool(heights.max() >= self.rules.lifted_cm / 100 + self.path.noise)

    def is_pinched(self, interval: GripperInterval, *, empty: float) -> bool:
        """Whether the fingers are nearly closed on what is held during `interval`, as on a cloth."""
        held = self.opening[interval.start : max(interval.act, interval.start + 1)]
        return bool(interval.held_before and np.median(held) <= empty)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The runs of True in `mask`, (n,) bool, as (first index, last index)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
