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
from vlm2vla_sim.data.datasets.rows import number_rows
from vlm2vla_sim.data.datasets.stored_images import EncodedImages, refuse_absent
from vlm2vla_sim.data.episode import ImageSequence, Trajectory
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
        self._pq = layout.parquet()
        self.root = root
        self._info = metadata.read_info(root)
        self._columns = self._check_columns(columns or Columns())
        self._is_video = self._info["features"][self._columns.image]["dtype"] == "video"
        self._tasks = metadata.read_tasks(root, self._info)
        self._episodes = metadata.read_episodes(root, self._info, self._columns.image if self._is_video else "")
        self._annotations = dict(enumerate(layout.read_annotations(root)))

    def __len__(self) -> int:
        return len(self._episodes)

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """See `TrajectoryDataset`."""
        files: dict[str, list[EpisodeEntry]] = {}
        for episode in self._episodes:
            files.setdefault(episode.data, []).append(episode)
        for file, episodes in files.items():
            yield from self._read_file(self.root / file, episodes)

    # Tables.

    def _read_file(self, path: Path, episodes: Sequence[EpisodeEntry]) -> Iterator[Trajectory | Skipped]:
        wanted = {episode.index: episode for episode in episodes}
        try:
            for index, table in self._tables(path):
                if (episode := wanted.pop(index, None)) is not None:
                    yield self._episode(episode, table)
        except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are ValueErrors
            reason = f"{path.name} cannot be read: {str(error).splitlines()[0]}"
        else:
            reason = f"{path.name} contains no frame of it."
        yield from (Skipped(self._name(index), reason) for index in wanted)

    def _tables(self, path: Path) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield the index and the columns of every episode in a file, one at a time."""
        columns = [self._columns.state, self._columns.action, "episode_index", "task_index"]
        columns += [] if self._is_video else [self._columns.image]
        columns += [layout.SUCCESS] if layout.SUCCESS in self._info["features"] else []
        held: list[dict[str, Any]] = []
        with self._pq.ParquetFile(path.absolute()) as file:
            for batch in file.iter_batches(batch_size=BATCH if self._is_video else 64, columns=columns):
                indices = batch.column("episode_index").to_numpy(zero_copy_only=False)
                for rows in np.split(np.arange(len(indices)), np.flatnonzero(np.diff(indices)) + 1):
                    part = batch.slice(int(rows[0]), len(rows))
                    values = {name: _values(part.column(name)) for name in columns}
                    if held and held[0]["episode_index"][0] != values["episode_index"][0]:
                        yield _joined(held)
                        held = []
                    held.append(values)
        if held:
            yield _joined(held)

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
            instruction = self._tasks.get(int(table["task_index"][0]), next(iter(episode.tasks), ""))
            return Trajectory(
                name,
                instruction,
                float(self._info["fps"]),
                images,
                states,
                actions,
                success=self._success(episode, table),
                instruction_en=episode.instruction_en or english_of(instruction),
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
        last = np.asarray(table[layout.SUCCESS][-1], dtype=np.float64).reshape(-1)
        return bool(last[0] > 0.5) if last.size == 1 and np.isfinite(last[0]) else said

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


def _encoded(stored: Any) -> bytes:
    """The PNG or JPEG in a cell of an image column: {"bytes": ..., "path": ...}."""
    return (stored.get("bytes") if isinstance(stored, dict) else None) or b""


def _values(column: Any) -> Any:
    """A column as an array, (T,) or (T, n); an image column as a list."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):
        return column.to_pylist()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return np.array(flat).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)


def _joined(parts: Sequence[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    joined = {
        name: [item for part in parts for item in part[name]]
        if isinstance(parts[0][name], list)
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    return int(joined["episode_index"][0]), joined
