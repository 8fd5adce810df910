"""`vlm2vla inspect`: an HTML page about a labelled data set, for checking labels by eye."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from vlm2vla_sim.cli.dataset_flags import DatasetFlags
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.inspect_page.page import write_page
from vlm2vla_sim.data.inspect_page.survey import survey
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
    limit: int = 0,
    json: bool = False,
) -> CommandResult:
    """Write an HTML page about a data set: distributions, unusual trajectories, and images with labels and paths.

    The input is a label set written by `vlm2vla relabel`, or a data set, which is labelled by rules for the page. All
    of it is measured. The page shows the trajectories for which the labels of a model differ the most from those of the
    rules, the 20 most unusual ones, and --episodes others.

    Args:
        data: A label set, or a data set.
        source: How to read the data set.
        out: The HTML file to write; an existing file is replaced.
        episodes: Maximum number of further trajectories to show.
        skip: Number of trajectories to skip at the beginning.
        limit: Maximum number of trajectories to measure and show; 0 for all.
        json: Print one line of JSON.
    """
    if episodes < 1 or skip < 0 or limit < 0:
        raise SettingError(f"episodes is {episodes}, skip {skip} and limit {limit}; expected at least 1, 0 and 0.")
    check_path(out, RunFolderError, flag="--out FILE", room=0, beside=".new")
    found = _Labelled(data, source, skip, limit)
    measured = survey(found)
    skipped = list(found.skipped)
    if not measured.entries:
        raise DataError(f"{data} has no trajectory to show: {skipped[0].reason if skipped else 'it contains none.'}")
    title = f"{data.name}: {len(measured.entries)} trajectories"
    count = write_page(out, title, found, skipped, survey=measured, most=episodes)
    total = len(measured.entries)
    values = {"page": str(out), "trajectories": count, "skipped": len(skipped), "measured": total}
    text = f"{total} trajectories, {count} shown, {len(skipped)} skipped. Open {out} in a browser."
    return CommandResult(text, values, json)


class _Labelled:
    """The labelled trajectories of a data set or a label set; each iteration reads them from the files."""

    def __init__(self, data: Path, flags: DatasetFlags, skip: int, limit: int) -> None:
        self._data, self._flags, self._skip, self._limit = data, flags, skip, limit
        self._is_label_set = (data / LABELS).is_file()
        self.skipped: list[Skipped] = []
        """Those that cannot be used, complete after the last trajectory is read."""
        if self._is_label_set:
            flags.check_default(f"{data} is a label set, which records how its data set is read")

    def __iter__(self) -> Iterator[LabelledTrajectory]:
        self.skipped = []
        found = read_labels(self._data) if self._is_label_set else self._label()
        chosen = islice(found, self._skip, self._skip + self._limit if self._limit else None)
        yield from tqdm(chosen, unit="trajectory", disable=None, file=sys.stderr, leave=False)

    def _label(self) -> Iterator[LabelledTrajectory]:
        for found in open_dataset(self._data, self._flags.options()):
            if isinstance(found, Skipped):
                self.skipped.append(found)
                continue
            try:
                yield relabel(found)
            except DataError as error:
                self.skipped.append(Skipped(found.name, str(error)))
