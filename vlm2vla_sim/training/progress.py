"""What a training leaves while it runs: the loss of every step, and which checkpoints may be trusted.

A process that is killed while it writes a checkpoint leaves a folder that looks like one. Going on from it fails, or
worse, goes on from half the state. A checkpoint is trusted once the file `complete` is in it, written last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINES = 20
STEPS, RESUMED, COMPLETE = "steps.jsonl", "resumed.jsonl", "complete"


def last_complete(work: Path) -> Path | None:
    """The newest trusted checkpoint; None when there is none."""
    return max((path for path in work.glob("checkpoint-*") if (path / COMPLETE).is_file()), key=_step_of, default=None)


class Progress:
    """Writes it, in the main process."""

    def __init__(self, work: Path, *, main: bool) -> None:
        self._work, self._main = work, main
        self._before = tuple(line["step"] for line in _read(work / RESUMED))
        self.resumed = self._before

    def began(self, step: int) -> None:
        """A process starts at `step`. What an earlier one left half-written is removed; so are the steps it redoes."""
        path = self._work / STEPS
        if self._main:
            for checkpoint in self._work.glob("checkpoint-*"):
                if not (checkpoint / COMPLETE).is_file():
                    shutil.rmtree(checkpoint)
        if not path.exists():
            return
        self.resumed = (*self._before, step)
        if self._main:
            kept = [line for line in _read(path) if line["step"] <= step]
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            _append(self._work / RESUMED, {"step": step})

    def callback(self, tell: Callable[[str], None]) -> Any:
        """What the trainer calls. tell: is given about twenty lines for people in the course of a training."""
        from transformers import TrainerCallback

        work, main = self._work, self._main

        class Recorder(TrainerCallback):
            def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                logs = kwargs.get("logs") or {}
                if main and "loss" in logs:
                    line = {"step": state.global_step, "loss": float(logs["loss"])}
                    _append(work / STEPS, {**line, "learning_rate": float(logs["learning_rate"])})
                    if state.global_step % max(1, state.max_steps // LINES) == 0:
                        tell(f"step {state.global_step} of {state.max_steps}, loss {line['loss']:.4f}")

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if main:
                    folder = work / f"checkpoint-{state.global_step}"
                    _flush(folder)
                    (folder / COMPLETE).touch()

        return Recorder()


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _read(path: Path) -> list[dict[str, Any]]:
    """Its whole lines; a last one that a kill cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _flush(folder: Path) -> None:
    """See every file of `folder` to the disk, so that a machine that loses power cannot have the mark without them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
