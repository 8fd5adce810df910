"""How time passes for a mock robot: on the wall clock, or in requests only."""

from __future__ import annotations

import time
from typing import Protocol

from vlm2vla_sim.envs.robot_link.mock.servo_twin import ServoTwin
from vlm2vla_sim.errors import SettingError

REPLY_SECONDS = 0.1
"""[s] after which the real servers reply to a control step."""


class Clock(Protocol):
    """How the mock robot's time passes."""

    def spend(self, seconds: float) -> None:
        """Let `seconds` pass while the arm moves."""
        ...

    def step(self, seconds: float) -> None:
        """A control step of `seconds` has been sent."""
        ...

    def catch_up(self) -> None:
        """Called between requests."""
        ...


class Lockstep:
    """Simulated time passes only in requests and takes no real time: the same run on any machine."""

    def __init__(self, twin: ServoTwin) -> None:
        self._twin = twin

    def spend(self, seconds: float) -> None:
        """Run the twin for `seconds`."""
        self._twin.run(seconds)

    def step(self, seconds: float) -> None:
        """Run the twin for one step, whenever the next one comes."""
        self._twin.run(seconds)

    def catch_up(self) -> None:
        """Nothing passes between requests."""


class WallClock:
    """Simulated time follows the wall clock, `speed` times as fast."""

    def __init__(self, twin: ServoTwin, speed: float = 1.0) -> None:
        if not 0 < speed <= 100:
            raise SettingError(f"speed is {speed}; expected more than 0 and at most 100.")
        self._twin, self._speed = twin, speed
        self._last = time.monotonic()

    def spend(self, seconds: float) -> None:
        """Wait, and let the arm move."""
        end = time.monotonic() + seconds / self._speed
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))
            self.catch_up()

    def step(self, seconds: float) -> None:
        """The real servers reply before the arm has moved."""
        self.spend(REPLY_SECONDS)

    def catch_up(self) -> None:
        """Bring the twin up to now, in whole ticks."""
        due = (time.monotonic() - self._last) * self._speed
        ticks = min(int(due / 0.01), 100)
        if ticks:
            self._last += ticks * 0.01 / self._speed
            self._twin.run(ticks * 0.01)
            # If the machine is too slow, the simulation falls behind instead of running without end.
            self._last = max(self._last, time.monotonic() - 1.0)
