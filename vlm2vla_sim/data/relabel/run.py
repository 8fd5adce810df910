"""Labels a whole data set: reads, checks, labels and writes one trajectory after another, and stops for none of them.

The work is done while the next trajectories are read, a few at a time, so that two cores are used and memory is not.
"""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

from vlm2vla_sim.data.datasets.open import check_pictures
from vlm2vla_sim.data.datasets.source import Skipped, Source
from vlm2vla_sim.data.episode import Labelled, Trajectory
from vlm2vla_sim.data.relabel.labels import LabelFolder, LabelSettings, LabelSummary
from vlm2vla_sim.errors import DataError

Outcome = Labelled | Skipped


def label_source(
    source: Source,
    label: Callable[[Trajectory], Labelled],
    settings: LabelSettings,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 2,
    check: bool = True,
    on_done: Callable[[Outcome], None] | None = None,
) -> LabelSummary:
    """Leave the words of every trajectory of `source` in the folder `out`.

    Args:
        source: the data set.
        label: makes the words; a DataError of its own passes the trajectory over, with its sentence as the reason.
        settings: what is noted down about it; `limit` bounds how many trajectories are looked at.
        out: a folder, new, or with `resume` one that was begun with the same settings.
        resume: go on; what was dealt with is not done again.
        workers: trajectories that are worked on at the same time.
        check: decode every picture once; without it a broken video is found by whoever trains on it.
        on_done: called with every trajectory that was dealt with, in their order.
    """
    folder = LabelFolder(out, settings, resume=resume)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool, closing(_Ending(folder)) as ending:
        waiting: deque[concurrent.futures.Future[Outcome]] = deque()
        todo = (found for found in islice(source, settings.limit or None) if found.name not in folder.done)
        for found in todo:
            waiting.append(pool.submit(_deal_with, found, label, check))
            if len(waiting) > 2 * workers:
                _write(folder, waiting.popleft().result(), on_done)
        while waiting:
            _write(folder, waiting.popleft().result(), on_done)
    return ending.summary


class _Ending:
    """Counts and closes a folder, however the work ended."""

    summary: LabelSummary

    def __init__(self, folder: LabelFolder) -> None:
        self._folder = folder

    def close(self) -> None:
        self.summary = self._folder.close()


def _deal_with(found: Trajectory | Skipped, label: Callable[[Trajectory], Labelled], check: bool) -> Outcome:
    if isinstance(found, Skipped):
        return found
    try:
        if check:
            check_pictures(found)
        return label(found)
    except DataError as error:
        return Skipped(found.name, str(error))


def _write(folder: LabelFolder, outcome: Outcome, on_done: Callable[[Outcome], None] | None) -> None:
    if isinstance(outcome, Skipped):
        folder.skip(outcome)
    else:
        folder.add(outcome)
    if on_done is not None:
        on_done(outcome)
