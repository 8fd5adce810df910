"""`vlm2vla doctor`: what works here, and what to do about the rest."""

from __future__ import annotations

from vlm2vla_sim.cli.diagnostics import Check, examine, to_json
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.policies.models.memory_estimate import ask_model, find_memory


def doctor(*, model: str = "", json: bool = False) -> CommandResult:
    """Try everything the package needs, and say what to install where something is missing.

    Takes some seconds: it draws a picture, runs the twin and writes a video. The exit status is 1 when something is
    missing that nothing works without.

    Args:
        model: Say instead what this model needs, from its config alone: google/gemma-3-4b-it, google/gemma-3-12b-it, or
            the folder of a Gemma 3 model.
        json: Print JSON.
    """
    if model:
        needs = ask_model(model, find_memory())
        return CommandResult(needs.text(), needs.to_json(), json)
    checks = examine()
    usable = all(check.works for check in checks if check.needed)
    verdict = (
        "Everything that is needed works." if usable else "Something that is needed does not work: see FAILS above."
    )
    text = "\n".join([*(_line(check) for check in checks), "", verdict])
    return CommandResult(text, {"usable": usable, "checks": to_json(checks)}, json, code=0 if usable else 1)


def _line(check: Check) -> str:
    state = "ok" if check.works else "FAILS" if check.needed else "absent"
    line = f"{state:>6}  {check.name:<24}  {check.found}"
    return line + (f"\n{'':>34}{check.advice}" if check.advice else "")
