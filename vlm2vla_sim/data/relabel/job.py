"""Labelling as work for an executor: what one worker does with one trajectory.

A trajectory is sent as its numbers, with its images as the files that hold them (LeRobot's videos, raw BridgeData) or
as the encoded bytes (RLDS, images in LeRobot's tables), so that data sets without random access are divided like
others. Reading takes about a twentieth of the time that checking the images takes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import check_images
from vlm2vla_sim.data.episode import Agreement, LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.errors import DataError


@dataclass(frozen=True, eq=False)
class LabelItem:
    """One entry of a data set."""

    number: int
    """Among the entries that are processed."""
    found: Trajectory | Skipped


@dataclass(frozen=True)
class Labels:
    """What a worker has found out about a trajectory: its labels, or why it is skipped."""

    number: int
    """Of its item."""
    subtasks: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    skipped: Skipped | None = None
    agreement: Agreement | None = None

    def of(self, found: Trajectory | Skipped) -> LabelledTrajectory | Skipped:
        """The labels with their trajectory, which does not travel back."""
        if self.skipped is not None:
            return self.skipped
        if isinstance(found, Skipped):
            return found
        return LabelledTrajectory(found, self.subtasks, self.phases, self.agreement)


@dataclass(frozen=True)
class LabelJob:
    """Labels trajectories: an `executors.base.Job`."""

    label: Callable[[Trajectory], LabelledTrajectory]
    check: bool
    """Whether every image is decoded once."""
    folder: Path
    """The label set, which the calling process writes."""
    data: Path | None = None
    """The folder of the data set, which every worker must see; None if it is not in one."""
    fresh_for_group = asks_models = False

    def open(self, models: object) -> LabelRunner:
        """See `executors.base.Job.open`."""
        return LabelRunner(self)

    def within(self, folder: Path) -> LabelJob:
        """Workers write no files."""
        return self

    def group(self, item: LabelItem) -> str:
        """Every worker can label every trajectory."""
        return ""

    def broken(self, item: LabelItem, reason: str) -> Labels:
        """A trajectory whose worker died or hung is skipped."""
        return Labels(item.number, skipped=Skipped(item.found.name, f"Labelling it {reason}"))

    def annotated(self, result: Labels, note: str) -> Labels:
        """Labels do not depend on how often they were begun."""
        return result


class LabelRunner:
    """Labels one trajectory after another, or several in threads."""

    def __init__(self, job: LabelJob) -> None:
        self._job = job

    def run(self, item: LabelItem) -> Labels:
        """The labels of a trajectory, or why it is skipped. DataError where the data set is not seen."""
        found, data = item.found, self._job.data
        if data is not None and not data.is_dir():
            # Else every trajectory would be skipped because its images are missing.
            raise DataError(
                f"There is no folder {data} on {socket.gethostname()}, where trajectories of it are to be labelled. "
                "Every node needs the data set under this name."
            )
        if isinstance(found, Skipped):
            return Labels(item.number, skipped=found)
        try:
            if self._job.check:
                check_images(found)
            labelled = self._job.label(found)
        except DataError as error:
            return Labels(item.number, skipped=Skipped(found.name, str(error)))
        return Labels(item.number, labelled.subtasks, labelled.phases, agreement=labelled.agreement)

    def close(self) -> None:
        """Nothing is kept."""
