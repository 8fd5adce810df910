"""Does the arm do what it said it did? Commanded against measured, because the server answers SUCCESS either way.

Without it a policy that pushes against the table, or out of reach, winds the controller's target up: the arm stands,
and later steps back do nothing until the target has come all the way home.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_rotvec, quaternion_to_matrix
from vlm2vla_sim.types import Pose

BEHIND = 0.03
"""[m] between commanded and measured gripper beyond which an arm that stands still is stalled."""
TWISTED = 0.35
"""[rad] the same for its turn."""
MOVING, TURNING = 0.002, 0.02
"""[m], [rad] a step that count as moving."""
PATIENCE = 3
"""Steps in a row."""


class StallWatch:
    """Watches one arm; show it the target and the measured pose after every step."""

    def __init__(self) -> None:
        self._last: Pose | None = None
        self._count = 0

    def watch(self, target: Pose, measured: Pose) -> bool:
        """True once the arm has stood still, away from its target, for `PATIENCE` steps."""
        last, self._last = self._last, measured
        if last is None:
            return False
        behind = (
            float(np.linalg.norm(target.position - measured.position)) > BEHIND or _angle(target, measured) > TWISTED
        )
        still = float(np.linalg.norm(measured.position - last.position)) < MOVING and _angle(measured, last) < TURNING
        self._count = self._count + 1 if behind and still else 0
        return self._count >= PATIENCE


def _angle(one: Pose, other: Pose) -> float:
    turn = quaternion_to_matrix(one.quaternion) @ quaternion_to_matrix(other.quaternion).T
    return float(np.linalg.norm(matrix_to_rotvec(turn)))
