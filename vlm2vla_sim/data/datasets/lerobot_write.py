"""Writes demonstrations as a LeRobotDataset v3 folder, whole episodes only, one after the other.

Recording takes hours, and machines stop. An episode is in the folder when `info.json` counts it, and that is written
last: whatever a crash left behind is not counted, and is replaced by the next episode. A finished one never is.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core.atomic import replacing, write_text
from vlm2vla_sim.core.json_lines import JsonLines
from vlm2vla_sim.data.datasets import lerobot_layout as layout
from vlm2vla_sim.data.datasets.lerobot_layout import EpisodeWords
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.video.mp4 import Mp4Pictures, read_film, write_mp4

SAMPLED = 8
"""Pictures of an episode that go into the statistics."""


class LeRobotWriter:
    """A folder that grows by whole episodes."""

    def __init__(self, root: Path, *, size: tuple[int, int], fps: float, robot_type: str = "widowx") -> None:
        """Begin `root`, or go on with it; DataError when it was made with pictures of another size or rate.

        size: (height, width) [px]. fps: [Hz] a whole number, which is all that LeRobot knows.
        """
        self._pq = layout.parquet()
        if fps != round(fps):
            raise DataError(f"LeRobot folders have a whole number of pictures a second; {fps:g} was asked for.")
        self.root, self._size, self._fps = root, size, round(fps)
        self._info = self._read_info() or {
            "codebase_version": layout.VERSION,
            "robot_type": robot_type,
            "total_episodes": 0,
            "total_frames": 0,
            "total_tasks": 0,
            "chunks_size": layout.CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {},
            "data_path": layout.DATA,
            "video_path": layout.VIDEO,
            "features": layout.features(size, self._fps),
        }
        words = layout.read_words(root) if self._info["total_episodes"] else []
        self.names = {episode.name for episode in words}
        """Of the episodes that are in the folder."""
        self._tasks = self._read_tasks()
        self._stats = self._read_stats()

    def __len__(self) -> int:
        return self._info["total_episodes"]

    def add(self, trajectory: Trajectory, words: EpisodeWords) -> None:
        """Append an episode; its pictures are encoded here."""
        draft = self.root / "unfinished.mp4"
        draft.parent.mkdir(parents=True, exist_ok=True)
        frames = (trajectory.pictures[index] for index in range(len(trajectory)))
        write_mp4(draft, frames, size=self._size, fps=self._fps)
        self.add_filmed(draft, trajectory.states, trajectory.actions, words)

    def add_filmed(self, video: Path, states: np.ndarray, actions: np.ndarray, words: EpisodeWords) -> None:
        """Append an episode whose pictures are in `video`, which is moved into the folder.

        states, actions: (T, 7) each, as in `Trajectory`.
        """
        if words.name in self.names:
            raise DataError(f"The episode {words.name!r} is in {self.root} already; nothing is overwritten.")
        pictures = Mp4Pictures(video, first=0, count=len(states), fps=self._fps)
        # Wherever this raises, nothing of the episode is in the folder yet.
        film = read_film(video)
        if (film.height, film.width) != self._size:
            raise DataError(f"Pictures of {film.height} x {film.width} were given; the folder has {self._size}.")
        Trajectory(words.name, words.instruction, self._fps, pictures, states, actions)
        index, start = self._info["total_episodes"], self._info["total_frames"]
        tasks = {**self._tasks} | {words.instruction: self._tasks.get(words.instruction, len(self._tasks))}
        columns = self._columns(states, actions, index, start, tasks[words.instruction])
        stats = self._episode_stats(columns, pictures)
        where = layout.part(index)
        video_home = self.root / layout.VIDEO.format(video_key=layout.PICTURE, **where)
        video_home.parent.mkdir(parents=True, exist_ok=True)
        video.replace(video_home)
        read_film.cache_clear()
        self._write_table(columns, self.root / layout.DATA.format(**where))
        self._append_words(words, index)
        self._write_tasks(tasks)
        self._write_table(
            self._episode_row(index, start, len(states), words, stats), self.root / layout.EPISODES.format(**where)
        )
        self._stats = layout.combine_stats(self._stats, stats)
        write_text(self.root / layout.STATS, json.dumps(self._stats))
        self._tasks = tasks
        self._info |= {
            "total_episodes": index + 1,
            "total_frames": start + len(states),
            "total_tasks": len(tasks),
            "splits": {"train": f"0:{index + 1}"},
        }
        write_text(self.root / layout.INFO, json.dumps(self._info, indent=4))
        self.names.add(words.name)

    # What was there before.

    def _read_info(self) -> dict[str, Any] | None:
        path = self.root / layout.INFO
        if not path.exists():
            return None
        info = json.loads(path.read_text(encoding="utf-8"))
        expected = layout.features(self._size, self._fps)
        if (
            info.get("codebase_version") != layout.VERSION
            or info.get("features") != expected
            or info.get("fps") != self._fps
        ):
            raise DataError(
                f"{self.root} holds a data set of another kind (other columns, pictures or rate than "
                f"{self._size[0]} x {self._size[1]} at {self._fps} Hz). Choose another folder."
            )
        return info

    def _read_tasks(self) -> dict[str, int]:
        if not self._info["total_episodes"]:
            return {}
        rows = self._pq.read_table(self.root / layout.TASKS).to_pylist()
        return {row["task"]: row["task_index"] for row in rows if row["task_index"] < self._info["total_tasks"]}

    def _read_stats(self) -> layout.Stats:
        """The statistics so far; put together again where a crash came between them and `info.json`."""
        total = self._info["total_episodes"]
        if not total:
            return {}
        stats = json.loads((self.root / layout.STATS).read_text(encoding="utf-8"))
        if stats[layout.ACTION]["count"][0] == self._info["total_frames"]:
            return stats
        stats = {}
        for index in range(total):
            (row,) = self._pq.read_table(self.root / layout.EPISODES.format(**layout.part(index))).to_pylist()
            found: layout.Stats = {}
            for column, value in row.items():
                if column.startswith("stats/"):
                    key, _, name = column.removeprefix("stats/").rpartition("/")
                    found.setdefault(key, {})[name] = value
            stats = layout.combine_stats(stats, found)
        return stats

    # Tables.

    def _columns(self, states: np.ndarray, actions: np.ndarray, index: int, start: int, task: int) -> dict[str, Any]:
        frames = np.arange(len(states))
        return {
            layout.ACTION: np.asarray(actions, np.float32),
            layout.STATE: np.asarray(states, np.float32),
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(len(frames), index),
            "index": start + frames,
            "task_index": np.full(len(frames), task),
        }

    def _episode_stats(self, columns: dict[str, Any], pictures: Mp4Pictures) -> layout.Stats:
        chosen = sorted(set(np.linspace(0, len(pictures) - 1, SAMPLED).round().astype(int).tolist()))
        sampled = np.stack([pictures[index] for index in chosen])
        stats = {key: layout.number_stats(values.reshape(len(values), -1)) for key, values in columns.items()}
        return stats | {layout.PICTURE: layout.picture_stats(sampled)}

    def _episode_row(
        self, index: int, start: int, length: int, words: EpisodeWords, stats: layout.Stats
    ) -> dict[str, list[Any]]:
        where = layout.part(index)
        video = {f"videos/{layout.PICTURE}/{key}": value for key, value in where.items()}
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [words.instruction],
            "length": length,
            **{f"data/{key}": value for key, value in where.items()},
            "dataset_from_index": start,
            "dataset_to_index": start + length,
            **video,
            f"videos/{layout.PICTURE}/from_timestamp": 0.0,
            f"videos/{layout.PICTURE}/to_timestamp": length / self._fps,
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
        with replacing(path) as draft:
            self._pq.write_table(table, draft)

    def _append_words(self, words: EpisodeWords, index: int) -> None:
        """As line `index`; lines after those that count are of an episode that was never finished."""
        with closing(JsonLines(self.root / layout.WORDS)) as lines:
            lines.keep_first(index)
            lines.append(json.dumps(dataclasses.asdict(words), ensure_ascii=False))
