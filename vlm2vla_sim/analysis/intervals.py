"""Intervals for grouped measurements, such as the actions of an episode or the questions about an image.

Treating thirty actions of one episode as independent would make the interval several times too narrow. For ratios,
whole groups are resampled, and both sides of a comparison together; for rates, Wilson's interval counts the members of
a group as fewer trials, the more they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.evaluation.rates import CONFIDENCE, wilson_interval

DRAWS = 10_000
AT_ONCE = 500
"""Resamples that are computed together, which bounds the memory for a million values."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float | None
    """None, as `high`, where one group is all there is: nothing then tells how much groups differ."""
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """The estimate and interval as text.

        >>> Interval(0.5, 0.25, 0.75).text(0, scale=100)
        '50 (25 to 75)'
        """
        value, low, high = (
            "?" if number is None else f"{number * scale:.{digits}f}" for number in (self.value, self.low, self.high)
        )
        return f"{value} ({low} to {high})"


def grouped_ratio(
    above: Sequence[float], below: Sequence[float], groups: Sequence[object], *, seed: int = 0
) -> Interval:
    """sum(above) / sum(below) with a percentile bootstrap interval over whole groups.

    Resamples whose `below` sums to 0 are left out. A mean is the ratio to ones. ValueError if `below` sums to 0. With
    a handful of groups the interval is too narrow; with a single one there is none.

    >>> grouped_ratio([1, 0, 1, 0], [1, 1, 1, 1], "abcd").value
    0.5
    """
    _, members = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    tops, bottoms = (np.bincount(members, weights=np.asarray(values, float)) for values in (above, below))
    if not bottoms.sum():
        raise ValueError("The denominators sum to 0, so there is no ratio.")
    if len(tops) == 1:
        return Interval(float(tops.sum() / bottoms.sum()), None, None)
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    for start in range(0, DRAWS, AT_ONCE):
        chosen = rng.integers(len(tops), size=(min(AT_ONCE, DRAWS - start), len(tops)))
        divisor = bottoms[chosen].sum(axis=1)
        drawn.append(tops[chosen].sum(axis=1)[divisor != 0] / divisor[divisor != 0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(tops.sum() / bottoms.sum()), float(low), float(high))


def grouped_rate(right: Sequence[float], groups: Sequence[object]) -> Interval:
    """The share of ones in `right`, 0 or 1 each, with Wilson's interval for trials that are alike within a group.

    The number of trials is divided by the design effect, the variance between groups over that of independent trials,
    and at most down to the number of groups; if every trial has its own group it is Wilson's interval itself. Where all
    or none are right, the groups are the trials. (Korn and Graubard, Survey Methodology 24 (1998), 193-201, who use the
    effective number of trials with the exact interval.)

    >>> grouped_rate([1, 1, 0, 0], "aabb").text(0, scale=100), grouped_rate([1, 1, 0, 0], "abcd").text(0, scale=100)
    ('50 (9 to 91)', '50 (15 to 85)')
    """
    values = np.asarray(right, float)
    _, members = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    sizes, sums = np.bincount(members), np.bincount(members, weights=values)
    count, rate = len(sizes), float(values.mean())
    if count == 1 < len(values):
        return Interval(rate, None, None)
    trials = float(count)
    if 0 < rate < 1 and count > 1:
        between = count / (count - 1) * float(((sums - rate * sizes) ** 2).sum()) / len(values) ** 2
        effect = between / (rate * (1 - rate) / len(values))
        trials = min(max(len(values) / effect if effect else float(len(values)), count), len(values))
    return Interval(rate, *wilson_interval(rate * trials, trials))
