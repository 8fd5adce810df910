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


class Grip:
    """Turns the wanted opening into the one to send, and keeps track of a held object."""

    def __init__(self, *, closed: float = 0.20) -> None:
        """closed: gripper reading with nothing between the fingers."""
        self._holding_reading = closed + HOLDING
        self._closing_steps = 0
        self._last: float | None = None
        self._held: float | None = None

    @property
    def holding(self) -> bool:
        """Whether a soft hold is on."""
        return self._held is not None

    def command(self, wanted: float) -> float:
        """What to send for the opening `wanted`, 0 closed .. 1 open."""
        if wanted >= 0.5:
            self._closing_steps, self._held = 0, None
            return wanted
        self._closing_steps += 1
        return wanted if self._held is None else max(wanted, self._held - SOFT)

    def watch(self, reading: float) -> bool:
        """Update with the gripper's `reading` after a step; True when a soft hold has just begun."""
        last, self._last = self._last, reading
        if self._held is not None:
            if reading < self._held - SLIP:
                self._held = None
            return False
        still = last is not None and abs(reading - last) < SETTLED
        if self._closing_steps >= 2 and still and reading > self._holding_reading:
            self._held = reading
            return True
        return False
