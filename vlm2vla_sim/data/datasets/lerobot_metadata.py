"""Reads the metadata of LeRobot folders of versions 2 and 3: which episodes there are, and which file holds each.

Version 3 (see `lerobot_layout`) has tables in Parquet and may put several episodes into a file. Versions 2.0 and 2.1
have lines of JSON and one file per episode; they differ from each other in statistics only, which are not read. Most
public copies of BridgeData are of version 2.
(huggingface/lerobot@000e447 lerobot/common/datasets/utils.py:45-57, the files; v21/convert_dataset_v20_to_v21.py.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.data.datasets import lerobot_layout as layout
from vlm2vla_sim.errors import DataError

VERSIONS = ("v2.0", "v2.1", "v3.")
TASKS_V2, EPISODES_V2 = "meta/tasks.jsonl", "meta/episodes.jsonl"
CHUNK_V2 = 1000
"""Episodes per folder, where info.json does not say."""


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode, as the metadata describe it."""

    index: int
    length: int
    """Number of frames."""
    tasks: tuple[str, ...]
    data: str
    """The Parquet file with its rows, relative to the folder."""
    video: str = ""
    """The file of the camera, relative to the folder; empty if the images are in the Parquet file."""
    video_start: float = 0.0
    """[s] time of its first frame in `video`."""
    instruction_en: str = ""
    """As in `Trajectory`."""


def read_info(root: Path) -> dict[str, Any]:
    """The contents of info.json; DataError for a version that cannot be read."""
    path = root / layout.INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version, fps = str(info["codebase_version"]), info["fps"]
        info = info | {"features": {key: dict(value) for key, value in info["features"].items()}}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}). Is it a LeRobot folder?") from error
    if not version.startswith(VERSIONS):
        raise DataError(
            f"{root} is a LeRobot data set of version {version}; expected 2.0, 2.1 or {layout.VERSION}. Convert an "
            "older one with the package lerobot of its time."
        )
    if not isinstance(fps, (int, float)) or not 0 < fps < 1000:
        raise DataError(f"{path} has fps {fps!r}; expected a number above 0.")
    return info


def read_tasks(root: Path, info: dict[str, Any]) -> dict[int, str]:
    """Task number -> instruction. DataError if the file is missing or broken."""
    path = root / (TASKS_V2 if _is_v2(info) else layout.TASKS)
    rows = _json_rows(path, "task_index", "task") if _is_v2(info) else _table_rows(path)
    try:
        # pandas calls an unnamed index column "__index_level_0__"; lerobot 0.4 to 0.6 write it.
        return {int(row["task_index"]): str(row.get("task", row.get("__index_level_0__", ""))) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} has a task without a whole number ({type(error).__name__}: {error}).") from error


def read_episodes(root: Path, info: dict[str, Any], camera: str) -> list[EpisodeEntry]:
    """The episodes in order. camera: the video column, or empty. DataError if the metadata are missing or broken."""
    try:
        total = int(info["total_episodes"])
        read = _episodes_v2 if _is_v2(info) else _episodes_v3
        found = [entry for entry in read(root, info, camera) if entry.index < total]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"The metadata of {root} cannot be read ({type(error).__name__}: {error}); expected those of a LeRobot "
            f"data set of version {info['codebase_version']}."
        ) from error
    return sorted(found, key=lambda entry: entry.index)


def _is_v2(info: dict[str, Any]) -> bool:
    return str(info["codebase_version"]).startswith("v2.")


def _episodes_v3(root: Path, info: dict[str, Any], camera: str) -> Iterator[EpisodeEntry]:
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        for row in _table_rows(path, without="stats/"):
            names = ("chunk_index", "file_index")
            data = str(info["data_path"]).format(**{name: row[f"data/{name}"] for name in names})
            video, start = "", 0.0
            if camera:
                where = {name: row[f"videos/{camera}/{name}"] for name in names}
                video = str(info["video_path"]).format(video_key=camera, **where)
                start = float(row[f"videos/{camera}/from_timestamp"])
            tasks, english = tuple(row.get("tasks") or ()), str(row.get(layout.INSTRUCTION_EN) or "")
            yield EpisodeEntry(int(row["episode_index"]), int(row["length"]), tasks, data, video, start, english)


def _episodes_v2(root: Path, info: dict[str, Any], camera: str) -> Iterator[EpisodeEntry]:
    for row in _json_rows(root / EPISODES_V2, "episode_index", "length"):
        index = int(row["episode_index"])
        where = {"episode_chunk": index // int(info.get("chunks_size", CHUNK_V2)), "episode_index": index}
        video = str(info["video_path"]).format(video_key=camera, **where) if camera else ""
        tasks, english = tuple(row.get("tasks") or ()), str(row.get(layout.INSTRUCTION_EN) or "")
        data = str(info["data_path"]).format(**where)
        yield EpisodeEntry(index, int(row["length"]), tasks, data, video, 0.0, english)


def _table_rows(path: Path, *, without: str = "") -> list[dict[str, Any]]:
    """The rows of a Parquet file. without: the beginning of column names that are not read."""
    parquet = layout.parquet()
    path = path.absolute()  # a relative path with a colon is an address to pyarrow
    try:
        names = [name for name in parquet.read_schema(path).names if not (without and name.startswith(without))]
        return parquet.read_table(path, columns=names).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _json_rows(path: Path, *keys: str) -> Iterator[dict[str, Any]]:
    """The lines of a JSON file, each an object with `keys`."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or any(key not in row for key in keys):
            raise DataError(f"Line {number} of {path} does not have the fields {' and '.join(keys)}.")
        yield row
