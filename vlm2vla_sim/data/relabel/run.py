"""Labels a whole data set: this process reads and writes, workers check the images and label.

A trajectory that cannot be labelled is recorded as skipped. Lines are written in the order of the data set, whichever
worker is the faster, and only a few trajectories are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from vlm2vla_sim.core.portable import why_not_portable
from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.job import LabelItem, LabelJob, Labels
from vlm2vla_sim.data.relabel.labels import LabelFolder, LabelSettings, LabelSummary
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.executors.base import Executor, Limits
from vlm2vla_sim.evaluation.executors.local import LocalExecutor

LabelResult = LabelledTrajectory | Skipped
TIMEOUT = 600.0
"""[s] after which the process of a trajectory is stopped; one of 10,000 images takes about a minute."""
PER_PROCESS = 16
"""Trajectories that take about as long as a process takes to start: another one is started for as many only."""
AHEAD = 4
"""How far the reader is ahead of the first trajectory that is not labelled, in trajectories for each worker. At most
twice as many are in memory."""


def label_dataset(
    dataset: TrajectoryDataset,
    label: Callable[[Trajectory], LabelledTrajectory],
    settings: LabelSettings,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 2,
    check: bool = True,
    executor: Executor | None = None,
    on_done: Callable[[LabelResult], None] | None = None,
) -> LabelSummary:
    """Write the labels of every trajectory of `dataset` to the folder `out`.

    Args:
        dataset: the data set, read in this process. Other processes are sent its trajectories.
        label: labels a trajectory; a DataError skips the trajectory, with the error's text as the reason. Other
            processes get a copy of it, so it can be pickled there.
        settings: stored beside the labels; `limit` is the maximum number of trajectories.
        out: a new folder, or with `resume` one that was started with the same settings.
        resume: continue; trajectories that are labelled or skipped already are not processed again.
        workers: maximum number of trajectories processed at the same time.
        check: decode every image once; without it a broken video is found only in training.
        executor: where they are processed; by default in processes of this machine, or in this one if there are only a
            few. A label set may be resumed with another.
        on_done: called with the result of every trajectory, in order.

    A trajectory whose worker dies or hangs is tried once more, then skipped. SettingError for a `label` that cannot be
    pickled; DataError on a node that does not see the data set. An error before the first line leaves no folder.
    """
    executor = executor or LocalExecutor()
    folder = LabelFolder(out, settings, resume=resume)
    try:
        total = min(len(dataset), settings.limit) if settings.limit else len(dataset)
        if isinstance(executor, LocalExecutor):
            workers = max(1, min(workers, (total - len(folder.done)) // PER_PROCESS))
        data = Path(settings.data)
        job = LabelJob(label, check, out, data if data.is_dir() else None)
        if executor.isolates or (isinstance(executor, LocalExecutor) and workers > 1):
            _check_portable(label)
        held: dict[int, Trajectory | Skipped] = {}
        done: dict[int, Labels] = {}
        written = 0
        items = _items(dataset, settings.limit, folder, held)
        with closing(executor.run(job, items, Limits(workers, TIMEOUT, ahead=AHEAD * workers))) as results:
            for labels in results:
                done[labels.number] = labels
                while written in done:
                    _write(folder, done.pop(written).of(held.pop(written)), on_done)
                    written += 1
    except BaseException as error:
        if folder.done or not isinstance(error, Exception):
            folder.close()
        else:
            folder.discard()
        raise
    return folder.close()


def _items(
    dataset: TrajectoryDataset, limit: int, folder: LabelFolder, held: dict[int, Trajectory | Skipped]
) -> Iterator[LabelItem]:
    """The entries that are not in `folder`, numbered; each is put into `held` when it is read."""
    known = set(folder.done)
    number = 0
    for found in islice(dataset, limit or None):
        if found.name not in known:
            known.add(found.name)
            held[number] = found
            yield LabelItem(number, found)
            number += 1


def _check_portable(label: Callable[[Trajectory], LabelledTrajectory]) -> None:
    if error := why_not_portable(label):
        raise SettingError(
            f"{label!r} cannot be sent to other processes: {error}. Define it at the top of a module, or run it in "
            "threads (executor=ThreadExecutor())."
        ) from error


def _write(folder: LabelFolder, result: LabelResult, on_done: Callable[[LabelResult], None] | None) -> None:
    if isinstance(result, Skipped):
        folder.skip(result)
    else:
        folder.add(result)
    if on_done is not None:
        on_done(result)
