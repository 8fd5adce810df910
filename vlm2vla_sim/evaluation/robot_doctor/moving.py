"""What is checked by moving: 2 cm up and down, the gripper closed and opened; each after a question."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.core.checks import Check
from vlm2vla_sim.envs import motion
from vlm2vla_sim.robots.base import Workspace

RISE = 0.02
"""[m]"""
ERROR = 0.008
"""[m] between where the gripper should be and where it is, from which a motion is wrong. A sound arm is a few
millimetres off, because its servos have no integral term."""
STILL = 0.001
"""[m] between two steps of an arm that has arrived."""
MAX_STEPS = 10
"""Control steps that a motion may take."""
CLOSED, OPEN = 0.2, 0.8
"""Opening, 0 .. 1, of a gripper that has closed with nothing between its fingers, and of one that has opened."""


class Mover:
    """Makes small motions with one backend that has been reset; its faults are raised (BackendFaultError)."""

    def __init__(self, backend: Any, workspace: Workspace) -> None:
        self._backend, self._workspace = backend, workspace
        self._gripper = 1.0

    def rise(self, name: str, metres: float) -> Check:
        """Move straight up, or down where `metres` is negative, and compare with where the gripper then is."""
        before = self._backend.status().robot
        wanted = before.tcp.position + np.array([0, 0, metres])
        delta = np.array([0, 0, metres, 0, 0, 0, self._gripper])
        limited, clipped = motion.limit(delta, target=before.target.position, workspace=self._workspace)
        if clipped:
            return Check(
                name, None, True, "not made: it leads out of the workspace", "Give a workspace that is higher."
            )
        after = self._settle(limited)
        moved = float(after[2] - before.tcp.position[2])
        error_m = float(np.linalg.norm(after - wanted))
        found = f"moved {100 * moved:+.1f} cm of {100 * metres:+.1f} cm; {1000 * error_m:.0f} mm off"
        advice = ""
        if error_m > ERROR:
            still = float(np.linalg.norm(after - before.tcp.position)) < abs(metres) / 4
            advice = (
                "The arm does not move. Is its power on, is a motor in error (red light), is it held?"
                if still
                else f"At most {1000 * ERROR:.0f} mm were expected. Is something in its way? Are its joints calibrated?"
            )
        return Check(name, not advice, True, found, advice, {"moved_m": moved, "error_m": error_m})

    def set_gripper(self, name: str, opening: float) -> Check:
        """Close (0) or open (1) the gripper, and compare with what it reads."""
        self._gripper = opening
        reading = self._settle_gripper()
        right = reading <= CLOSED if opening < 0.5 else reading >= OPEN
        advice = "Is something between its fingers or in their way? Otherwise reboot its motor, and check its cable."
        found = f"reads {reading:.2f} (0 closed, 1 open)"
        return Check(name, right, True, found, "" if right else advice, {"opening": reading})

    def _settle(self, delta: np.ndarray) -> np.ndarray:
        """(3,) [m] where the gripper is after `delta` and as many steps without motion as it needs to arrive."""
        hold = delta * [0, 0, 0, 0, 0, 0, 1]
        self._backend.move(delta)
        last = self._backend.status().robot.tcp.position
        for _ in range(MAX_STEPS - 1):
            self._backend.move(hold)
            now = self._backend.status().robot.tcp.position
            if np.linalg.norm(now - last) < STILL:
                return now
            last = now
        return last

    def _settle_gripper(self) -> float:
        readings = []
        for _ in range(MAX_STEPS):
            self._backend.move(np.array([0, 0, 0, 0, 0, 0, self._gripper]))
            readings.append(float(self._backend.status().robot.gripper))
            if abs(readings[-1] - self._gripper) < 0.05:
                break
        return readings[-1]
