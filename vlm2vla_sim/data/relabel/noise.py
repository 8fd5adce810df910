"""Noise of recorded poses: how large it is, and a path without it.

A simulator's states are exact, those of a teleoperated arm shake by millimetres and degrees. The noise is told by what
no motion does: the third difference of the samples. Where there is none, nothing is smoothed.
"""

from __future__ import annotations

import numpy as np

LONGEST = 100
"""Most samples of a line."""
FEWEST = 30
"""Samples from which on noise can be told from short moves."""
_FIFTH = 0.2533
"""Standard deviations below which a fifth of a normal distribution's magnitudes lie."""
_THIRD = 20**0.5
"""Standard deviation of the third difference of independent samples of standard deviation 1."""


def noise_of(samples: np.ndarray) -> float:
    """Standard deviation of the noise in `samples`, (T, k), in their unit; 0 for fewer than `FEWEST`.

    The lower fifth of the third differences, so that corners and starts, which have large ones, do not count.
    """
    if len(samples) < FEWEST:
        return 0.0
    third = np.abs(np.diff(samples, n=3, axis=0))
    return float(np.median(np.quantile(third, 0.2, axis=0))) / _FIFTH / _THIRD


def smooth(samples: np.ndarray, noise: float) -> np.ndarray:
    """`samples`, (T, k), replaced by straight lines: those that explain them best with the fewest.

    Least squares with a price for each line, by dynamic programming (segmented regression; the price is that of the
    Bayesian information criterion). Unlike an average it cuts no corners. noise: standard deviation, in their unit.
    """
    count, width = samples.shape
    centred = samples - samples.mean(axis=0)
    time = np.arange(count, dtype=np.float64)
    # Sums up to each sample, from which the squared error of a line through any run of samples follows.
    sums = np.zeros((count + 1, width))
    products, squares = np.zeros((count + 1, width)), np.zeros(count + 1)
    sums[1:], products[1:] = np.cumsum(centred, axis=0), np.cumsum(centred * time[:, None], axis=0)
    squares[1:] = np.cumsum((centred**2).sum(axis=1))
    price = (2 * width + 1) * np.log(max(count * width, 2)) * noise**2
    best, begins = np.zeros(count + 1), np.zeros(count + 1, int)
    for stop in range(1, count + 1):
        starts = np.arange(max(0, stop - LONGEST), stop)
        size = stop - starts
        middle = (starts + stop - 1) / 2
        spread = size * (size**2 - 1) / 12  # of the times about their middle
        total = sums[stop] - sums[starts]
        slope = products[stop] - products[starts] - middle[:, None] * total
        error = squares[stop] - squares[starts] - (total**2).sum(axis=1) / size
        error -= (slope**2).sum(axis=1) / np.maximum(spread, 1)
        costs = best[starts] + np.maximum(error, 0) + price
        begins[stop] = starts[np.argmin(costs)]
        best[stop] = costs.min()
    fitted, stop = np.empty_like(samples, dtype=np.float64), count
    while stop > 0:
        start = begins[stop]
        part, steps = samples[start:stop], time[start:stop] - time[start:stop].mean()
        slope = steps @ part / max(float(steps @ steps), 1e-12)
        fitted[start:stop] = part.mean(axis=0) + steps[:, None] * slope
        stop = start
    return fitted
