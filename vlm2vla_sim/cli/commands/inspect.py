"""`vlm2vla inspect`: a page with a data set's pictures, words and paths, for a person to check."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.dataset_flags import DatasetFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.inspect_page import write_page
from vlm2vla_sim.data.relabel.labels import SETTINGS, read_labels
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.errors import DataError, SettingError


def inspect(
    data: Annotated[Path, tyro.conf.Positional],
    source: DatasetFlags,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("inspect.html"),
    episodes: int = 8,
    skip: int = 0,
    json: bool = False,
) -> CommandResult:
    """Write one HTML file with trajectories: their pictures, their words, the drawn path.

    Give a folder that `vlm2vla relabel` wrote, or a data set, which is then labelled by rules on the way.

    Args:
        data: A folder of labels, or a data set.
        source: How the data set is read.
        out: The file to write; it is replaced.
        episodes: Trajectories at most.
        skip: How many to leave out at the beginning.
        json: Print one line of JSON.
    """
    if episodes < 1 or skip < 0:
        raise SettingError(f"episodes is {episodes} and skip {skip}; expected at least 1 and 0.")
    skipped: list[Skipped] = []
    found = read_labels(data) if (data / SETTINGS).is_file() else _label(data, source, skipped)
    # What was passed over is known when the last one is read.
    shown = list(islice(found, skip, skip + episodes))
    if not shown:
        raise DataError(f"There is nothing to show in {data}: {skipped[0].reason if skipped else 'no trajectory'}")
    count = write_page(out, f"{data.name}: {len(shown)} trajectories", shown, skipped)
    values = {"page": str(out), "trajectories": count, "skipped": len(skipped)}
    return CommandResult(f"{count} trajectories, {len(skipped)} passed over. Open {out} in a browser.", values, json)


def _label(data: Path, flags: DatasetFlags, skipped: list[Skipped]) -> Iterator[LabelledTrajectory]:
    for found in open_dataset(data, flags.options()):
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        try:
            yield relabel(found)
        except DataError as error:
            skipped.append(Skipped(found.name, str(error)))
