"""The upper bound on the four tasks, in every format, and the ladder of weaker policies that noise makes of it.

    python benchmarks/widowx_oracle.py                      # the twin: formats, then noise 0 to 4 cm
    python benchmarks/widowx_oracle.py --backend simpler    # the true SIMPLER scenes

The policy reads the object poses: its score says that a task can be done through text, not that anything was learned.
No images are rendered, because it does not use them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import tyro

from vlm2vla_sim.evaluation.results import RunSummary
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite

FORMATS = ("vlm2vla", "prose", "integers")
LADDER = (0.0, 1.0, 2.0, 3.0, 4.0)
"""[cm] standard deviation, in x and in y, of the error with which the policy sees each object."""


def measure(settings: RunSettings, *, workers: int, keep: Path | None) -> RunSummary:
    """The summary of one run without videos; its folder is kept under `keep` if that is given."""
    with tempfile.TemporaryDirectory() as scratch:
        name = f"{settings.backend}-{settings.action_format}-{settings.noise_cm:g}cm"
        out = (keep or Path(scratch)) / name
        resume = (out / "settings.json").exists()
        return run_suite(settings, out=out, video=False, workers=workers, resume=resume).summary


def row(label: str, summary: RunSummary) -> str:
    """One line of the table: k/n of every task, then all with its interval."""
    cells = [f"{task.success_at_end.k}/{task.success_at_end.n}" for task in summary.tasks.values()]
    return " | ".join([f"{label:18}", *(f"{cell:>8}" for cell in cells), str(summary.overall.success_at_end)])


def main(
    *,
    backend: str = "mujoco",
    episodes: int = 24,
    workers: int = 2,
    only: str = "all",
    keep: Path | None = None,
    as_json: bool = False,
) -> None:
    """Print the table.

    Args:
        backend: "mujoco" or "simpler".
        episodes: of every task.
        workers: processes.
        only: "formats", "ladder" or "all".
        keep: a folder that keeps every run; runs found there are continued.
        as_json: print one JSON object as the last line.
    """
    runs = []
    if only in ("all", "formats"):
        runs += [(f"format {name}", RunSettings(action_format=name)) for name in FORMATS]
    if only in ("all", "ladder"):
        runs += [(f"noise {noise:g} cm", RunSettings(noise_cm=noise)) for noise in LADDER]
    report = {}
    heads = [f"{backend:18}", "   spoon", "  carrot", "   stack", "eggplant", "all (95 % Wilson interval)"]
    print(" | ".join(heads), flush=True)
    for label, plan in runs:
        settings = RunSettings(
            backend=backend,
            episodes=episodes,
            action_format=plan.action_format,
            noise_cm=plan.noise_cm,
            image_size=None,
        )
        summary = measure(settings, workers=workers, keep=keep)
        print(row(label, summary), flush=True)
        report[label] = {name: task.success_at_end.to_json() for name, task in summary.tasks.items()}
        report[label]["all"] = summary.overall.success_at_end.to_json()
    if as_json:
        print(json.dumps({"backend": backend, "episodes": episodes, "success_at_end": report}))


if __name__ == "__main__":
    tyro.cli(main)
