"""The recipe of the base: three parts, and a learning rate that follows them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vlm2vla_sim.mini.training.recipe import Recipe

RECIPE = Recipe(looks=40, updates=60, settles=20, warmup=10)


def test_it_looks_then_speaks_then_settles() -> None:
    kinds = [(RECIPE.speaks(update), RECIPE.is_settling(update)) for update in range(RECIPE.total)]
    assert kinds == [(False, False)] * 40 + [(True, False)] * 60 + [(True, True)] * 20


def test_the_rate_rises_once_at_the_start_and_once_when_it_settles() -> None:
    rates = [RECIPE.rate_at(update) for update in range(RECIPE.total)]
    assert rates[10:58] == [RECIPE.rate] * 48, "full while it looks and in the first part of speaking"
    assert all(left < right for left, right in pairwise(rates[:10]))
    assert all(left >= right for left, right in pairwise(rates[10:100]))
    assert rates[99] < 0.01 * RECIPE.rate
    assert max(rates[100:]) == pytest.approx(RECIPE.settled_rate)
    assert rates[100] < 0.2 * RECIPE.settled_rate
    assert rates[-1] < 0.05 * RECIPE.settled_rate
    assert min(rates) > 0
