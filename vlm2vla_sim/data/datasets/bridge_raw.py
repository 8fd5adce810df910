"""Reads BridgeData V2 as it was collected: folders with JPEGs, and pickles that are read without being run.

A pickle from the internet is a program. Here its data is taken out by an interpreter that knows nothing but data
(`pickle_reader`); whatever asks for more is passed over, with a sentence that says what it asked for.

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
from vlm2vla_sim.data.datasets.conventions import convert
from vlm2vla_sim.data.datasets.source import Skipped
from vlm2vla_sim.data.datasets.stored_images import PictureFiles
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, WireError

FPS = 5.0
OBSERVATIONS, ACTIONS, WORDS = "obs_dict.pkl", "policy_out.pkl", "lang.txt"
MAX_PICKLE = 64 * 2**20
"""[bytes] a trajectory's numbers take some hundred kilobytes."""
NO_DELAY_SINCE = datetime.datetime(2021, 7, 23)
"""Before, the camera was one step late: bridgedata_raw_to_numpy.py:149-151."""


class BridgeRaw:
    """A folder with `traj*` folders somewhere below it, as a `Source`."""

    kind = "bridge_raw"

    def __init__(self, root: Path, *, camera: str = "images0") -> None:
        """camera: which of a trajectory's folders of pictures is looked at."""
        self.root, self._camera = root, camera
        self._folders = sorted(_trajectory_folders(root))
        if not self._folders:
            raise DataError(f"There is no trajectory below {root}: no folder with {OBSERVATIONS} or {ACTIONS}.")

    def __len__(self) -> int:
        return len(self._folders)

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """See `Source`."""
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
            raise DataError(f"It has {len(states)} states and {len(actions)} actions; expected one action less.")
        if not (folder / self._camera).is_dir():
            found = sorted(path.name for path in folder.glob("images*"))
            raise DataError(f"The camera {self._camera!r} is missing; there are: {', '.join(found) or 'none'}.")
        pictures = sum(1 for path in (folder / self._camera).iterdir() if re.fullmatch(r"im_\d+\.jpg", path.name))
        if pictures != len(states):
            raise DataError(f"It has {pictures} pictures in {self._camera} and {len(states)} states; expected as many.")
        if len(actions) < len(states):
            # The last picture shows how it ended; there the arm stands still.
            hold = np.concatenate([np.zeros(6), actions[-1:, 6] if len(actions) else [1.0]])
            actions = np.concatenate([actions, hold[None]])
        first = int(_was_late(folder))
        states, actions = convert(states[first:], actions[: len(actions) - first], "bridge")
        files = PictureFiles(folder / self._camera, len(states), first=first)
        return Trajectory(name, _instruction(folder), FPS, files, states, actions)


def is_bridge_raw(root: Path) -> bool:
    """Whether there is a trajectory of this kind below `root`."""
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
    """(T, 7) float64: x, y, z, roll, pitch, yaw, the gripper servo's reading."""
    states = observations.get("full_state") if isinstance(observations, dict) else None
    if states is None:
        raise DataError(f"{OBSERVATIONS} has no 'full_state'; expected (T, 7) numbers.")
    return _numbers(states, OBSERVATIONS)


def _actions(steps: Any) -> np.ndarray:
    """(T - 1, 7) float64."""
    if not isinstance(steps, (list, tuple)):
        raise DataError(f"{ACTIONS} holds a {type(steps).__name__}; expected a list with an action for every step.")
    rows = [step.get("actions") if isinstance(step, dict) else step for step in steps]
    return _numbers(rows, ACTIONS) if rows else np.zeros((0, 7))


def _numbers(values: Any, name: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds something else than rows of numbers ({error}).") from error
    if array.ndim != 2 or array.shape[1] != 7:
        raise DataError(f"{name} holds numbers of shape {array.shape}; expected (T, 7).")
    return array


def _instruction(folder: Path) -> str:
    """The first line of lang.txt; the ones after it are other people's, and how sure they were."""
    path = folder / WORDS
    if not path.is_file():
        return ""
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()


def _was_late(folder: Path) -> bool:
    for part in folder.parts:
        try:
            return datetime.datetime.strptime(part, "%Y-%m-%d_%H-%M-%S") < NO_DELAY_SINCE
        except ValueError:
            continue
    return False
