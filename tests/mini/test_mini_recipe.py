"""The pretraining recipe: three phases, and the learning rate of each."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vlm2vla_sim.mini.training.recipe import PretrainingRecipe

RECIPE = PretrainingRecipe(vision_updates=40, qa_updates=60, annealing_updates=20, warmup=10)


def test_vision_then_questions_then_annealing() -> None:
    kinds = [(RECIPE.has_answers(update), RECIPE.is_annealing(update)) for update in range(RECIPE.total)]
    assert kinds == [(False, False)] * 40 + [(True, False)] * 60 + [(True, True)] * 20


def test_the_rate_rises_at_the_start_and_at_the_start_of_annealing() -> None:
    rates = [RECIPE.learning_rate_at(update) for update in range(RECIPE.total)]
    assert rates[10:58] == [RECIPE.learning_rate] * 48, "constant in the vision phase and in the first part of the next"
    assert all(left < right for left, right in pairwise(rates[:10]))
    assert all(left >= right for left, right in pairwise(rates[10:100]))
    assert rates[99] < 0.01 * RECIPE.learning_rate
    assert max(rates[100:]) == pytest.approx(RECIPE.annealing_learning_rate)
    assert rates[100] < 0.2 * RECIPE.annealing_learning_rate
    assert rates[-1] < 0.05 * RECIPE.annealing_learning_rate
    assert min(rates) > 0
