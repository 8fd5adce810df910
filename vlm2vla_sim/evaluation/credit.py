"""What an episode is credited with: its success by four rules, and partial credit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm2vla_sim.types import Outcome

PARTIAL = ("grasped", "consecutive_grasp", "moved_correct_object", "on_target")


def credit(outcome: Outcome, info: Mapping[str, Any], first_success: int | None) -> dict[str, Any]:
    """Success and partial credit as fields of `EpisodeResult`; what is unknown is None.

    Args:
        outcome: of the episode.
        info: of its last step; empty if it never started.
        first_success: number of the first step at which the task was solved, from 1; None for none.
    """
    if outcome is Outcome.UNKNOWN or not info:
        return {}
    goals = info.get("goals")
    ended = outcome in (Outcome.SUCCESS, Outcome.FAILURE)
    succeeded = outcome is Outcome.SUCCESS if ended else None
    return {
        "success_at_end": succeeded,
        # An episode that was stopped early may still have succeeded later.
        "success_once": True if first_success is not None else (False if ended else None),
        "first_success_step": first_success,
        "success_released": _both(succeeded, info["released"]),
        "success_settled": _both(succeeded, info["settled"]),
        **{name: info[name] for name in PARTIAL},
        "upstream_success": info.get("upstream_success") if ended else None,
        "goals_reached": sum(goals) / len(goals) if goals else None,
    }


def _both(succeeded: bool | None, flag: bool | None) -> bool | None:
    return None if succeeded is None or flag is None else succeeded and flag
