"""Tests and intervals for the difference of two success rates, paired and unpaired."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist

from vlm2vla_sim.evaluation.rates import CONFIDENCE, wilson_interval

POWER = 0.8
"""The power for which the smallest detectable difference is given."""


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test: 1 where no pair differs.

    Under equal success rates, each pair in which only one side succeeded is either side's with probability 1/2 (Q.
    McNemar, Psychometrika 12 (1947), 153-157; the exact form is the two-sided binomial test).

    >>> round(mcnemar_exact(1, 9), 4)
    0.0215
    """
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, j) for j in range(k + 1))
    return min(1.0, 2 * tail / 2**n)


def sign_flip_exact(sums: Iterable[int]) -> float:
    """Two-sided p-value of the exact sign-flip test over scenes: without a difference, each sum may have either sign.

    sums: of each scene, the sum over its pairs of +1 (only the second succeeded) and -1 (only the first). Pairs of one
    scene, such as in several conditions, may be correlated as they like. With one pair of each scene this is McNemar's
    exact test (R. A. Fisher, The Design of Experiments (1935), section 21).

    >>> sign_flip_exact([1] * 9 + [-1]) == mcnemar_exact(1, 9), sign_flip_exact([-23, -23])
    (True, 0.5)
    """
    sums = [total for total in sums if total]
    ways = {0: 1}
    for total in sums:
        flipped: dict[int, int] = {}
        for reached, count in ways.items():
            for end in (reached + total, reached - total):
                flipped[end] = flipped.get(end, 0) + count
        ways = flipped
    extreme = abs(sum(sums))
    return sum(count for reached, count in ways.items() if abs(reached) >= extreme) / 2 ** len(sums)


def design_effect(differences: Sequence[tuple[Hashable, int]]) -> float:
    """By how much repeated scenes inflate the variance of the mean difference, 1 or more.

    differences: of each pair its scene, and +1, 0 or -1. The ratio of the variance between scenes and that of
    independent pairs (J. N. K. Rao and A. J. Scott, "A simple method for the analysis of clustered binary data",
    Biometrics 48 (1992), 577-585), at most what pairs of one scene that are all equal would have; that also where the
    ratio cannot be told, because all pairs are equal or there is one scene.

    >>> design_effect([("a", 1), ("b", 0), ("c", -1)]), design_effect([("a", 1), ("a", 1), ("b", 0), ("b", 0)])
    (1.0, 2.0)
    """
    n = len(differences)
    sizes, sums = Counter(scene for scene, _ in differences), Counter[Hashable]()
    for scene, difference in differences:
        sums[scene] += difference
    mean, scenes = sum(sums.values()) / n, len(sizes)
    most = sum(size**2 for size in sizes.values()) / n
    alone = sum((difference - mean) ** 2 for _, difference in differences)
    if scenes == 1 or not alone:
        return most
    between = scenes / (scenes - 1) * sum((sums[scene] - size * mean) ** 2 for scene, size in sizes.items())
    return min(max(between / alone, 1.0), most)


def paired_interval(
    both: float, only_first: float, only_second: float, neither: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the difference second minus first of two rates on the same episodes; at least one pair.

    Method 10 of R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998), 2635-2650: Wilson intervals of the two rates, combined with their
    correlation. The numbers may be effective ones, divided by a design effect.
    """
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    p, q = first / n, second / n
    (p_low, p_high), (q_low, q_high) = wilson_interval(first, n, confidence), wilson_interval(second, n, confidence)
    margins = first * (n - first) * second * (n - second)
    product = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0)
    phi = product / math.sqrt(margins) if margins else 0.0
    difference = q - p
    low = math.sqrt(max((q - q_low) ** 2 - 2 * phi * (q - q_low) * (p_high - p) + (p_high - p) ** 2, 0))
    high = math.sqrt(max((q_high - q) ** 2 - 2 * phi * (q_high - q) * (p - p_low) + (p - p_low) ** 2, 0))
    return max(difference - low, -1.0), min(difference + high, 1.0)


def fisher_exact(first: int, n_first: int, second: int, n_second: int) -> float:
    """Two-sided p-value of Fisher's exact test that two independent rates are equal: all tables no likelier than this.

    >>> round(fisher_exact(8, 10, 1, 6), 5)
    0.03497
    """
    total, successes = n_first + n_second, first + second

    def weight(k: int) -> int:
        return math.comb(n_first, k) * math.comb(n_second, successes - k)

    weights = [weight(k) for k in range(max(0, successes - n_second), min(n_first, successes) + 1)]
    here = weight(first)
    return min(1.0, sum(w for w in weights if w <= here) / math.comb(total, successes))


def unpaired_interval(
    first: int, n_first: int, second: int, n_second: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the difference second minus first of two independent rates.

    Method 10 of R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), 873-890: the hybrid of two Wilson intervals.
    """
    p, q = first / n_first, second / n_second
    (p_low, p_high), (q_low, q_high) = (
        wilson_interval(first, n_first, confidence),
        wilson_interval(second, n_second, confidence),
    )
    return q - p - math.hypot(q - q_low, p_high - p), q - p + math.hypot(q_high - q, p - p_low)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number, in the same order (S. Holm, Scandinavian Journal of Statistics 6 (1979)).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_power(n: int, difference: float, discordance: float, alpha: float = 1 - CONFIDENCE) -> float:
    """The probability that the exact McNemar test of `n` pairs finds a true `difference` at level `alpha`.

    discordance: the share of pairs in which only one side succeeds, at least the difference. Exact, over the number of
    such pairs and the side that wins them.
    """
    if not 0 <= difference <= discordance <= 1:
        raise ValueError(f"A difference of {difference} needs a discordance from it to 1, not {discordance}.")
    wins = (discordance + difference) / (2 * discordance) if discordance else 0.5
    power = 0.0
    for m in range(n + 1):
        chance = _binomial(m, n, discordance)
        if chance > 1e-9:
            most = _most_rejected(m, alpha)
            tails = [*range(most + 1), *range(m - most, m + 1)] if most >= 0 else []
            power += chance * sum(_binomial(k, m, wins) for k in tails)
    return power


def unpaired_power(n_first: int, n_second: int, rate: float, difference: float, alpha: float = 1 - CONFIDENCE) -> float:
    """The probability that a test of two independent rates finds a drop by `difference` from `rate`.

    The normal approximation with arcsine-transformed rates (J. Cohen, Statistical Power Analysis, 2nd ed., chapter 6).
    """
    lower = max(rate - difference, 0.0)
    effect = 2 * abs(math.asin(math.sqrt(rate)) - math.asin(math.sqrt(lower)))
    normal = NormalDist()
    return normal.cdf(effect * math.sqrt(n_first * n_second / (n_first + n_second)) - normal.inv_cdf(1 - alpha / 2))


@functools.cache
def _most_rejected(m: int, alpha: float) -> int:
    """The most wins of the weaker side of `m` pairs with which the test rejects at `alpha`; -1 if it never does."""
    most = -1
    while 2 * (most + 1) < m and mcnemar_exact(most + 1, m - most - 1) <= alpha:
        most += 1
    return most


def _binomial(k: int, n: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)
