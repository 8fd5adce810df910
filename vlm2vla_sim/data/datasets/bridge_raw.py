"""Reads raw BridgeData V2: folders with JPEGs, and pickles that are parsed without executing them.

Unpickling a downloaded file can run arbitrary code. `core.pickle_opaque` extracts plain data only. A trajectory whose
states or actions are anything else is skipped, and the reason says what they asked for; other entries may be anything.

Layout, .../2022-01-01_00-00-00/raw/traj_group0/traj0: rail-berkeley/bridge_data_v2@69f5bcf
data_processing/bridgedata_raw_to_numpy.py. What is in it: rail-berkeley/bridge_data_robot@a902e5b utils/raw_saver.py.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core.pickle_opaque import Opaque, read_with_opaque
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.conventions import commanded, convert, hold
from vlm2vla_sim.data.datasets.rows import number_rows
from vlm2vla_sim.data.datasets.stored_images import ImageFiles, refuse_absent
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, WireError

FPS = 5.0
OBSERVATIONS, ACTIONS, LANGUAGE = "obs_dict.pkl", "policy_out.pkl", "lang.txt"
MAX_PICKLE = 64 * 2**20
"""[bytes] size limit; the arrays of a trajectory take a few hundred kilobytes."""
NO_DELAY_SINCE = datetime.datetime(2021, 7, 23)
"""Before this date the camera lags by one step: bridgedata_raw_to_numpy.py:149-151."""
DATE = "%Y-%m-%d_%H-%M-%S"
ZEROS_OF_MODE = {7: 0, 5: 2, 4: 3}
"""Numbers of an action -> zeros to insert after x, y, z. The robot's action modes 3trans3rot, 3trans1rot (x, y, z, yaw,
gripper) and 3trans; its controller inserts the same zeros: bridge_data_robot@a902e5b robot_base_env.py:219-222."""


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
        if len(actions) == 0:
            raise DataError("It has no actions.")
        if len(actions) < len(states):
            # The last image shows the end of the episode, where the arm stands still.
            actions = np.concatenate([actions, hold(actions[-1])[None]])
        late = int(_has_camera_delay(folder))
        states, actions = states[late:], actions[: len(actions) - late]
        first, actions = commanded(actions, "bridge")
        states, actions = convert(states[first:], actions, "bridge")
        files = ImageFiles(folder / self._camera, len(states), first=late + first)
        refuse_absent((files[index] for index in range(len(files))), self._camera)
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
        return read_with_opaque(path.read_bytes())
    except WireError as error:
        raise DataError(f"{path.name} was not read: {error}") from error


def _states(observations: Any) -> np.ndarray:
    """(T, 7) float64: x, y, z, roll, pitch, yaw, gripper servo reading."""
    _refuse_opaque(observations, OBSERVATIONS)
    states = observations.get("full_state") if isinstance(observations, dict) else None
    if states is None:
        raise DataError(f"{OBSERVATIONS} has no 'full_state'; expected an array of shape (T, 7).")
    _refuse_opaque(states, OBSERVATIONS)
    return number_rows(states, OBSERVATIONS, widths=(7,))


def _actions(steps: Any) -> np.ndarray:
    """(T - 1, 7) or (T, 7) float64."""
    _refuse_opaque(steps, ACTIONS)
    if not isinstance(steps, (list, tuple, np.ndarray)):
        raise DataError(f"{ACTIONS} contains a {type(steps).__name__}; expected a list with one action per step.")
    if len(steps) == 0:
        return np.zeros((0, 7))
    rows = [step.get("actions") if isinstance(step, dict) else step for step in steps]
    stored = number_rows(rows, ACTIONS, widths=tuple(ZEROS_OF_MODE))
    zeros = np.zeros((len(stored), ZEROS_OF_MODE[stored.shape[1]]))
    return np.concatenate([stored[:, :3], zeros, stored[:, 3:]], axis=1)


def _refuse_opaque(value: Any, name: str) -> None:
    if isinstance(value, Opaque):
        raise DataError(f"{name} was not read: {value.reason}")


def _instruction(folder: Path) -> str:
    """The first line of lang.txt that is an instruction; other lines hold other annotators' texts and confidences."""
    path = folder / LANGUAGE
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in lines if "confidence" not in line), "")


def _has_camera_delay(folder: Path) -> bool:
    """Whether the folder above `raw`, named by the time of the recording, is before `NO_DELAY_SINCE`.

    DataError if its name is no time: a trajectory that is shifted by a step, or is not when it should be, looks right.
    """
    parents = Path(os.path.abspath(folder)).parents
    date = next((parent.parent.name for parent in parents if parent.name == "raw"), "")
    try:
        return datetime.datetime.strptime(date, DATE) < NO_DELAY_SINCE
    except ValueError as error:
        raise DataError(
            f"The time of its recording is not known: the folder above 'raw' is {date!r}; expected "
            ".../2022-01-01_00-00-00/raw/traj_group0/traj0. Before 2021-07-23 the camera was late by a step."
        ) from error
