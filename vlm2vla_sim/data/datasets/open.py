"""Opens recorded robot data of any supported format as one stream of trajectories in this package's convention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.data.datasets import bridge_raw, lerobot_layout, lerobot_read, rlds
from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.datasets.conventions import find_convention
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, SettingError

FORMATS = ("auto", "lerobot", "bridge_raw", "rlds")


@dataclass(frozen=True)
class DatasetOptions:
    """How to read a data set, where its files do not say."""

    format: str = "auto"
    """One of `FORMATS`."""
    picture: str = ""
    """The camera: a LeRobot column, a bridge_raw folder or an RLDS key; empty for the usual one."""
    state: str = ""
    """LeRobot: the column of states; empty for `lerobot_layout.STATE`."""
    action: str = ""
    """LeRobot: the column of actions; empty for `lerobot_layout.ACTION`."""
    convention: str = ""
    """One of `conventions.CONVENTIONS`, or "package.module:NAME"; empty for the one that the files imply."""
    split: str = "train"
    """RLDS: the split."""


def open_dataset(root: Path, options: DatasetOptions | None = None) -> TrajectoryDataset:
    """Open the data set in the folder `root`.

    DataError for a folder that holds no known data set; SettingError for an option that the format does not have;
    UnknownNameError or ExtensionError for a convention that cannot be found.
    """
    options = options or DatasetOptions()
    if options.format not in FORMATS:
        raise SettingError(f"The data set format is {options.format!r}; expected one of {', '.join(FORMATS)}.")
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; expected a data set.")
    kind = _find_format(root) if options.format == "auto" else options.format
    # The last part of "." is no name, and a process on another machine has another working directory.
    root = root.absolute()
    _check_options(kind, options)
    if options.convention:
        find_convention(options.convention)
    if kind == "lerobot":
        columns = lerobot_read.Columns(
            image=options.picture,
            state=options.state or lerobot_layout.STATE,
            action=options.action or lerobot_layout.ACTION,
            convention=options.convention,
        )
        return lerobot_read.LeRobotFolder(root, columns)
    if kind == "rlds":
        return rlds.RldsFolder(root, split=options.split, camera=options.picture, convention=options.convention)
    return bridge_raw.BridgeRaw(root, camera=options.picture or "images0")


def read_trajectories(dataset: TrajectoryDataset) -> Iterator[Trajectory]:
    """The usable trajectories of a data set, for callers that do not report skipped ones."""
    return (found for found in dataset if not isinstance(found, Skipped))


def check_images(trajectory: Trajectory) -> None:
    """Decode every image once without keeping it; DataError when one is missing or broken."""
    check = getattr(trajectory.images, "check", None)
    if check is not None:
        check()
        return
    for index in range(len(trajectory)):
        trajectory.images[index]


def _check_options(kind: str, options: DatasetOptions) -> None:
    """SettingError for an option that a data set of this kind does not have."""
    belongs = {"state": "lerobot", "action": "lerobot", "split": "rlds"}
    for name, owner in belongs.items():
        if getattr(options, name) != getattr(DatasetOptions(), name) and kind != owner:
            raise SettingError(
                f"{name} is {getattr(options, name)!r}, but the data set is in the format {kind}; only {owner} data "
                f"sets have this option. Leave it out (--{name})."
            )
    if kind == "bridge_raw" and options.convention not in ("", "bridge"):
        raise SettingError(
            f"The convention is {options.convention!r}, but raw BridgeData folders are always in the convention "
            "'bridge'. Leave it out (--convention)."
        )


def _find_format(root: Path) -> str:
    if (root / lerobot_layout.INFO).is_file():
        return "lerobot"
    if (root / "dataset_info.json").is_file():
        return "rlds"
    if bridge_raw.is_bridge_raw(root):
        return "bridge_raw"
    expected = (
        f"a data set: LeRobot v2 or v3 ({lerobot_layout.INFO}), RLDS (dataset_info.json), or raw BridgeData V2 ("
        f"folders with {bridge_raw.OBSERVATIONS})"
    )
    raise DataError(wrong_folder(root, expected))
