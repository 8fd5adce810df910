"""`vlm2vla convert`: a data set as a LeRobot folder."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from vlm2vla_sim.cli.dataset_flags import DatasetFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.exports.lerobot import convert_dataset
from vlm2vla_sim.errors import RunFolderError, SettingError


def convert(
    data: Annotated[Path, tyro.conf.Positional],
    source: DatasetFlags,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    to: Literal["lerobot-v3", "lerobot-v2.1"] = "lerobot-v3",
    limit: int = 0,
    resume: bool = False,
    license_name: Annotated[str, tyro.conf.arg(name="license", metavar="NAME")] = "",
    json: bool = False,
) -> CommandResult:
    """Write a data set as a LeRobot folder, with a data set card: one camera, state, action, instruction, success.

    Version 3 is for lerobot 0.4 and newer, version 2.1 for older ones and for programs that read no newer. States and
    actions are in the convention of this package. Trajectories that cannot be used are skipped and counted.

    Args:
        data: The data set: LeRobot v2 or v3, raw BridgeData V2, or RLDS.
        source: How to read the data set.
        out: Folder to write to, new or empty.
        to: Version of the format.
        limit: Maximum number of trajectories, the first ones; 0 for all.
        resume: Continue an interrupted conversion in --out.
        license_name: The license of the data for the card, as the Hugging Face Hub calls it (cc-by-4.0).
        json: Print one line of JSON.
    """
    if limit < 0:
        raise SettingError(f"limit is {limit}; expected 0 for all trajectories, or more.")
    dataset = open_dataset(data, source.options())
    check_path(out, RunFolderError)
    total = min(len(dataset), limit) if limit else len(dataset)
    with tqdm(total=total, unit="trajectory", disable=None, file=sys.stderr) as bar:
        made = convert_dataset(
            dataset, out, to, limit=limit, resume=resume, license_name=license_name, on_done=lambda: _advance(bar)
        )
    lines = [f"{made.episodes} episodes."]
    lines += [f"Skipped, {reason.rstrip('.')}: {count}" for reason, count in made.skipped.items()]
    lines += [f"Not written: the columns {', '.join(made.left_out)}."] if made.left_out else []
    lines.append(f"Written  {out} ({to})")
    return CommandResult("\n".join(lines), {"folder": str(out), "to": to, **dataclasses.asdict(made)}, json)


def _advance(bar: tqdm) -> None:
    bar.update()
