"""Labels a whole data set: reads, checks, labels and writes one trajectory after another.

A trajectory that cannot be labelled is recorded as skipped. A few trajectories are processed at a time while the next
ones are read, which keeps two cores busy and memory bounded.
"""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.datasets.open import check_images
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.labels import LabelFolder, LabelSettings, LabelSummary
from vlm2vla_sim.errors import DataError

LabelResult = LabelledTrajectory | Skipped


def label_dataset(
    dataset: TrajectoryDataset,
    label: Callable[[Trajectory], LabelledTrajectory],
    settings: LabelSettings,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 2,
    check: bool = True,
    on_done: Callable[[LabelResult], None] | None = None,
) -> LabelSummary:
    """Write the labels of every trajectory of `dataset` to the folder `out`.

    Args:
        dataset: the data set.
        label: labels a trajectory; a DataError skips the trajectory, with the error's text as the reason.
        settings: stored beside the labels; `limit` is the maximum number of trajectories.
        out: a new folder, or with `resume` one that was started with the same settings.
        resume: continue; trajectories that are labelled or skipped already are not processed again.
        workers: number of trajectories processed at the same time.
        check: decode every image once; without it a broken video is found only in training.
        on_done: called with the result of every trajectory, in order.
    """
    folder = LabelFolder(out, settings, resume=resume)
    try:
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            waiting: deque[concurrent.futures.Future[LabelResult]] = deque()
            for found in islice(dataset, settings.limit or None):
                if found.name in folder.done:
                    continue
                waiting.append(pool.submit(_label_one, found, label, check))
                if len(waiting) > 2 * workers:
                    _write(folder, waiting.popleft().result(), on_done)
            while waiting:
                _write(folder, waiting.popleft().result(), on_done)
    finally:
        summary = folder.close()
    return summary


def _label_one(
    found: Trajectory | Skipped, label: Callable[[Trajectory], LabelledTrajectory], check: bool
) -> LabelResult:
    if isinstance(found, Skipped):
        return found
    try:
        if check:
            check_images(found)
        return label(found)
    except DataError as error:
        return Skipped(found.name, str(error))


def _write(folder: LabelFolder, result: LabelResult, on_done: Callable[[LabelResult], None] | None) -> None:
    if isinstance(result, Skipped):
        folder.skip(result)
    else:
        folder.add(result)
    if on_done is not None:
        on_done(result)
