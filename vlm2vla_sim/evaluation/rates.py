"""Success rates and means, each with its interval.

12 of 24 is compatible with any true rate from 31 to 69 %.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95


def wilson_interval(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a rate after `k` successes in `n` independent trials, n >= 1; both ends in 0 .. 1.

    Both may be effective numbers, which are not whole.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22 (1927), 209-212; as formula (4) in Brown, Cai and DasGupta, Statistical Science
    16 (2001), 101-133, who recommend it for small n.

    `k` may also be the sum of `n` scores of 0 to 1. Their variance is at most that of successes with the same mean, so
    that the interval is wide enough, and it is one even where all scores are equal.

    >>> [round(100 * end, 1) for end in wilson_interval(12, 24)]
    [31.4, 68.6]
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} of {n} is not a rate; expected 0 <= k <= n and n >= 1.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    return (0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half)


@dataclass(frozen=True)
class Rate:
    """`k` of `n`."""

    k: int
    n: int

    @property
    def rate(self) -> float | None:
        """The share `k` / `n`, None if n is 0: a run in which every episode ended in an error has no success rate."""
        return self.k / self.n if self.n else None

    def to_json(self) -> dict[str, object]:
        """k, n, rate and the ends of its interval; the last three are null if n is 0."""
        low, high = wilson_interval(self.k, self.n) if self.n else (None, None)
        return {"k": self.k, "n": self.n, "rate": self.rate, "low": low, "high": high}

    def __str__(self) -> str:
        return f"{self.k}/{self.n} {self.percent()}" if self.n else "-"

    def percent(self) -> str:
        """The share in per cent with its interval, "50.0 % (31.4 to 68.6)"; n must not be 0."""
        low, high = wilson_interval(self.k, self.n)
        return f"{100 * self.k / self.n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True)
class Mean:
    """The mean of a metric over the episodes for which it is known."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    """The ends of its 95 % interval: percentile bootstrap over episodes, 10,000 draws, None below two episodes; for
    progress Wilson's."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """The mean of `values`."""
        if len(values) < 2:
            return cls(len(values), values[0] if values else None, None, None)
        array = np.array(values, np.float64)
        draws = np.random.default_rng(0).integers(len(array), size=(10_000, len(array)))
        low, high = np.quantile(array[draws].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return cls(len(values), float(array.mean()), float(low), float(high))

    @classmethod
    def of_progress(cls, scores: Sequence[float]) -> Mean:
        """The mean of `scores`, each 0 .. 100, with the interval of `wilson_interval`; None without a score."""
        if not scores:
            return cls(0, None, None, None)
        low, high = wilson_interval(math.fsum(scores) / 100, len(scores))
        return cls(len(scores), math.fsum(scores) / len(scores), 100 * low, 100 * high)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:.4g}" + ("" if self.low is None else f" ({self.low:.4g} to {self.high:.4g})")
