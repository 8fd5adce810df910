"""A test of paired differences that may be looked at after every pair, and its confidence sequence.

A pair's difference is +1 where only the candidate succeeded, -1 where only the baseline did, else 0. To test that the
mean difference is at most m, a bettor starts with a capital of 1 and stakes, pair after pair, the share `f` of what may
be lost on "above m". While the mean is at most m, no strategy is expected to gain, and the capital ever reaches 1 / a
with a probability of at most a (Ville's inequality), whenever one looks. The capital here is the mean of those of
`FRACTIONS`, so that it depends on the counts only.

I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
Statistical Society B 86 (2024), 1-27; here with a mixture of constant bets. Its weights are proportional to the
fraction, because differences that matter call for bold bets.

The tasks may differ in their mean. After rounds of one pair of each task, the product of (1 + b (mean_k - m)) over the
tasks k is largest, by the inequality of arithmetic and geometric means, where all means are equal; so at the end of
each round the test is valid for the mean over the tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.evaluation.rates import CONFIDENCE

_COUNT = 64
FRACTIONS = (np.arange(_COUNT) + 0.5) / _COUNT
"""(64,) shares of what may be lost that are staked, 0 .. 1."""
_LOG_WEIGHTS = np.log(FRACTIONS / FRACTIONS.sum())
_HALVINGS = 50


@dataclass(frozen=True)
class Differences:
    """How many pairs had which difference."""

    better: int
    """Only the candidate succeeded."""
    equal: int
    worse: int
    """Only the baseline succeeded."""

    def reversed(self) -> Differences:
        """With the sides exchanged."""
        return Differences(self.worse, self.equal, self.better)


def log_capital(counts: Differences, mean: float) -> float:
    """Natural logarithm of the capital of a bettor against "the mean difference is at most `mean`", -1 < mean < 1."""
    bets = FRACTIONS / (1 + mean)  # at a difference of -1, the share is lost
    logs = (
        counts.better * np.log1p(bets * (1 - mean))
        + counts.equal * np.log1p(-bets * mean)
        + counts.worse * np.log1p(-FRACTIONS)
        + _LOG_WEIGHTS
    )
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).sum()))


def confidence_sequence(counts: Differences, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the mean difference, -1 .. 1, that holds at all times together with this confidence."""
    return _lower(counts, confidence), -_lower(counts.reversed(), confidence)


def anytime_p(counts: Differences) -> float:
    """Two-sided p-value of "the mean difference is 0", valid whenever the pairs are looked at.

    At most 1 - confidence exactly where `confidence_sequence` excludes 0.
    """
    most = max(log_capital(counts, 0.0), log_capital(counts.reversed(), 0.0))
    return min(1.0, 2 * math.exp(-most))


def _lower(counts: Differences, confidence: float) -> float:
    # The capital falls as the mean rises: bisect where it passes 2 / (1 - confidence), half of the errors to each end.
    needed = math.log(2 / (1 - confidence))
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_capital(counts, middle) >= needed else (low, middle)
    return low
