"""Pairs of one scene are correlated: a comparison does not take ten runs of a scene for ten scenes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vlm2vla_sim.evaluation.comparison.cells import paired
from vlm2vla_sim.evaluation.comparison.statistics import design_effect, mcnemar_exact, sign_flip_exact

PAIRS = [(True, True)] * 5 + [(True, False)] * 6 + [(False, True)] + [(False, False)] * 4


def test_scenes_that_were_run_once_are_tested_as_ever():
    once = paired("all", PAIRS)
    assert once == paired("all", PAIRS, scenes=range(len(PAIRS)))
    assert once.p == mcnemar_exact(6, 1)


@pytest.mark.parametrize("times", [2, 7])
def test_a_scene_that_is_run_again_with_the_same_end_adds_nothing(times):
    once, again = paired("all", PAIRS), paired("all", PAIRS * times, scenes=[*range(len(PAIRS))] * times)
    assert again.p == once.p
    assert again.detectable == once.detectable
    # The variance between scenes has its own small-sample factor; it is capped at the number of runs.
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert paired("all", PAIRS * times).p < once.p


@pytest.mark.parametrize("sums", [[3, -1, 2, 2, 0], [1, 1, 1, -1], [5], [0, 0], [-4, -4, 1, 2, 3, -6]])
def test_the_sign_flip_test_is_that_of_all_flips(sums):
    flips = [
        sum(s * t for s, t in zip(signs, sums, strict=True)) for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    assert sign_flip_exact(sums) == np.mean(np.abs(flips) >= abs(sum(sums)))


def test_equal_policies_are_seldom_called_different():
    """20 scenes in 8 conditions each; what one policy does better in a scene, it does so in most conditions."""
    rng = np.random.default_rng(0)
    wrong = naive = 0
    for _ in range(1000):
        better = rng.choice([-1, 0, 1], size=(20, 1))
        differences = np.where(rng.random((20, 8)) < 0.8, better, 0)
        wrong += sign_flip_exact(differences.sum(axis=1).tolist()) <= 0.05
        naive += mcnemar_exact(int((differences < 0).sum()), int((differences > 0).sum())) <= 0.05
    assert wrong <= 50 + 2 * np.sqrt(1000 * 0.05 * 0.95)
    assert naive > 300


def test_independent_conditions_have_no_design_effect():
    rng = np.random.default_rng(1)
    effects = [
        design_effect([(scene, int(rng.integers(-1, 2))) for scene in range(40) for _ in range(6)]) for _ in range(200)
    ]
    assert 1.0 <= np.mean(effects) < 1.25
    assert design_effect([("a", 1)] * 5) == design_effect([("a", 0)] * 5) == 5.0
