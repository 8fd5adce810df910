"""Soft hold: a grasped object is held with part of the motor's power instead of all of it.

The robot's gripper loop drives its motor with full power for as long as the fingers cannot reach "closed". If a model
takes a minute with an object in the gripper, the servo's overload protection trips and the object falls.
rail-berkeley/bridge_data_robot@a902e5b custom_gripper_controller.py
"""

from __future__ import annotations

HOLDING = 0.05
"""Reading above that of the closed gripper from which something is between the fingers."""
SETTLED = 0.02
"""Change of the reading between two steps below which the fingers are still."""
SOFT = 0.04
"""How far below the reading a soft hold aims: 0.3 of the power (350 PWM times clip(300 times 0.04 times 25 mm))."""
SLIP = 0.03
"""Closing of the fingers during a soft hold from which full power is used again."""
OPEN = 0.9
"""Reading of fingers that are open. Nothing fits between them that would stop them here: 1.0 is 70 mm."""
PATIENCE = 5
"""Steps, one second, in which fingers that were told to close have at least begun to."""


class Grip:
    """Turns the wanted opening into the one to send, and keeps track of a held object."""

    def __init__(self, *, closed: float = 0.20, soft: bool = True) -> None:
        """closed: gripper reading with nothing between the fingers. soft: whether the server takes a soft hold."""
        self._soft = soft
        self._holding_reading = closed + HOLDING
        self._closing_steps = 0
        self._last: float | None = None
        self._held: float | None = None
        self._before: float | None = None
        self._unanswered = 0

    @property
    def holding(self) -> bool:
        """Whether a soft hold is on."""
        return self._held is not None

    @property
    def stuck(self) -> bool:
        """Whether the gripper stands open although it has been told to close for `PATIENCE` steps."""
        return self._unanswered >= PATIENCE

    def command(self, wanted: float) -> float:
        """What to send for the opening `wanted`; both 0 closed .. 1 open, whatever the gripper reads."""
        if wanted >= 0.5:
            self._closing_steps, self._held, self._before, self._unanswered = 0, None, None, 0
            return wanted
        if self._closing_steps == 0:
            self._before = self._last
        self._closing_steps += 1
        return wanted if self._held is None else min(max(wanted, self._held - SOFT), 1.0)

    def watch(self, reading: float) -> bool:
        """Update with the gripper's `reading` after a step; True when a soft hold has just begun."""
        last, self._last = self._last, reading
        if self._held is not None:
            if reading < self._held - SLIP:
                self._held = None
            return False
        if self._closing_steps and self._stands_open(reading):
            self._unanswered += 1
            return False
        self._unanswered = 0
        still = last is not None and abs(reading - last) < SETTLED
        if self._soft and self._closing_steps >= 2 and still and reading > self._holding_reading:
            self._held = reading
            return True
        return False

    def _stands_open(self, reading: float) -> bool:
        """Whether fingers that were told to close are as open as they were before."""
        if self._before is None:
            self._before = reading
        return reading > OPEN and self._before - reading < SETTLED
