"""`vlm2vla tasks`: the names of the tasks, their instructions and lengths."""

from __future__ import annotations

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.envs.tasks import TASKS


def tasks(*, json: bool = False) -> CommandResult:
    """List the tasks: name, instruction, control steps per episode, episodes on SIMPLER's grid, Gymnasium id.

    Args:
        json: Print JSON.
    """
    rows = [("task", "instruction", "steps", "episodes", "Gymnasium id")]
    rows += [(t.name, t.instruction, str(t.max_steps), str(len(t.layouts)), t.env_id) for t in TASKS.values()]
    values = [
        {
            "task": t.name,
            "instruction": t.instruction,
            "steps": t.max_steps,
            "episodes": len(t.layouts),
            "env_id": t.env_id,
            "simpler_id": t.simpler_id,
        }
        for t in TASKS.values()
    ]
    return CommandResult(columns(rows), values, json)
