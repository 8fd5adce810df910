"""`vlm2vla zero-shot-examples`: few-shot examples for a zero-shot model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.flags import read_options
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import all_tasks, check_settings
from vlm2vla_sim.evaluation.zero_shot_examples import record_examples


def zero_shot_examples(
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="all|NAME...")] = ("all",),
    episodes: int = 1,
    decisions: int = 3,
    seed: int = 0,
    backend: str = "mujoco",
    backend_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = (),
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (480, 640),
    json: bool = False,
) -> CommandResult:
    """Record decisions of the scripted policy, each a picture with the answer that was right for it.

    They are shown in every prompt of `--policy vlm --zero-shot --policy-options examples=DIR`, those of the task's
    scene. The objects lie at random, so that none of SIMPLER's own episodes is shown. Episodes that fail are left out.

    Args:
        out: Folder of the examples, new or empty.
        tasks: "all", or one or more names (see `vlm2vla tasks`).
        episodes: Number of episodes per task.
        decisions: The most decisions that are kept of an episode, spread over it.
        seed: Seed for the layouts.
        backend: The simulator: mujoco or simpler.
        backend_options: Options of this backend, as in the run that uses the examples.
        image_size: Size of the camera image, in pixels, as in that run.
        json: Print one line of JSON.
    """
    settings = RunSettings(
        tasks=all_tasks() if tasks == ("all",) else tasks,
        episodes=episodes,
        backend=backend,
        layouts="random",
        seed=seed,
        image_size=image_size,
        backend_options=read_options(backend_options),
    )
    written, failed = record_examples(check_settings(settings), out, decisions=decisions)
    text = f"Examples  {out} ({written} decisions; {failed} episodes failed and were left out)"
    return CommandResult(text, {"folder": str(out), "examples": written, "failed": failed}, json)
