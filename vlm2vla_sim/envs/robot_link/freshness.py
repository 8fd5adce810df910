"""Estimate the age of a camera frame, in a protocol without timestamps.

A frozen camera, a relay that repeats its last message or a dead driver delivers old frames, and nothing in the message
says so. What is known is when bytes arrived and whether the same bytes arrived before.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from vlm2vla_sim.errors import LinkLostError

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


def too_old(age: float, *, trip: float, limit: float, waited: float, round_trip: Callable[[], float]) -> LinkLostError:
    """The error for images that are all too old: a slow link ("link_slow"), or a camera that stands still.

    Args:
        age: [s] of the last image.
        trip: [s] that its observation took from the request to the reply.
        limit: [s] that images may be old.
        waited: [s] for a newer one.
        round_trip: measures how long a request without an image takes [s]; called where the link is slow.
    """
    if trip <= limit:
        return LinkLostError(
            f"The camera's image is at least {age:.1f} s old, and no newer one came within {waited:g} s. Check the "
            "camera's cable and its ROS node.",
            reason="camera_stale",
        )
    short = round_trip()
    what = "the network is slow" if short > trip / 2 else "the images are slow, or the robot's computer is busy"
    return LinkLostError(
        f"An observation takes {trip:.2f} s on its way, a request without an image {short:.2f} s: {what}. Images may "
        f"be {limit:g} s old (max_frame_age). Use a faster connection; the camera is not at fault.",
        reason="link_slow",
    )
