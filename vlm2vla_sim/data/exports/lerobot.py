"""Writes any data set that this package reads as a LeRobot folder of version 2.1 or 3."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.datasets.lerobot_layout import INFO, EpisodeAnnotation, read_annotations
from vlm2vla_sim.data.datasets.lerobot_read import LeRobotFolder
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.datasets.lerobot_write_v2 import LeRobotV2Writer
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.data.exports.card import front_matter, table, write_card
from vlm2vla_sim.errors import DataError, RunFolderError, unknown_name

VERSIONS = {"lerobot-v2.1": LeRobotV2Writer, "lerobot-v3": LeRobotWriter}
"""By name, as in `vlm2vla convert --to NAME`."""
OUTCOMES = {True: "success", False: "failure", None: "unknown"}


@dataclass(frozen=True)
class Conversion:
    """What was written."""

    episodes: int
    """In the folder, those of an earlier call included."""
    skipped: dict[str, int]
    """Reason -> number of trajectories."""
    left_out: tuple[str, ...]
    """Columns of a LeRobot folder that were not written."""


def convert_dataset(
    dataset: TrajectoryDataset,
    out: Path,
    to: str,
    *,
    limit: int = 0,
    resume: bool = False,
    license_name: str = "",
    on_done: Callable[[], None] | None = None,
) -> Conversion:
    """Write the trajectories of `dataset`, in this package's convention, to the folder `out`.

    One camera, the state, the action and what is known of success are written. A trajectory that does not fit the
    first one (image size, rate, whether success is known) is skipped with the reason. resume: go on in `out`, past the
    episodes that it has. limit: of the data set, the first so many; 0 for all. RunFolderError if `out` is not empty;
    DataError if nothing can be written.
    """
    if to not in VERSIONS:
        raise unknown_name("version of LeRobot's format", to, VERSIONS)
    if out.exists() and any(out.iterdir()) and not (resume and (out / INFO).is_file()):
        raise RunFolderError(f"The folder {out} is not empty. Continue with --resume, or choose another folder.")
    words = _annotations(dataset)
    skipped: Counter[str] = Counter()
    writer: LeRobotWriter | None = None
    first: Trajectory | None = None
    for number, found in enumerate(dataset):
        if limit and number >= limit:
            break
        try:
            if isinstance(found, Skipped):
                raise DataError(found.reason)
            if first is None or writer is None:
                first, writer = found, _open(found, out, to)
            if found.name not in writer.names:
                _check_like(found, first)
                writer.add(found, _annotation(found, words))
        except DataError as error:
            skipped[str(error)] += 1
        if on_done is not None:
            on_done()
    if writer is None or not len(writer):
        raise DataError(f"No trajectory can be written: {next(iter(skipped), 'the data set has none.')}")
    made = Conversion(len(writer), dict(skipped), dataset.unread if isinstance(dataset, LeRobotFolder) else ())
    _write_card(out, to, made, license_name)
    return made


def _open(first: Trajectory, out: Path, to: str) -> LeRobotWriter:
    height, width = first.images[0].shape[:2]
    if height % 2 or width % 2:
        raise DataError(f"Its images are {height} x {width}; videos need even sides.")
    return VERSIONS[to](out, size=(height, width), fps=first.fps, outcomes=first.success is not None)


def _check_like(found: Trajectory, first: Trajectory) -> None:
    """DataError if a trajectory cannot be in one folder with the first one."""
    sizes = found.images[0].shape[:2], first.images[0].shape[:2]
    if sizes[0] != sizes[1] or found.fps != first.fps:
        raise DataError(
            f"Its images are {sizes[0][0]} x {sizes[0][1]} at {found.fps:g} Hz; those of the first trajectory are "
            f"{sizes[1][0]} x {sizes[1][1]} at {first.fps:g} Hz."
        )
    if (found.success is None) != (first.success is None):
        raise DataError(
            "Whether it succeeded is known and of the first trajectory it is not, or the other way round; a column of "
            "LeRobot's format has a value in each row."
        )


def _annotations(dataset: TrajectoryDataset) -> dict[str, EpisodeAnnotation]:
    """Name -> the words of a recording of ours."""
    if not isinstance(dataset, LeRobotFolder):
        return {}
    return {annotation.name: annotation for annotation in read_annotations(dataset.root)}


def _annotation(found: Trajectory, words: Mapping[str, EpisodeAnnotation]) -> EpisodeAnnotation:
    outcome = OUTCOMES[found.success]
    if found.name in words:
        return dataclasses.replace(words[found.name], outcome=outcome, camera=found.camera)
    return EpisodeAnnotation(
        found.name, found.instruction, outcome, instruction_en=found.instruction_en, camera=found.camera
    )


def _write_card(out: Path, to: str, made: Conversion, license_name: str) -> None:
    front = front_matter(
        out.name,
        rows=made.episodes,
        files="data/*/*.parquet",
        license_name=license_name,
        languages=["en"],
        tags=["LeRobot", "vlm2vla", "widowx"],
    )
    front["task_categories"] = ["robotics"]
    facts = {
        "Format": f"LeRobotDataset {to.removeprefix('lerobot-')}",
        "Episodes": made.episodes,
        "action": "dx, dy, dz [m], rotation vector [rad], gripper 0 closed .. 1 open",
        "observation.state": "x, y, z [m], roll, pitch, yaw [rad] from pointing down, gripper 0 closed .. 1 open",
        "License": license_name or "not stated; that of the source applies",
    }
    body = [
        "Demonstrations of a WidowX arm.",
        table(("", ""), facts),
        "Axes: +x forward, +y left, +z up, in the frame of the robot's base. Actions are control steps, which apply to "
        "the controller's previous target.",
    ]
    write_card(out, front, out.name, body)
