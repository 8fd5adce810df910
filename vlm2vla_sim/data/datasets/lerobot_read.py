"""Reads LeRobotDataset v2 and v3 folders, from this package or any other source: tables file by file, images on access.

A folder may be larger than memory, so only the list of episodes is loaded as a whole. Column names differ between data
sets; what the folder does not determine is an option, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.data.datasets import lerobot_layout as layout
from vlm2vla_sim.data.datasets import lerobot_metadata as metadata
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.conventions import ACTION_NAMES, STATE_NAMES, commanded, convert
from vlm2vla_sim.data.datasets.lerobot_metadata import EpisodeEntry
from vlm2vla_sim.data.datasets.lerobot_tables import read_tables, truth, whole_number
from vlm2vla_sim.data.datasets.rows import number_rows
from vlm2vla_sim.data.datasets.stored_images import EncodedImages, refuse_absent
from vlm2vla_sim.data.episode import ImageSequence, Trajectory
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.errors import DataError, unknown_name
from vlm2vla_sim.language.translations import english_of
from vlm2vla_sim.video.reader import VideoFrames

BATCH = 4096
"""Rows of a file that are held in memory at once."""


@dataclass(frozen=True)
class Columns:
    """Column names; empty for the usual name, or the only candidate."""

    image: str = ""
    state: str = layout.STATE
    action: str = layout.ACTION
    convention: str = ""
    """One of `conventions.CONVENTIONS`, or "package.module:NAME"; empty for "vlm2vla" if the columns have our names."""


class LeRobotFolder:
    """A folder as a `TrajectoryDataset`."""

    kind = "lerobot"

    def __init__(self, root: Path, columns: Columns | None = None) -> None:
        """Read the metadata only; DataError for another version of the format, or for missing columns."""
        layout.parquet()  # without the package the command that installs it is named first
        self.root = root
        self._info = metadata.read_info(root)
        self._columns = self._check_columns(columns or Columns())
        self._is_video = self._info["features"][self._columns.image]["dtype"] == "video"
        self._tasks = metadata.read_tasks(root, self._info)
        self._episodes = metadata.read_episodes(root, self._info, self._columns.image if self._is_video else "")
        self._annotations = dict(enumerate(layout.read_annotations(root)))

    def __len__(self) -> int:
        return len(self._episodes)

    @property
    def unread(self) -> tuple[str, ...]:
        """The columns of the data set that no trajectory has: further cameras, states, rewards."""
        used = {self._columns.image, self._columns.state, self._columns.action, layout.SUCCESS, *layout.DEFAULTS}
        return tuple(key for key in self._info["features"] if key not in used)

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """See `TrajectoryDataset`."""
        files: dict[str, list[EpisodeEntry]] = {}
        for episode in self._episodes:
            files.setdefault(episode.data, []).append(episode)
        for file, episodes in files.items():
            yield from self._read_file(self.root / file, episodes)

    def _read_file(self, path: Path, episodes: Sequence[EpisodeEntry]) -> Iterator[Trajectory | Skipped]:
        columns = [self._columns.state, self._columns.action, "episode_index", "task_index"]
        columns += [] if self._is_video else [self._columns.image]
        columns += [layout.SUCCESS] if layout.SUCCESS in self._info["features"] else []
        wanted = {episode.index: episode for episode in episodes}
        reason = f"{path.name} contains no frame of it."
        try:
            for index, table in read_tables(path, columns, batch=BATCH if self._is_video else 64):
                if (episode := wanted.pop(index, None)) is not None:
                    yield self._episode(episode, table)
        except DataError as error:
            reason = str(error)
        yield from (Skipped(self._name(index), reason) for index in wanted)

    def _episode(self, episode: EpisodeEntry, table: dict[str, Any]) -> Trajectory | Skipped:
        name = self._name(episode.index)
        try:
            convention = self._columns.convention
            states, actions = table[self._columns.state], table[self._columns.action]
            if len(states) != episode.length:
                raise DataError(f"It has {len(states)} frames; the data set's metadata says {episode.length}.")
            first, actions = commanded(number_rows(actions, "The column of actions", widths=(7,)), convention)
            states, actions = convert(states[first:], actions, convention)
            images = self._images(episode, table, first)
            task = whole_number(table["task_index"], "task_index")
            instruction = self._tasks.get(task, next(iter(episode.tasks), ""))
            return Trajectory(
                name,
                instruction,
                float(self._info["fps"]),
                images,
                states,
                actions,
                success=self._success(episode, table),
                instruction_en=episode.instruction_en or english_of(instruction),
                solved=_solved(table, first),
                camera=self._camera(episode),
            )
        except (DataError, ValueError) as error:
            return Skipped(name, str(error))

    def _images(self, episode: EpisodeEntry, table: dict[str, Any], skip: int) -> ImageSequence:
        """The images from the frame `skip` on; DataError if the camera is absent."""
        key, length = self._columns.image, episode.length - skip
        if not self._is_video:
            encoded = EncodedImages([_encoded(stored) for stored in table[key][skip:]])
            refuse_absent((encoded[index] for index in range(length)), key)
            return encoded
        path = self.root / episode.video
        if not path.is_file():
            raise DataError(f"The camera {key!r} is missing: there is no {path.relative_to(self.root)}.")
        fps = float(self._info["fps"])
        first = round(episode.video_start * fps) + skip
        # One frame at a time: usually the first one decides, and a window of frames stays in memory.
        refuse_absent((VideoFrames(path, first=first + at, count=1, fps=fps)[0] for at in range(length)), key)
        return VideoFrames(path, first=first, count=length, fps=fps)

    def _success(self, episode: EpisodeEntry, table: dict[str, Any]) -> bool | None:
        """Whether the task is solved after the last action, or else what the episode's annotation says."""
        annotation = self._annotations.get(episode.index)
        said = None if annotation is None else annotation.success
        if layout.SUCCESS not in table:
            return said
        last = truth(table[layout.SUCCESS][-1], layout.SUCCESS)
        return said if last is None else last

    def _camera(self, episode: EpisodeEntry) -> Camera | None:
        annotation = self._annotations.get(episode.index)
        return annotation.camera if annotation and self._columns.image == layout.IMAGE else None

    def _name(self, index: int) -> str:
        annotation = self._annotations.get(index)
        return f"{self.root.name}/{index:05d}" if annotation is None else annotation.name

    # Metadata.

    def _check_columns(self, asked: Columns) -> Columns:
        features = self._info["features"]
        cameras = [key for key, value in features.items() if value.get("dtype") in ("video", "image")]
        image = asked.image or (layout.IMAGE if layout.IMAGE in cameras else "")
        if not image and len(cameras) == 1:
            image = cameras[0]
        if image not in cameras:
            if not cameras:
                raise DataError(f"{self.root} has no camera: none of its columns contains images.")
            raise unknown_name("camera in the data set (name one with --picture)", image, cameras)
        for name in (asked.state, asked.action):
            if name not in features:
                raise unknown_name("column of the data set", name, features)
        ours = (features[asked.state].get("names"), features[asked.action].get("names"))
        convention = asked.convention or ("vlm2vla" if ours == (list(STATE_NAMES), list(ACTION_NAMES)) else "")
        if not convention:
            raise DataError(
                f"{self.root} does not declare the convention of its states and actions. Set it with --convention: "
                "bridge for copies of BridgeData (Euler angles, gripper servo reading), vlm2vla for rotation vectors "
                "and a gripper opening of 0 to 1."
            )
        return Columns(image, asked.state, asked.action, convention)


def _solved(table: dict[str, Any], first: int) -> np.ndarray | None:
    """(T,) bool from the frame `first` on, as in `Trajectory`; None if a cell is empty."""
    if layout.SUCCESS not in table:
        return None
    values = [truth(value, layout.SUCCESS) for value in table[layout.SUCCESS][first:]]
    return None if None in values else np.array(values, bool)


def _encoded(stored: Any) -> bytes:
    """The PNG or JPEG in a cell of an image column: {"bytes": ..., "path": ...}."""
    return (stored.get("bytes") if isinstance(stored, dict) else None) or b""
