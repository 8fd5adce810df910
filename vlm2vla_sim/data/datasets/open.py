"""Opens recorded robot data of any kind we know, as one stream of trajectories in this project's convention.

Without it every tool would ask which format it is given, and each would convert a little differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.data.datasets import bridge_raw, lerobot_layout, lerobot_read, rlds
from vlm2vla_sim.data.datasets.source import Skipped, Source
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, SettingError

FORMATS = ("auto", "lerobot", "bridge_raw", "rlds")


@dataclass(frozen=True)
class SourceOptions:
    """How a data set is to be read, where it does not say so itself."""

    format: str = "auto"
    """One of `FORMATS`."""
    picture: str = ""
    """The camera: a column, or for bridge_raw a folder, or for rlds a key; empty: the usual one."""
    state: str = ""
    """LeRobot: the column of states."""
    action: str = ""
    """LeRobot: the column of actions."""
    convention: str = ""
    """As in `conventions.CONVENTIONS`; empty: what the data set says, or its kind always has."""
    split: str = "train"
    """RLDS."""


def open_source(root: Path, options: SourceOptions | None = None) -> Source:
    """The data set in the folder `root`; DataError when it is none, in a sentence that says what was looked for."""
    options = options or SourceOptions()
    if options.format not in FORMATS:
        raise SettingError(f"The format is {options.format!r}; expected one of {', '.join(FORMATS)}.")
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.")
    kind = _find_kind(root) if options.format == "auto" else options.format
    if kind == "lerobot":
        names = lerobot_read.Columns(
            picture=options.picture,
            state=options.state or lerobot_layout.STATE,
            action=options.action or lerobot_layout.ACTION,
            convention=options.convention,
        )
        return lerobot_read.LeRobotFolder(root, names)
    if kind == "rlds":
        convention = options.convention or "bridge"
        return rlds.RldsFolder(root, split=options.split, camera=options.picture or "image_0", convention=convention)
    if options.convention not in ("", "bridge"):
        raise SettingError(f"BridgeData's raw folders are in the convention 'bridge', not {options.convention!r}.")
    return bridge_raw.BridgeRaw(root, camera=options.picture or "images0")


def read_trajectories(source: Source) -> Iterator[Trajectory]:
    """The trajectories that can be used, for callers that do not want to know about the others."""
    return (found for found in source if not isinstance(found, Skipped))


def check_pictures(trajectory: Trajectory) -> None:
    """Decode every picture once and keep none; DataError when one is missing or broken."""
    check = getattr(trajectory.pictures, "check", None)
    if check is not None:
        check()
        return
    for index in range(len(trajectory)):
        trajectory.pictures[index]


def _find_kind(root: Path) -> str:
    if (root / lerobot_layout.INFO).is_file():
        return "lerobot"
    if (root / "dataset_info.json").is_file():
        return "rlds"
    if bridge_raw.is_bridge_raw(root):
        return "bridge_raw"
    raise DataError(
        f"{root} is no data set that we know. Looked for {lerobot_layout.INFO} (LeRobot v3), dataset_info.json (RLDS), "
        f"and folders with {bridge_raw.OBSERVATIONS} (BridgeData V2 as it was collected)."
    )
