"""`vlm2vla doctor`: checks the installation and says how to fix what does not work."""

from __future__ import annotations

from pathlib import Path

from vlm2vla_sim.cli.diagnostics import examine
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.checks import all_work, format_checks, to_json
from vlm2vla_sim.policies.models.memory_estimate import (
    Memory,
    MemoryEstimate,
    estimate_model,
    find_memory,
    model_family,
)


def doctor(*, model: str = "", json: bool = False) -> CommandResult:
    """Check the packages, rendering, the MuJoCo twin and video encoding, and say what to install.

    It takes some seconds, because it renders an image, runs the twin and writes a video. The exit status is 1 if
    something required does not work.

    Args:
        model: Instead, estimate the memory that a model needs, from its config: google/gemma-3-4b-it,
            google/gemma-3-12b-it, or the folder of a model.
        json: Print JSON.
    """
    if model:
        needs = _estimate(model, find_memory())
        return CommandResult(needs.text(), needs.to_json(), json)
    checks = examine()
    usable = all_work(checks)
    verdict = "Everything required works." if usable else "Something required does not work; see the lines with FAILS."
    text = f"{format_checks(checks)}\n\n{verdict}"
    return CommandResult(text, {"usable": usable, "checks": to_json(checks)}, json, code=0 if usable else 1)


def _estimate(model: str, memory: Memory) -> MemoryEstimate:
    if model_family(model) == "gemma3":
        return estimate_model(model, memory)
    from vlm2vla_sim.policies.models.meta_estimate import estimate_family  # it imports torch

    return estimate_family(Path(model), memory)
