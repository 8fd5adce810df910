"""Detect a stalled arm from commanded and measured poses, because the server reports SUCCESS in either case.

When a policy pushes against the table, or out of reach, the controller's target runs ahead of the arm, and later steps
back have no effect until the target has returned.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_rotvec, quaternion_to_matrix
from vlm2vla_sim.types import Pose

BEHIND = 0.03
"""[m] between commanded and measured position beyond which an arm that is still is stalled."""
TWISTED = 0.35
"""[rad] the same for its orientation."""
MOVING, TURNING = 0.002, 0.02
"""[m], [rad] a step that count as moving."""
PATIENCE = 3
"""Steps in a row."""


class StallWatch:
    """Watches one arm; call `watch` after every step."""

    def __init__(self, *, behind: float = BEHIND) -> None:
        """behind: [m] as `BEHIND`."""
        self._behind = behind
        self._last: Pose | None = None
        self._count = 0

    def watch(self, target: Pose, measured: Pose) -> bool:
        """True once the arm has been still, away from its target, for `PATIENCE` steps."""
        last, self._last = self._last, measured
        if last is None:
            return False
        far = float(np.linalg.norm(target.position - measured.position)) > self._behind
        behind = far or _angle(target, measured) > TWISTED
        still = float(np.linalg.norm(measured.position - last.position)) < MOVING and _angle(measured, last) < TURNING
        self._count = self._count + 1 if behind and still else 0
        return self._count >= PATIENCE


def _angle(one: Pose, other: Pose) -> float:
    turn = quaternion_to_matrix(one.quaternion) @ quaternion_to_matrix(other.quaternion).T
    return float(np.linalg.norm(matrix_to_rotvec(turn)))
