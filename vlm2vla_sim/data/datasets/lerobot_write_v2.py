"""Writes demonstrations as a LeRobotDataset v2.1 folder: one file per episode, metadata as lines of JSON.

For programs that read no newer version: openpi, GR00T and starVLA of 2025, and lerobot 0.1 to 0.3
(lerobot 0.3.3 datasets/utils.py: create_empty_dataset_info, write_episode, write_episode_stats).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.data.datasets import lerobot_layout as layout
from vlm2vla_sim.data.datasets.lerobot_layout import EpisodeAnnotation
from vlm2vla_sim.data.datasets.lerobot_metadata import CHUNK_V2, EPISODES_V2, TASKS_V2
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter

EPISODE_STATS = "meta/episodes_stats.jsonl"
DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
STATISTICS = ("min", "max", "mean", "std", "count")
"""Those of version 2.1; quantiles came with version 3."""


class LeRobotV2Writer(LeRobotWriter):
    """As `LeRobotWriter`, for version 2.1."""

    VERSION = "v2.1"

    def _layout_info(self) -> dict[str, Any]:
        return {"total_videos": 0, "total_chunks": 0, "data_path": DATA, "video_path": VIDEO}

    def _layout_totals(self, episodes: int) -> dict[str, Any]:
        return {"total_videos": episodes, "total_chunks": (episodes - 1) // CHUNK_V2 + 1}

    def _paths(self, index: int) -> tuple[Path, Path]:
        where = {"episode_chunk": index // CHUNK_V2, "episode_index": index}
        return self.root / DATA.format(**where), self.root / VIDEO.format(video_key=layout.IMAGE, **where)

    def _write_metadata(
        self,
        length: int,
        annotation: EpisodeAnnotation,
        tasks: dict[str, int],
        *,
        stats: layout.Stats,
        together: layout.Stats,
    ) -> None:
        index = self._info["total_episodes"]
        self._write_tasks(tasks)
        episode = {"episode_index": index, "tasks": [annotation.instruction], "length": length}
        episode |= {layout.INSTRUCTION_EN: annotation.instruction_en} if annotation.instruction_en else {}
        self._append_line(EPISODES_V2, episode, index)
        kept = {key: {name: values[name] for name in STATISTICS} for key, values in stats.items()}
        self._append_line(EPISODE_STATS, {"episode_index": index, "stats": kept}, index)

    def _write_tasks(self, tasks: dict[str, int]) -> None:
        lines = [json.dumps({"task_index": index, "task": task}, ensure_ascii=False) for task, index in tasks.items()]
        write_text(self.root / TASKS_V2, "\n".join([*lines, ""]))

    def _read_tasks(self) -> dict[str, int]:
        if not self._info["total_episodes"]:
            return {}
        lines = (self.root / TASKS_V2).read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return {row["task"]: row["task_index"] for row in rows if row["task_index"] < self._info["total_tasks"]}

    def _read_stats(self) -> layout.Stats:
        """Those of all episodes are in no file of this version."""
        return {}
