"""Tell motion that our commands explain from motion that somebody else commanded.

Between two observations the arm moves from where it was towards its target, and, while it still turns from the last
step to the next, towards the target before that. It lies in that triangle, up to a few millimetres. A stalled arm stays
at a corner of it, one that settles or sags moves within it, and one that a hand pushed and let go returns to it. An arm
that is driven by a second client, or that its server reset, leaves it and does not come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from vlm2vla_sim.errors import LinkLostError

JUMP = 0.06
"""[m] outside the triangle in one step: a reset, or a hand that carries the arm away."""
SLACK = 0.010
"""[m] outside it that a step explains: the arm's path is not straight, and its readings are not exact."""
DRIFT = 0.04
"""[m] of the excess over `SLACK`, added up over steps and paid back by steps without any."""
AWAY = 0.03
"""[m] outside it after a pause, in which the arm has long reached its target, or stalled."""
PAUSE = 1.0
"""[s] since the last observation from which the arm is looked at before it is sent anything; at least two periods."""
LET_GO = 1.0
"""[s] for a hand that pushes the arm during a pause to let go."""


class MotionWatch:
    """Watches one arm during one episode. All positions are (3,) [m] of the gripper, base frame."""

    def __init__(self, *, period: float = 0.2) -> None:
        """period: [s] from one control step to the next."""
        self._pause = max(PAUSE, 2 * period)
        self._last_target: np.ndarray | None = None
        self._drift = 0.0

    def reanchor(self) -> None:
        """The controller's target was set to where the arm is."""
        self._last_target = None

    def check_step(self, before: np.ndarray, target: np.ndarray, measured: np.ndarray) -> None:
        """Once per step, with the observations before it and after it, and the controller's target since.

        Raises LinkLostError ("robot_fault") when the arm has gone where no command leads, in this step or added up over
        the last ones.
        """
        outside = self._outside(before, target, measured)
        self._last_target = target
        self._drift = max(0.0, self._drift + outside - SLACK)
        away = outside if outside > JUMP else self._drift + SLACK if self._drift > DRIFT else 0.0
        if away:
            raise _fault(
                f"The gripper is {100 * away:.0f} cm off the path to its target: its server was reset, another client "
                "drives the arm, or it was moved by hand."
            )

    def check_pause(
        self,
        before: np.ndarray,
        target: np.ndarray,
        observe: Callable[[], np.ndarray],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Before a step: after a pause, observe the arm and see that it is where the last command left it.

        before: where it was last observed, `seconds` ago. observe: observes the gripper's position. Raises
        LinkLostError ("robot_fault") when it is elsewhere and does not come back.
        """
        if seconds < self._pause:
            return
        end = clock() + LET_GO
        while (away := self._outside(before, target, observe())) > AWAY:
            if clock() > end:
                raise _fault(
                    f"The gripper is {100 * away:.0f} cm from where the last command left it, and nothing was sent for "
                    f"{seconds:.1f} s: another client drives the arm, its server was reset, or it is moved by hand."
                )
            time.sleep(LET_GO / 10)

    def _outside(self, before: np.ndarray, target: np.ndarray, measured: np.ndarray) -> float:
        via = target if self._last_target is None else self._last_target
        return distance_to_triangle(measured, before, via, target)


def _fault(message: str) -> LinkLostError:
    return LinkLostError(message, reason="robot_fault")


def distance_to_triangle(point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """[m] from `point` to the triangle with the corners `a`, `b` and `c`, any of which may be equal."""
    one, other, way = b - a, c - a, point - a
    size, mixed, other_size = float(one @ one), float(one @ other), float(other @ other)
    area = size * other_size - mixed * mixed
    if area > 1e-14:
        along, across = float(way @ one), float(way @ other)
        share = (other_size * along - mixed * across) / area
        other_share = (size * across - mixed * along) / area
        if share >= 0 and other_share >= 0 and share + other_share <= 1:
            return float(np.linalg.norm(way - share * one - other_share * other))
    return min(_distance_to_segment(point, start, end) for start, end in ((a, b), (b, c), (a, c)))


def _distance_to_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    way = end - start
    along = float(np.clip(np.dot(point - start, way) / max(float(way @ way), 1e-12), 0, 1))
    return float(np.linalg.norm(point - start - along * way))
