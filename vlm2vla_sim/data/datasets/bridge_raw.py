"""Reads raw BridgeData V2: folders with JPEGs, and pickles that are parsed without executing them.

Unpickling a downloaded file can run arbitrary code. `core.pickle_reader` extracts plain data only; a file that needs
anything else is skipped, and the reason says what it asked for.

Layout: rail-berkeley/bridge_data_v2@69f5bcf data_processing/bridgedata_raw_to_numpy.py.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core import pickle_reader
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.conventions import convert
from vlm2vla_sim.data.datasets.stored_images import ImageFiles
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, WireError

FPS = 5.0
OBSERVATIONS, ACTIONS, LANGUAGE = "obs_dict.pkl", "policy_out.pkl", "lang.txt"
MAX_PICKLE = 64 * 2**20
"""[bytes] size limit; the arrays of a trajectory take a few hundred kilobytes."""
NO_DELAY_SINCE = datetime.datetime(2021, 7, 23)
"""Before this date the camera lags by one step: bridgedata_raw_to_numpy.py:149-151."""


class BridgeRaw:
    """A folder with trajectory folders at any depth, as a `TrajectoryDataset`."""

    kind = "bridge_raw"

    def __init__(self, root: Path, *, camera: str = "images0") -> None:
        """camera: which of a trajectory's image folders to use. DataError when there is no trajectory below `root`."""
        self.root, self._camera = root, camera
        self._folders = sorted(_trajectory_folders(root))
        if not self._folders:
            raise DataError(f"There is no trajectory below {root}: no folder with {OBSERVATIONS} or {ACTIONS}.")

    def __len__(self) -> int:
        return len(self._folders)

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """See `TrajectoryDataset`."""
        for folder in self._folders:
            name = folder.relative_to(self.root).as_posix() if folder != self.root else folder.name
            try:
                yield self._read(folder, name)
            except (DataError, ValueError, OSError) as error:
                yield Skipped(name, str(error))

    def _read(self, folder: Path, name: str) -> Trajectory:
        states = _states(_read_pickle(folder / OBSERVATIONS))
        actions = _actions(_read_pickle(folder / ACTIONS))
        if len(actions) not in (len(states) - 1, len(states)):
            raise DataError(f"It has {len(states)} states and {len(actions)} actions; expected one action fewer.")
        if not (folder / self._camera).is_dir():
            found = sorted(path.name for path in folder.glob("images*"))
            raise DataError(f"The camera {self._camera!r} is missing; available: {', '.join(found) or 'none'}.")
        images = sum(1 for path in (folder / self._camera).iterdir() if re.fullmatch(r"im_\d+\.jpg", path.name))
        if images != len(states):
            raise DataError(
                f"It has {images} images in {self._camera} and {len(states)} states; expected equal counts."
            )
        if len(actions) < len(states):
            # The last image shows the end of the episode, where the arm stands still.
            hold = np.concatenate([np.zeros(6), actions[-1:, 6] if len(actions) else [1.0]])
            actions = np.concatenate([actions, hold[None]])
        first = int(_has_camera_delay(folder))
        states, actions = convert(states[first:], actions[: len(actions) - first], "bridge")
        files = ImageFiles(folder / self._camera, len(states), first=first)
        return Trajectory(name, _instruction(folder), FPS, files, states, actions)


def is_bridge_raw(root: Path) -> bool:
    """Whether `root` contains a raw BridgeData trajectory at any depth."""
    return next(_trajectory_folders(root), None) is not None


def _trajectory_folders(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        if OBSERVATIONS in files or ACTIONS in files:
            subfolders.clear()
            yield Path(folder)


def _read_pickle(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path.name} is missing.")
    if path.stat().st_size > MAX_PICKLE:
        raise DataError(f"{path.name} has {path.stat().st_size:,} bytes; at most {MAX_PICKLE:,} are read.")
    try:
        return pickle_reader.read(path.read_bytes())
    except WireError as error:
        raise DataError(f"{path.name} was not read: {error}") from error


def _states(observations: Any) -> np.ndarray:
    """(T, 7) float64: x, y, z, roll, pitch, yaw, gripper servo reading."""
    states = observations.get("full_state") if isinstance(observations, dict) else None
    if states is None:
        raise DataError(f"{OBSERVATIONS} has no 'full_state'; expected an array of shape (T, 7).")
    return _float_rows(states, OBSERVATIONS)


def _actions(steps: Any) -> np.ndarray:
    """(T - 1, 7) float64."""
    if not isinstance(steps, (list, tuple)):
        raise DataError(f"{ACTIONS} contains a {type(steps).__name__}; expected a list with one action per step.")
    rows = [step.get("actions") if isinstance(step, dict) else step for step in steps]
    return _float_rows(rows, ACTIONS) if rows else np.zeros((0, 7))


def _float_rows(values: Any, name: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} does not contain rows of numbers ({error}).") from error
    if array.ndim != 2 or array.shape[1] != 7:
        raise DataError(f"{name} contains an array of shape {array.shape}; expected (T, 7).")
    return array


def _instruction(folder: Path) -> str:
    """The first line of lang.txt; further lines hold other annotators' texts and confidence values."""
    path = folder / LANGUAGE
    if not path.is_file():
        return ""
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()


def _has_camera_delay(folder: Path) -> bool:
    """Whether a parent folder's date is before `NO_DELAY_SINCE`."""
    for part in folder.parts:
        try:
            return datetime.datetime.strptime(part, "%Y-%m-%d_%H-%M-%S") < NO_DELAY_SINCE
        except ValueError:
            continue
    return False
