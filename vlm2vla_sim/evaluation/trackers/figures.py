"""What the trackers of an evaluation are told: of each episode, and at the end."""

from __future__ import annotations

from typing import Any

from vlm2vla_sim.evaluation.progress import RunProgress
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.evaluation.results import RunSummary
from vlm2vla_sim.types import EpisodeResult, Outcome

FINAL = ("success_at_end", "success_once", "success_released", "success_settled", "grasped")
"""The rates of a summary that a tracker is given at the end."""


def episode_values(result: EpisodeResult, progress: RunProgress) -> dict[str, float]:
    """What a tracker is told of an episode, and of the run so far; what is not known is left out."""
    values: dict[str, float | None] = {
        "episode/seconds": result.seconds,
        "episode/steps": result.steps,
        "episode/decisions": len(result.decisions),
        "episode/parse_failures": result.parse_failures,
        "run/errors": progress.errors,
        "run/seconds_left": progress.seconds_left(),
    }
    if result.outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        values["episode/success"] = result.outcome is Outcome.SUCCESS
    values |= _rate("run/success", progress.rate())
    values |= _rate(f"task/{result.task}/success", progress.rate(result.task))
    values |= {f"episode/metrics/{name}": value for name, value in result.metrics.items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def final_values(summary: RunSummary) -> dict[str, float]:
    """What a tracker is told at the end: the rates of `FINAL`, of the whole run and of each task."""
    values: dict[str, float | None] = {}
    parts = {"overall": summary.overall, **{f"task/{name}": part for name, part in summary.tasks.items()}}
    for name, part in parts.items():
        for rate in FINAL:
            values |= _rate(f"final/{name}/{rate}", getattr(part, rate))
    return {name: value for name, value in values.items() if value is not None}


def _rate(name: str, rate: Rate) -> dict[str, float | None]:
    plain: dict[str, Any] = rate.to_json()
    return {f"{name}_rate": plain["rate"], f"{name}_low": plain["low"], f"{name}_high": plain["high"]}
