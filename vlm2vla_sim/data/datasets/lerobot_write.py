"""Writes demonstrations as a LeRobotDataset v3 folder, one complete episode at a time.

An episode counts once `info.json` includes it, which is written last. What a crash leaves behind is not counted and is
overwritten by the next episode; a finished episode is never overwritten.
"""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core.atomic import replacing, write_text
from vlm2vla_sim.core.json_lines import JsonLines
from vlm2vla_sim.data.datasets import lerobot_layout as layout
from vlm2vla_sim.data.datasets.lerobot_layout import EpisodeAnnotation
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.video.encoder import write_video
from vlm2vla_sim.video.reader import VideoFrames, read_info

SAMPLED = 8
"""Images per episode from which the image statistics are computed."""


class LeRobotWriter:
    """Appends episodes to a folder."""

    VERSION = layout.VERSION

    def __init__(
        self,
        root: Path,
        *,
        size: tuple[int, int],
        fps: float,
        robot_type: str = "widowx",
        outcomes: bool = True,
    ) -> None:
        """Create the folder `root`, or open one; DataError if it has another image size or rate.

        size: (height, width) [px]. fps: [Hz] a whole number, because LeRobot supports no other. outcomes: whether the
        folder says which episodes succeeded, for each frame; without, the column is not there.
        """
        self._pq = layout.parquet()
        if fps != round(fps):
            raise DataError(f"The frame rate is {fps:g}; LeRobot data sets have a whole number of frames per second.")
        self.root, self._size, self._fps = root, size, round(fps)
        self._features = layout.features(size, self._fps)
        if not outcomes:
            del self._features[layout.SUCCESS]
        self._info = self._read_info() or {
            "codebase_version": self.VERSION,
            "robot_type": robot_type,
            "total_episodes": 0,
            "total_frames": 0,
            "total_tasks": 0,
            "chunks_size": layout.CHUNK,
            "fps": self._fps,
            "splits": {},
            "features": self._features,
            **self._layout_info(),
        }
        annotations = layout.read_annotations(root) if self._info["total_episodes"] else []
        self.names = {episode.name for episode in annotations}
        """The names of the episodes in the folder."""
        self._tasks = self._read_tasks()
        self._stats = self._read_stats()

    def __len__(self) -> int:
        return self._info["total_episodes"]

    def add(self, trajectory: Trajectory, annotation: EpisodeAnnotation) -> None:
        """Append an episode and encode its images; a video that has them already is copied."""
        draft = self.root / "unfinished.mp4"
        draft.parent.mkdir(parents=True, exist_ok=True)
        images = trajectory.images
        whole = images.whole_file("h264") if isinstance(images, VideoFrames) else None
        if whole:
            shutil.copyfile(whole, draft)
        else:
            write_video(draft, (images[index] for index in range(len(images))), size=self._size, fps=self._fps)
        self.add_with_video(draft, trajectory.states, trajectory.actions, annotation, solved=trajectory.solved)

    def add_with_video(
        self,
        video: Path,
        states: np.ndarray,
        actions: np.ndarray,
        annotation: EpisodeAnnotation,
        *,
        solved: np.ndarray | None = None,
    ) -> None:
        """Append an episode whose images are in `video`, which is moved into the folder.

        states, actions: (T, 7) each, as in `Trajectory`. solved: (T,) bool, whether the task is solved after each
        frame's action; by default nobody saw it before the end. The last frame has the annotation's outcome. DataError
        for a name that is in the folder already, a video of another size, or an outcome that is neither success nor
        failure where the folder has a column for it; the folder is then unchanged.
        """
        if annotation.success is None and layout.SUCCESS in self._features:
            raise DataError(
                f"The outcome of {annotation.name!r} is {annotation.outcome!r}; expected 'success' or 'failure', which "
                f"the column {layout.SUCCESS} holds."
            )
        if annotation.name in self.names:
            raise DataError(f"The episode {annotation.name!r} is already in {self.root}; nothing is overwritten.")
        images = VideoFrames(video, first=0, count=len(states), fps=self._fps)
        info = read_info(video)
        if (info.height, info.width) != self._size:
            raise DataError(f"The video has images of {info.height} x {info.width}; the folder has {self._size}.")
        Trajectory(annotation.name, annotation.instruction, self._fps, images, states, actions)  # raises if invalid
        success = np.zeros(len(states), bool) if solved is None else np.array(solved, bool)
        success[-1] = bool(annotation.success)
        index, start = self._info["total_episodes"], self._info["total_frames"]
        instruction = annotation.instruction
        tasks = {**self._tasks} | {instruction: self._tasks.get(instruction, len(self._tasks))}
        columns = self._columns(states, actions, success, index, start, tasks[instruction])
        stats = self._episode_stats(columns, images)
        data_path, video_path = self._paths(index)
        video_path.parent.mkdir(parents=True, exist_ok=True)
        video.replace(video_path)
        self._write_table(columns, data_path)
        self._append_annotation(annotation, index)
        together = layout.combine_stats(self._stats, stats)
        self._write_metadata(len(states), annotation, tasks, stats=stats, together=together)
        self._tasks, self._stats = tasks, together
        self._info |= {
            "total_episodes": index + 1,
            "total_frames": start + len(states),
            "total_tasks": len(tasks),
            "splits": {"train": f"0:{index + 1}"},
            **self._layout_totals(index + 1),
        }
        write_text(self.root / layout.INFO, json.dumps(self._info, indent=4))
        self.names.add(annotation.name)

    # What depends on the version of the format.

    def _layout_info(self) -> dict[str, Any]:
        """The keys of info.json that only this version has, or whose values are its own."""
        sizes = {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
        return {**sizes, "data_path": layout.DATA, "video_path": layout.VIDEO}

    def _layout_totals(self, episodes: int) -> dict[str, Any]:
        """Counts in info.json that only this version has."""
        return {}

    def _paths(self, index: int) -> tuple[Path, Path]:
        """The files of rows and of images of an episode."""
        where = layout.part(index)
        video = layout.VIDEO.format(video_key=layout.IMAGE, **where)
        return self.root / layout.DATA.format(**where), self.root / video

    def _write_metadata(
        self,
        length: int,
        annotation: EpisodeAnnotation,
        tasks: dict[str, int],
        *,
        stats: layout.Stats,
        together: layout.Stats,
    ) -> None:
        """Write the tasks, the line of the next episode and the statistics, `stats` of it and `together` of all."""
        index, start = self._info["total_episodes"], self._info["total_frames"]
        self._write_tasks(tasks)
        row = self._episode_row(index, start, length, annotation, stats)
        self._write_table(row, self.root / layout.EPISODES.format(**layout.part(index)))
        write_text(self.root / layout.STATS, json.dumps(together))

    # Reading what the folder contains.

    def _read_info(self) -> dict[str, Any] | None:
        path = self.root / layout.INFO
        if not path.exists():
            return None
        info = json.loads(path.read_text(encoding="utf-8"))
        expected = self._features
        missing = expected.keys() - info.get("features", {}).keys()
        if missing == {layout.SUCCESS}:
            raise DataError(
                f"{self.root} was recorded by an earlier version, without the column {layout.SUCCESS}. It can be read, "
                "but not continued: choose another folder."
            )
        if (
            info.get("codebase_version") != self.VERSION
            or info.get("features") != expected
            or info.get("fps") != self._fps
        ):
            raise DataError(
                f"{self.root} contains a data set with other columns, image size or frame rate than "
                f"{self._size[0]} x {self._size[1]} at {self._fps} Hz. Choose another folder."
            )
        return info

    def _read_tasks(self) -> dict[str, int]:
        if not self._info["total_episodes"]:
            return {}
        rows = self._pq.read_table(self.root.absolute() / layout.TASKS).to_pylist()
        return {row["task"]: row["task_index"] for row in rows if row["task_index"] < self._info["total_tasks"]}

    def _read_stats(self) -> layout.Stats:
        """The statistics so far; computed again from the episodes if a crash left them behind `info.json`."""
        total = self._info["total_episodes"]
        if not total:
            return {}
        stats = json.loads((self.root / layout.STATS).read_text(encoding="utf-8"))
        if stats[layout.ACTION]["count"][0] == self._info["total_frames"]:
            return stats
        stats = {}
        for index in range(total):
            (row,) = self._pq.read_table(
                self.root.absolute() / layout.EPISODES.format(**layout.part(index))
            ).to_pylist()
            found: layout.Stats = {}
            for column, value in row.items():
                if column.startswith("stats/"):
                    key, _, name = column.removeprefix("stats/").rpartition("/")
                    found.setdefault(key, {})[name] = value
            stats = layout.combine_stats(stats, found)
        return stats

    # Tables.

    def _columns(
        self, states: np.ndarray, actions: np.ndarray, success: np.ndarray, index: int, start: int, task: int
    ) -> dict[str, Any]:
        frames = np.arange(len(states))
        return {
            layout.ACTION: np.asarray(actions, np.float32),
            layout.STATE: np.asarray(states, np.float32),
            **({layout.SUCCESS: success} if layout.SUCCESS in self._features else {}),
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(len(frames), index),
            "index": start + frames,
            "task_index": np.full(len(frames), task),
        }

    def _episode_stats(self, columns: dict[str, Any], images: VideoFrames) -> layout.Stats:
        chosen = sorted(set(np.linspace(0, len(images) - 1, SAMPLED).round().astype(int).tolist()))
        sampled = np.stack([images[index] for index in chosen])
        stats = {key: layout.number_stats(values.reshape(len(values), -1)) for key, values in columns.items()}
        return stats | {layout.IMAGE: layout.image_stats(sampled)}

    def _episode_row(
        self, index: int, start: int, length: int, annotation: EpisodeAnnotation, stats: layout.Stats
    ) -> dict[str, list[Any]]:
        where = layout.part(index)
        video = {f"videos/{layout.IMAGE}/{key}": value for key, value in where.items()}
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [annotation.instruction],
            layout.INSTRUCTION_EN: annotation.instruction_en,
            "length": length,
            **{f"data/{key}": value for key, value in where.items()},
            "dataset_from_index": start,
            "dataset_to_index": start + length,
            **video,
            f"videos/{layout.IMAGE}/from_timestamp": 0.0,
            f"videos/{layout.IMAGE}/to_timestamp": length / self._fps,
            **{f"stats/{key}/{name}": value for key, found in stats.items() for name, value in found.items()},
            **{f"meta/episodes/{key}": value for key, value in where.items()},
        }
        return {key: [value] for key, value in row.items()}

    def _write_table(self, columns: dict[str, Any], path: Path) -> None:
        import pyarrow as pa

        arrays = {}
        for name, values in columns.items():
            if isinstance(values, np.ndarray) and values.ndim == 2:
                arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
            else:
                arrays[name] = pa.array(values)
        self._replace(pa.table(arrays), path)

    def _write_tasks(self, tasks: dict[str, int]) -> None:
        import pyarrow as pa

        table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": list(tasks)})
        self._replace(table.replace_schema_metadata(layout.pandas_index("task")), self.root / layout.TASKS)

    def _replace(self, table: Any, path: Path) -> None:
        # An open file: pyarrow reads a name with a colon as an address.
        with replacing(path) as draft, draft.open("wb") as file:
            self._pq.write_table(table, file)

    def _append_annotation(self, annotation: EpisodeAnnotation, index: int) -> None:
        self._append_line(layout.ANNOTATIONS, annotation.to_json(), index)

    def _append_line(self, file: str, values: dict[str, Any], index: int) -> None:
        """Write line `index` of a file; later lines belong to an episode that was never finished."""
        with closing(JsonLines(self.root / file)) as lines:
            lines.keep_first(index)
            lines.append(json.dumps(values, ensure_ascii=False))
