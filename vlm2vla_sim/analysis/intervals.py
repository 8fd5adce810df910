"""Bootstrap intervals where what was measured comes in groups: actions of one episode, questions asked twice.

Taken one by one, thirty actions of one episode would count as thirty witnesses, and an interval would be several times
too narrow. Whole groups are drawn instead, and both sides of a comparison are drawn together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
AT_ONCE = 500
"""Draws that are computed together, so that a million numbers stay within memory."""


@dataclass(frozen=True)
class Interval:
    """A figure and where it may lie."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """For people.

        >>> Interval(0.5, 0.25, 0.75).text(0, scale=100)
        '50 (25 to 75)'
        """
        value, low, high = (f"{number * scale:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def grouped_ratio(
    above: Sequence[float], below: Sequence[float], groups: Sequence[object], *, seed: int = 0
) -> Interval:
    """sum(above) / sum(below), with the percentile bootstrap's interval over whole groups.

    Draws whose `below` sums to 0 have no ratio and are left out; ValueError when the sum itself is 0. A mean is the
    ratio to ones.

    >>> grouped_ratio([1, 0, 1, 0], [1, 1, 1, 1], "abcd").value
    0.5
    """
    _, members = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    tops, bottoms = (np.bincount(members, weights=np.asarray(values, float)) for values in (above, below))
    if not bottoms.sum():
        raise ValueError("There is no ratio to a sum of 0.")
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    for start in range(0, DRAWS, AT_ONCE):
        chosen = rng.integers(len(tops), size=(min(AT_ONCE, DRAWS - start), len(tops)))
        divisor = bottoms[chosen].sum(axis=1)
        drawn.append(tops[chosen].sum(axis=1)[divisor != 0] / divisor[divisor != 0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(tops.sum() / bottoms.sum()), float(low), float(high))
