"""What an episode is credited with, from its outcome and the flags of its last step; unknown is None, never False."""

from __future__ import annotations

import pytest

from vlm2vla_sim.envs.judge import UNKNOWN
from vlm2vla_sim.evaluation.credit import credit
from vlm2vla_sim.types import Outcome

FLAGS = {**dict.fromkeys(UNKNOWN, False), "success": True, "released": True, "settled": True, "on_target": True}


def test_the_four_rules_of_an_episode_that_ended_in_success():
    given = credit(Outcome.SUCCESS, FLAGS, 12)
    assert (given["success_at_end"], given["success_once"], given["first_success_step"]) == (True, True, 12)
    assert (given["success_released"], given["success_settled"]) == (True, True)
    assert (given["on_target"], given["grasped"], given["moved_correct_object"]) == (True, False, False)


@pytest.mark.parametrize(("settled", "expected"), [(True, True), (False, False), (None, None)])
def test_settled_is_unknown_without_contacts(settled, expected):
    assert credit(Outcome.SUCCESS, FLAGS | {"settled": settled}, 12)["success_settled"] is expected


def test_a_failure_is_neither_released_nor_settled_and_may_have_succeeded_before():
    failed = FLAGS | {"success": False, "on_target": False, "released": False, "settled": False}
    given = credit(Outcome.FAILURE, failed, 12)
    assert (given["success_at_end"], given["success_released"], given["success_settled"]) == (False, False, False)
    assert given["success_once"] is True
    assert credit(Outcome.FAILURE, failed, None)["success_once"] is False


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.ABORTED])
def test_what_an_episode_that_broke_off_would_have_come_to_is_unknown(outcome):
    """After a lost link the flags are None, and were written as False: not grasped, not moved."""
    given = credit(outcome, UNKNOWN, None)
    assert given["success_once"] is None
    assert {given[name] for name in ("success_at_end", "success_released", "success_settled")} == {None}
    assert {given[name] for name in ("grasped", "consecutive_grasp", "moved_correct_object", "on_target")} == {None}
    assert credit(outcome, FLAGS | {"grasped": True}, 3) == credit(outcome, FLAGS, 3) | {"grasped": True}
    assert credit(outcome, FLAGS, 3)["success_once"] is True


def test_an_episode_that_never_started_or_that_nobody_judged_has_no_credit():
    assert credit(Outcome.ERROR, {}, None) == {}
    assert credit(Outcome.UNKNOWN, UNKNOWN, None) == {}
