"""How old a camera frame is, on a wire that carries no timestamps.

A camera that froze, a relay that answers with what it had, a driver that died: each shows a policy yesterday's table,
and nothing in the message says so. What is known here is when bytes arrived and whether they were seen before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

MEMORY = 1000
"""Frames remembered: 200 s at 5 Hz."""


class FrameClock:
    """Dates frames by their content: two pictures of a live camera never have the same bytes, thanks to its noise."""

    def __init__(self) -> None:
        self._first_seen: OrderedDict[bytes, float] = OrderedDict()

    def age(self, picture: bytes, *, asked: float, arrived: float) -> float:
        """[s] the age of `picture` on arrival, at least: since the same bytes first came, or since it was asked for.

        asked, arrived: [s] on one clock. A frame that keeps coming back is as old as its first coming, even if others
        came in between.
        """
        digest = hashlib.blake2b(picture, digest_size=16).digest()
        first = self._first_seen.setdefault(digest, asked)
        while len(self._first_seen) > MEMORY:
            self._first_seen.popitem(last=False)
        return arrived - first
