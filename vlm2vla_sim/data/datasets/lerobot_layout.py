"""The layout of a LeRobotDataset v3 folder: paths, features, statistics, and our annotation file.

The format is defined by lerobot's code, not by a specification. This module follows its writer and loader (lerobot
0.4.4 and 0.6.1: `datasets/utils.py`, `compute_stats.py`, `dataset_metadata.py`); a test opens our folders with lerobot.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.data.datasets.conventions import ACTION_NAMES, STATE_NAMES
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.errors import DataError, SettingError, missing_extra

VERSION = "v3.0"
CHUNK = 1000
"""Maximum number of files per folder."""
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
PART = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES, DATA = f"meta/episodes/{PART}.parquet", f"data/{PART}.parquet"
VIDEO = f"videos/{{video_key}}/{PART}.mp4"
ANNOTATIONS = "words.jsonl"
"""Not part of LeRobot's format, which ignores it: one line per episode with the policy's text and the outcome."""
IMAGE, STATE, ACTION = "observation.images.image_0", "observation.state", "action"
SUCCESS = "next.success"
"""LeRobot's name for a bool per frame: whether the task is solved after the frame's action."""
INSTRUCTION_EN = "instruction_en"
"""Our column in the metadata of episodes, which LeRobot passes over: the instruction in English."""
DEFAULTS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""The columns that every LeRobot folder has."""
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)

Stats = dict[str, dict[str, Any]]
"""Feature -> statistic -> nested lists of numbers."""


@dataclass(frozen=True)
class DecisionRecord:
    """One decision of a recorded policy."""

    start: int
    """First frame of its motion."""
    stop: int
    """One past the last frame."""
    subtask: str
    plan: str
    action: str
    """The action text as the policy wrote it."""


@dataclass(frozen=True)
class EpisodeAnnotation:
    """A line of `words.jsonl`: what is known about an episode besides images, states and actions."""

    name: str
    """Unique in the folder, for example "carrot_on_plate/00003"."""
    instruction: str
    outcome: str
    """"success" or "failure"."""
    task: str = ""
    episode_id: int = -1
    seed: int = 0
    layouts: str = ""
    policy: str = ""
    action_format: str = ""
    backend: str = ""
    decisions: tuple[DecisionRecord, ...] = ()
    instruction_en: str = ""
    """As in `Trajectory`."""
    camera: Camera | None = None
    """That of the images in the column `IMAGE`; None where its pose is not known."""

    @property
    def success(self) -> bool | None:
        """As in `Trajectory`; None for an outcome that is neither success nor failure."""
        return {"success": True, "failure": False}.get(self.outcome)

    def to_json(self) -> dict[str, Any]:
        """Plain values; in the file the key of `decisions` is "said"."""
        values = dataclasses.asdict(self)
        values["said"] = values.pop("decisions")
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EpisodeAnnotation:
        """The inverse of `to_json`."""
        decisions = tuple(DecisionRecord(**decision) for decision in values["said"])
        camera = Camera(**values["camera"]) if values.get("camera") else None
        others = {key: value for key, value in values.items() if key not in ("said", "camera")}
        return cls(**others, decisions=decisions, camera=camera)


def read_annotations(root: Path) -> list[EpisodeAnnotation]:
    """The annotations of every finished episode in `root`, in order; empty for a data set without the file."""
    path = root / ANNOTATIONS
    if not path.exists():
        return []
    try:
        total = json.loads((root / INFO).read_text(encoding="utf-8"))["total_episodes"]
        lines = path.read_text(encoding="utf-8").split("\n")[:total]
        return [EpisodeAnnotation.from_json(json.loads(line)) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SettingError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}). The file is optional: move it away to read the "
            "data set without annotations."
        ) from error


def part(index: int) -> dict[str, int]:
    """The chunk and file number of the `index`-th episode, as arguments for the path templates above."""
    return {"chunk_index": index // CHUNK, "file_index": index % CHUNK}


def features(size: tuple[int, int], fps: float) -> dict[str, Any]:
    """The `features` of info.json. size: (height, width) [px]; fps: [Hz]."""
    height, width = size
    video = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }

    def numbers(dtype: str, names: Sequence[str] | None, count: int = 1) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [count], "names": None if names is None else list(names)}

    return {
        ACTION: numbers("float32", ACTION_NAMES, 7),
        STATE: numbers("float32", STATE_NAMES, 7),
        IMAGE: {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": video,
        },
        SUCCESS: numbers("bool", None),
        "timestamp": numbers("float32", None),
        **{key: numbers("int64", None) for key in DEFAULTS[1:]},
    }


def number_stats(values: np.ndarray) -> dict[str, Any]:
    """The statistics of a numeric feature. values: (T, n)."""
    values = values.astype(np.float64)
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
    }
    found |= {f"q{round(100 * q):02d}": np.quantile(values, q, axis=0) for q in QUANTILES}
    return {key: value.tolist() for key, value in found.items()} | {"count": [len(values)]}


def image_stats(images: np.ndarray) -> dict[str, Any]:
    """The statistics of images, (N, H, W, 3) uint8, per channel in 0 .. 1; each of shape (3, 1, 1)."""
    # Every n-th pixel, as LeRobot does; at 640 x 480 the result is the same to the digits that matter.
    stride = max(1, min(images.shape[1:3]) // 120)
    per_channel = number_stats(images[:, ::stride, ::stride].reshape(-1, 3) / 255.0)
    shaped = {key: [[[number]] for number in value] for key, value in per_channel.items() if key != "count"}
    return shaped | {"count": [len(images)]}


def combine_stats(old: Stats, new: Stats) -> Stats:
    """The statistics of two sets of frames combined; quantiles are averaged by frame count, as LeRobot does."""
    return {key: _combine(old[key], new[key]) for key in new} if old else new


def _combine(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    a, b = old["count"][0], new["count"][0]
    first = {key: np.array(value, dtype=np.float64) for key, value in old.items()}
    second = {key: np.array(value, dtype=np.float64) for key, value in new.items()}
    both = {key: (first[key] * a + second[key] * b) / (a + b) for key in first if key not in ("min", "max", "count")}
    squares = [(one["std"] ** 2 + (one["mean"] - both["mean"]) ** 2) for one in (first, second)]
    both["std"] = np.sqrt((squares[0] * a + squares[1] * b) / (a + b))
    both["min"] = np.minimum(first["min"], second["min"])
    both["max"] = np.maximum(first["max"], second["max"])
    return {key: value.tolist() for key, value in both.items()} | {"count": [a + b]}


def pandas_index(column: str) -> dict[bytes, bytes]:
    """The Parquet metadata that makes pandas read `column` as the index, written without pandas."""
    # pandas.pydata.org, developer/storing-metadata. LeRobot reads `tasks.parquet` with pandas.
    text = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    values = {
        "index_columns": [column],
        "column_indexes": [{"name": None, "field_name": None, **text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **number},
            {"name": column, "field_name": column, **text},
        ],
        "pandas_version": "2.0.0",
    }
    return {b"pandas": json.dumps(values).encode()}


def parquet() -> Any:
    """The module `pyarrow.parquet`; MissingExtraError if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("Reading and writing data sets", "pyarrow", "data") from error
    return pyarrow.parquet
