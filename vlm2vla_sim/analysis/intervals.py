"""Cluster bootstrap intervals for grouped measurements, such as the actions of an episode.

Resampling the actions themselves would treat thirty actions of one episode as independent, and the interval would be
several times too narrow. Whole groups are resampled instead, and both sides of a comparison together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
AT_ONCE = 500
"""Resamples that are computed together, which bounds the memory for a million values."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """The estimate and interval as text.

        >>> Interval(0.5, 0.25, 0.75).text(0, scale=100)
        '50 (25 to 75)'
        """
        value, low, high = (f"{number * scale:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def grouped_ratio(
    above: Sequence[float], below: Sequence[float], groups: Sequence[object], *, seed: int = 0
) -> Interval:
    """sum(above) / sum(below) with a percentile bootstrap interval over whole groups.

    Resamples whose `below` sums to 0 are left out. A mean is the ratio to ones. ValueError if `below` sums to 0.

    >>> grouped_ratio([1, 0, 1, 0], [1, 1, 1, 1], "abcd").value
    0.5
    """
    _, members = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    tops, bottoms = (np.bincount(members, weights=np.asarray(values, float)) for values in (above, below))
    if not bottoms.sum():
        raise ValueError("The denominators sum to 0, so there is no ratio.")
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    for start in range(0, DRAWS, AT_ONCE):
        chosen = rng.integers(len(tops), size=(min(AT_ONCE, DRAWS - start), len(tops)))
        divisor = bottoms[chosen].sum(axis=1)
        drawn.append(tops[chosen].sum(axis=1)[divisor != 0] / divisor[divisor != 0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(tops.sum() / bottoms.sum()), float(low), float(high))
