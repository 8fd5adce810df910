"""A person's verdict overrules the simulator's, and what depends on success follows it."""

from __future__ import annotations

import pytest

from vlm2vla_sim.evaluation.operator.episode_log import apply_label
from vlm2vla_sim.evaluation.operator.prompts import Label
from vlm2vla_sim.types import EpisodeResult, Outcome


def measured(success: bool | None, stricter: bool | None) -> EpisodeResult:
    outcome = {True: Outcome.SUCCESS, False: Outcome.FAILURE, None: Outcome.UNKNOWN}[success]
    return EpisodeResult(
        "carrot_on_plate", 0, 0, "mujoco", "twin", "hold", "", "grid", "put carrot on plate", outcome,
        success_at_end=success, success_released=stricter, success_settled=stricter,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("word", "success", "stricter", "expected"),
    [
        ("success", True, True, True),
        ("success", True, False, False),
        ("success", False, False, None),
        ("failure", True, True, False),
        ("failure", False, False, False),
        ("success", None, None, None),
        ("failure", None, None, None),
    ],
)
def test_a_success_that_a_person_denies_is_not_released_or_settled_either(word, success, stricter, expected):
    result = apply_label(measured(success, stricter), Label(word, 0.0), known=success is not None)
    assert result.success_at_end is (word == "success")
    assert result.success_released is expected
    assert result.success_settled is expected


def test_an_automatic_label_leaves_what_was_measured():
    result = measured(True, False)
    assert apply_label(result, Label("success", 100.0, automatic=True), known=True) is result
