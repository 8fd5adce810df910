"""Estimate the age of a camera frame, in a protocol without timestamps.

A frozen camera, a relay that repeats its last message or a dead driver delivers old frames, and nothing in the message
says so. What is known is when bytes arrived and whether the same bytes arrived before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

MEMORY = 1000
"""Number of frames remembered: 200 s at 5 Hz."""


class FrameClock:
    """Dates frames by their content: because of noise, two frames of a live camera never have the same bytes."""

    def __init__(self) -> None:
        self._first_seen: OrderedDict[bytes, float] = OrderedDict()

    def age(self, image: bytes, *, asked: float, arrived: float) -> float:
        """[s] the age of `image` on arrival, at least: since the same bytes first came, or since they were requested.

        asked, arrived: [s] on one clock. A frame that is repeated is as old as its first arrival, even if others
        arrived in between.
        """
        digest = hashlib.blake2b(image, digest_size=16).digest()
        first = self._first_seen.setdefault(digest, asked)
        while len(self._first_seen) > MEMORY:
            self._first_seen.popitem(last=False)
        return arrived - first
