"""Episodes whose number of control steps is not that of their task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vlm2vla_sim.envs.tasks import SUITE_TASKS, TASKS
from vlm2vla_sim.types import EpisodeResult

_OWN = {name: task.max_steps for name, task in {**TASKS, **SUITE_TASKS}.items()}


def other_limits(results: Iterable[EpisodeResult]) -> dict[str, int]:
    """Task -> control steps of its episodes, where they are not the task's own; tasks of your own are not known."""
    return {
        result.task: result.max_steps
        for result in results
        if result.max_steps is not None and result.max_steps != _OWN.get(result.task, result.max_steps)
    }


def limit_lines(limits: Mapping[str, int]) -> list[str]:
    """The sentence below a table of such episodes; none without any."""
    if not limits:
        return []
    told = ", ".join(f"{task} {steps} (its own: {_OWN[task]})" for task, steps in limits.items())
    return [f"Episodes of another length than the task's, which others cannot be compared with: {told}."]
