"""`vlm2vla inspect`: an HTML page with the images, labels and paths of a data set, for checking labels by eye."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.dataset_flags import DatasetFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.inspect_page import write_page
from vlm2vla_sim.data.relabel.labels import LABELS, read_labels
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.errors import DataError, RunFolderError, SettingError


def inspect(
    data: Annotated[Path, tyro.conf.Positional],
    source: DatasetFlags,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("inspect.html"),
    episodes: int = 8,
    skip: int = 0,
    json: bool = False,
) -> CommandResult:
    """Write an HTML page with trajectories: their images, labels and paths.

    The input is a label set written by `vlm2vla relabel`, or a data set, which is labelled by rules for the page.

    Args:
        data: A label set, or a data set.
        source: How to read the data set.
        out: The HTML file to write; an existing file is replaced.
        episodes: Maximum number of trajectories.
        skip: Number of trajectories to skip at the beginning.
        json: Print one line of JSON.
    """
    if episodes < 1 or skip < 0:
        raise SettingError(f"episodes is {episodes} and skip {skip}; expected at least 1 and 0.")
    check_path(out, RunFolderError, flag="--out FILE", room=0, beside=".new")
    skipped: list[Skipped] = []
    if (data / LABELS).is_file():
        source.check_default(f"{data} is a label set, which records how its data set is read")
        found = read_labels(data)
    else:
        found = _label(data, source, skipped)
    # `skipped` is complete only after the last trajectory is read.
    shown = list(islice(found, skip, skip + episodes))
    if not shown:
        raise DataError(f"{data} has no trajectory to show: {skipped[0].reason if skipped else 'it contains none.'}")
    count = write_page(out, f"{data.name}: {len(shown)} trajectories", shown, skipped)
    values = {"page": str(out), "trajectories": count, "skipped": len(skipped)}
    return CommandResult(f"{count} trajectories, {len(skipped)} skipped. Open {out} in a browser.", values, json)


def _label(data: Path, flags: DatasetFlags, skipped: list[Skipped]) -> Iterator[LabelledTrajectory]:
    for found in open_dataset(data, flags.options()):
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        try:
            yield relabel(found)
        except DataError as error:
            skipped.append(Skipped(found.name, str(error)))
