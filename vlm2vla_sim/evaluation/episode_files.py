"""The files of an episode besides its result: their names, the motion named in the video, the log of an error."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.file_names import NAME_BYTES, check_path, file_name
from vlm2vla_sim.envs.executor import ControlStep
from vlm2vla_sim.errors import RunFolderError

STATUS_FLAGS = (
    ("grasped", "grasped"),
    ("held", "consecutive_grasp"),
    ("moved", "moved_correct_object"),
    ("on target", "on_target"),
    ("success", "success"),
    ("settled", "settled"),
)
"""Status flags of the video: label and key of `info`."""


def status_flags(info: Mapping[str, Any]) -> tuple[tuple[str, bool], ...]:
    """The flags of the video: those that are known."""
    return tuple((label, bool(info[key])) for label, key in STATUS_FLAGS if info[key] is not None)


def episode_stem(task: str, episode_id: int) -> str:
    """The name, without a suffix, of the files of one episode of `task`."""
    return f"ep{episode_id:04d}_{file_name(task)}"


def check_video_folder(folder: Path) -> Path:
    """`folder`, if videos can be named in it; otherwise RunFolderError, before the episode begins."""
    check_path(folder, RunFolderError, room=NAME_BYTES)
    return folder


def write_log(path: Path, error: BaseException) -> None:
    """Append the traceback of `error` to the log `path`; RunFolderError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError as failed:
        raise RunFolderError(f"The log {path} cannot be written: {failed.strerror}.") from failed


def describe_step(step: ControlStep, rows: Sequence[str]) -> str:
    """The row that a step belongs to, as text."""
    if step.row < 0:
        return "hold still"
    return (f"row {step.row + 1} of {len(rows)}: " if len(rows) > 1 else "") + rows[step.row]
