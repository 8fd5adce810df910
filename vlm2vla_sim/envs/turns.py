"""One method of an environment at a time, in whatever thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from vlm2vla_sim.errors import EpisodeError


class Turns:
    """Lets one thread at a time into an environment. Threads may take turns; two at once would mix their states."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._doing = ""

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()  # a copy of an environment has turns of its own

    @contextlib.contextmanager
    def take(self, doing: str, *, wait: bool = False) -> Iterator[None]:
        """Hold the turn for `doing`.

        wait: until another thread that has the turn is done. Otherwise EpisodeError while there is one.
        """
        if not self._lock.acquire(blocking=wait):
            raise EpisodeError(
                f"{doing} was called while {self._doing or 'a method'} still runs in another thread. Wait until it has "
                "returned, or make an environment for each thread."
            )
        before, self._doing = self._doing, doing
        try:
            yield
        finally:
            self._doing = before
            self._lock.release()
