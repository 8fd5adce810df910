"""Stops of the operator, each latched from the moment it is given until it has taken effect.

A stop may come at any time: while the arm drives to its start, while a model thinks, while nobody is asked anything. It
is kept until the session reaches a safe point, between two control steps or two requests, and acts there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import EpisodeAbortedError


class Stop(IntEnum):
    """What is stopped; a session's stop outranks an episode's."""

    EPISODE = 1
    SESSION = 2


WORDS = {
    "s": Stop.EPISODE,
    "stop": Stop.EPISODE,
    "a": Stop.SESSION,
    "abort": Stop.SESSION,
    "q": Stop.SESSION,
    "quit": Stop.SESSION,
}
"""What is typed, in lower case."""
REASONS = {
    Stop.EPISODE: "The operator pressed stop: this episode ends.",
    Stop.SESSION: "The operator pressed stop: the session ends.",
}


class StopLatch:
    """The stop that is waiting to take effect. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Stop | None = None
        self.on_change: Callable[[Stop | None], None] = lambda pending: None
        """Called with the pending stop whenever it has changed."""

    @property
    def pending(self) -> Stop | None:
        """The stop that has been given and not acknowledged."""
        return self._pending

    def press(self, stop: Stop) -> None:
        """Latch `stop`. A session's stop is never lowered to an episode's."""
        with self._lock:
            changed = self._pending is None or stop > self._pending
            if changed:
                self._pending = stop
        if changed:
            self.on_change(stop)

    def check(self) -> None:
        """At a safe point: EpisodeAbortedError if a stop is pending."""
        if self._pending is not None:
            raise EpisodeAbortedError(REASONS[self._pending])

    def acknowledge(self) -> Stop | None:
        """The stop has taken effect: release that of an episode. That of a session stays. Returns what was pending."""
        with self._lock:
            found = self._pending
            if found is Stop.EPISODE:
                self._pending = None
        if found is Stop.EPISODE:
            self.on_change(None)
        return found


class StopWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Asks for stops at every safe point: before, between the motions of and after a reset, and before every step."""

    def __init__(self, env: gym.Env[Any, Any], check: Callable[[], None]) -> None:
        """check: raises EpisodeAbortedError if a stop has been given."""
        super().__init__(env)
        self._check = check
        inner = env.unwrapped
        if isinstance(inner, WidowXEnv):
            inner.check_during_reset(check)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's; EpisodeAbortedError when the operator has pressed Stop."""
        self._check()
        made = self.env.reset(seed=seed, options=options)
        self._check()
        return made

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's; EpisodeAbortedError, with nothing sent, when the operator has pressed Stop."""
        self._check()
        return self.env.step(action)


class StopFile:
    """Two bytes that the web page's server sets and the session reads: one for an episode's stop, one for a session's.

    The file is made when the session starts and never grows. A stop therefore needs no room on the disk, and cannot be
    torn as a line can.
    """

    NAME = "stop"
    _OFF, _ON = b"-", b"!"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = False

    def create(self) -> None:
        """Make the file, with no stop in it. OSError where it cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(2 * self._OFF)

    def press(self, stop: Stop) -> None:
        """Set a stop. OSError if there is no file, because no session has made it."""
        with self._path.open("rb+", buffering=0) as file:
            file.seek(stop - 1)
            file.write(self._ON)

    def take(self) -> list[Stop]:
        """The stops that were set since the last call. That of an episode is reset, that of a session stays set."""
        try:
            with self._path.open("rb+", buffering=0) as file:
                content = file.read(2)
                found = [stop for stop in Stop if content[stop - 1 : stop] == self._ON]
                if Stop.EPISODE in found:
                    file.seek(0)
                    file.write(self._OFF)
        except OSError:  # no live view has made it: stops come through the file of presses
            return []
        if Stop.SESSION in found and self._taken:
            found.remove(Stop.SESSION)
        self._taken |= Stop.SESSION in found
        return found
