"""The test that may be looked at after every pair: what a bettor gains by chance, false stops, episodes it saves."""

from __future__ import annotations

import functools
import math
from itertools import product

import numpy as np
import pytest

from vlm2vla_sim.evaluation.comparison import cells, statistics
from vlm2vla_sim.evaluation.comparison.betting import Differences, anytime_p, confidence_sequence, log_capital

TASKS, EPISODES, SIMULATED = 4, 24, 2000
MARGIN = 0.15


def chance(counts: tuple[int, ...], shares: tuple[float, ...]) -> float:
    ways = math.factorial(sum(counts))
    for count in counts:
        ways //= math.factorial(count)
    return ways * math.prod(share**count for share, count in zip(shares, counts, strict=True))


@pytest.mark.parametrize(("better", "worse"), [(0.1, 0.1), (0.05, 0.25), (0.5, 0.2), (0.0, 0.3)])
def test_a_bettor_expects_to_keep_the_capital_where_the_mean_is_the_one_bet_against(better, worse):
    shares, mean = (better, 1 - better - worse, worse), better - worse
    n = 12
    outcomes = [(b, n - b - w, w) for b in range(n + 1) for w in range(n + 1 - b)]
    for value, less in ((mean, 0.0), (mean + 0.1, -1e-3)):
        expected = sum(chance(o, shares) * math.exp(log_capital(Differences(*o), value)) for o in outcomes)
        assert expected == pytest.approx(1, rel=1e-9) if not less else expected < 1 + less


def test_tasks_of_other_means_give_a_bettor_nothing_at_the_end_of_a_round():
    """Two tasks, one better by 40 points and one worse by 40: the mean is 0, after one round and after two."""
    shares = {1: (0.5, 0.4, 0.1), 2: (0.1, 0.4, 0.5)}
    for rounds in (1, 2):
        expected = 0.0
        for drawn in product((1, 0, -1), repeat=2 * rounds):
            p = math.prod(shares[1 + k % 2][1 - d] for k, d in enumerate(drawn))
            counts = Differences(drawn.count(1), drawn.count(0), drawn.count(-1))
            expected += p * math.exp(log_capital(counts, 0.0))
        assert expected < 1


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 20, 11), (0, 40, 0), (0, 4, 8), (9, 0, 0), (30, 30, 36)])
def test_the_interval_holds_the_difference_turns_with_the_sides_and_agrees_with_p(counts):
    found = Differences(*counts)
    low, high = confidence_sequence(found)
    n = sum(counts)
    assert -1 <= low <= (counts[0] - counts[2]) / max(n, 1) <= high <= 1
    assert confidence_sequence(found.reversed()) == pytest.approx((-high, -low))
    assert (anytime_p(found) <= 0.05) == (low > 0 or high < 0)
    wider = confidence_sequence(found, 0.99)
    assert wider[0] <= low
    assert wider[1] >= high
    for end, counted in ((low, found), (-high, found.reversed())):
        if -1 < end < 1:
            assert log_capital(counted, end) == pytest.approx(math.log(40), abs=1e-6)
    if n:
        fixed = statistics.paired_interval(0, counts[2], counts[0], counts[1])
        assert high - low > fixed[1] - fixed[0]  # the price of looking at any time


@functools.cache
def p_of(better: int, equal: int, worse: int) -> float:
    return anytime_p(Differences(better, equal, worse))


@functools.cache
def is_above_margin(better: int, equal: int, worse: int) -> bool:
    return log_capital(Differences(better, equal, worse), -MARGIN) > math.log(40)


def simulate(shares, seed: int):
    """(verdict, pairs) of simulated runs; shares: of "only the candidate" and "only the baseline" in each task."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((SIMULATED, EPISODES, TASKS))
    better = (drawn < shares[:, 0]).cumsum(axis=1)
    worse = (drawn > 1 - shares[:, 1]).cumsum(axis=1)
    for b, w in zip(better.tolist(), worse.tolist(), strict=True):
        for done in range(1, EPISODES + 1):
            row = [(x, done - x - y, y) for x, y in zip(b[done - 1], w[done - 1], strict=True)]
            overall = tuple(map(sum, zip(*row, strict=True)))
            p_tasks = statistics.holm([p_of(*counts) for counts in row])
            tests = [*zip(p_tasks, row, strict=True), (p_of(*overall), overall)]
            if any(p <= 0.05 and counts[2] > counts[0] for p, counts in tests):
                yield cells.Verdict.WORSE, TASKS * done
                break
            if is_above_margin(*overall):
                yield cells.Verdict.NOT_WORSE, TASKS * done
                break
        else:
            yield cells.Verdict.UNDERPOWERED, TASKS * EPISODES


def alike(better: float, worse: float) -> np.ndarray:
    return np.tile([better, worse], (TASKS, 1))


@pytest.mark.parametrize("shares", [alike(0.1, 0.1), alike(0.25, 0.25)])
def test_equal_policies_are_called_worse_in_at_most_5_percent_of_2000_comparisons(shares):
    found = [verdict for verdict, _ in simulate(shares, 1)]
    assert found.count(cells.Verdict.WORSE) <= 0.05 * SIMULATED


@pytest.mark.parametrize(
    "shares", [alike(0.0, 0.15), alike(0.1, 0.25), np.array([[0, 0.6], [0.05, 0.05], [0.05, 0.05], [0, 0]])]
)
def test_a_drop_by_the_margin_is_called_not_worse_in_at_most_5_percent(shares):
    found = [verdict for verdict, _ in simulate(shares, 2)]
    assert found.count(cells.Verdict.NOT_WORSE) <= 0.05 * SIMULATED


@pytest.mark.parametrize(("better", "worse"), [(0.0, 0.2), (0.05, 0.25), (0.07, 0.27)])
def test_a_drop_of_20_points_takes_30_percent_fewer_episodes_than_the_fixed_design(better, worse):
    """The last row is that of independent episodes, of which 90 % and 70 % succeed."""
    found = list(simulate(alike(better, worse), 3))
    assert np.mean([pairs for _, pairs in found]) <= 0.7 * TASKS * EPISODES
    assert sum(verdict is cells.Verdict.NOT_WORSE for verdict, _ in found) <= 0.01 * SIMULATED
    assert sum(verdict is cells.Verdict.WORSE for verdict, _ in found) >= 0.7 * SIMULATED


def test_the_simulated_rule_is_the_one_of_runs():
    rng = np.random.default_rng(4)
    for _ in range(40):
        pairs = [(bool(a), bool(b)) for a, b in rng.random((40, 2)) < rng.random(2)]
        cell = cells.sequential("task", pairs)
        counts = (cell.only_candidate, 40 - cell.only_candidate - cell.only_baseline, cell.only_baseline)
        assert cell.p == p_of(*counts)
        assert (cell.low > -MARGIN) == is_above_margin(*counts)
