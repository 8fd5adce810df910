"""What a training run records while it runs: the loss of every step, and which checkpoints are complete.

A process that is killed while it writes a checkpoint leaves a folder that looks like one. Resuming from it fails, or
worse, resumes from half the state. A checkpoint is complete once it holds the file `complete`, which is written last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.json_lines import read_lines
from vlm2vla_sim.core.store import Store, check_made_with
from vlm2vla_sim.data.examples.folder import data_hash
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.policies.models.digests import weights_digest
from vlm2vla_sim.policies.models.hub import local_folder
from vlm2vla_sim.training.settings import TrainSettings

LINES = 20
"""Number of progress lines over a training run."""
STEPS, RESUMED, COMPLETE, WEIGHTS = "steps.jsonl", "resumed.jsonl", "complete", "weights.json"


def open_work(work: Path, settings: TrainSettings, data: Path, *, resume: bool) -> Store:
    """The folder of a training run that is not finished, new or of the same training run, open for writing.

    data: the folder of rows; another content is another training run. RunFolderError as `Store` raises it.
    """
    made_with = {"settings": settings, "data": data_hash(data)}
    return Store(work, made_with, resume=resume, kind="training run", error=RunFolderError, files=(STEPS, RESUMED))


def check_weights(work: Path, settings: TrainSettings, base: Mapping[str, object]) -> None:
    """RunFolderError if the training run in `work` was begun with other weights under the names in its settings.

    base: of the model that was loaded, as `adapter_base.describe_base` returns it.
    """
    adapter = weights_digest(local_folder(settings.adapter)) if settings.adapter else None
    used = {"base_digest": base["digest"], "base_config_digest": base["config_digest"], "adapter_digest": adapter}
    check_made_with(work / WEIGHTS, used, kind="training run", error=RunFolderError)


def last_complete(work: Path) -> Path | None:
    """The newest complete checkpoint; None if there is none."""
    return max((path for path in work.glob("checkpoint-*") if (path / COMPLETE).is_file()), key=_step_of, default=None)


class TrainingLog:
    """The loss of every step and the steps that were resumed from, written by the main process."""

    def __init__(self, work: Path, store: Store | None) -> None:
        """work: the folder of checkpoints. store: the same folder, open for writing; None in the other processes."""
        self._work, self._store = work, store
        self._before = tuple(json.loads(line)["step"] for line in _lines(work / RESUMED))
        self.resumed = self._before
        self._measured: dict[str, object] = {}

    def began(self, step: int) -> list[dict[str, Any]]:
        """Start at `step`: incomplete checkpoints and the losses of later steps are removed.

        Returns the lines of the steps that are left.
        """
        losses = [json.loads(line) for line in _lines(self._work / STEPS)]
        again = bool(losses) or step > 0
        if again:
            self.resumed = (*self._before, step)
        left = [line for line in losses if line["step"] <= step]
        if self._store is None:
            return left
        for checkpoint in self._work.glob("checkpoint-*"):
            if not (checkpoint / COMPLETE).is_file():
                shutil.rmtree(checkpoint)
        if again:
            self._store.keep_first(STEPS, len(left))
            self._store.append(RESUMED, json.dumps({"step": step}))
        return left

    def measured(self, loss: float, by_stage: Mapping[str, float], train_loss: float) -> None:
        """The losses at this step's checkpoint (see `best_checkpoint.HeldOutLoss`); they go to the line of the step."""
        self._measured = {"held_out": {"loss": loss, "by_stage": dict(by_stage), "train_loss": train_loss}}

    def callback(self, report: Callable[[str], None], track: Callable[[Mapping[str, float], int], None]) -> Any:
        """The trainer's callback.

        report: receives about twenty lines of progress over a training run, and one for each checkpoint's losses.
        track: receives the figures of every step.
        """
        from transformers import TrainerCallback

        work, store, log = self._work, self._store, self

        class Recorder(TrainerCallback):
            def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                logs = kwargs.get("logs") or {}
                if store is not None and "loss" in logs:
                    line = {"step": state.global_step, "loss": float(logs["loss"])}
                    line["learning_rate"] = float(logs["learning_rate"])
                    store.append(STEPS, json.dumps({**line, **log._measured}))
                    track(_figures(logs, log._measured), state.global_step)
                    if state.global_step % max(1, state.max_steps // LINES) == 0:
                        report(f"step {state.global_step} of {state.max_steps}, loss {line['loss']:.4f}")
                    if held_out := log._measured.get("held_out"):
                        report(_held_out_line(state.global_step, held_out))
                    log._measured = {}

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if store is not None:
                    folder = work / f"checkpoint-{state.global_step}"
                    _flush(folder)
                    (folder / COMPLETE).touch()

        return Recorder()


def _figures(logs: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, float]:
    """What a tracker is told of a step."""
    names = ("loss", "learning_rate", "grad_norm", "epoch")
    values = {f"train/{name}": float(logs[name]) for name in names if name in logs}
    if held_out := measured.get("held_out"):
        values |= {"held_out/loss": held_out["loss"], "train/rows_loss": held_out["train_loss"]}
        values |= {f"held_out/{stage}/loss": loss for stage, loss in held_out["by_stage"].items()}
    return values


def _held_out_line(step: int, held_out: Any) -> str:
    kinds = ", ".join(f"{name} {loss:.4f}" for name, loss in held_out["by_stage"].items())
    return f"step {step}, loss on the rows held out {held_out['loss']:.4f} ({kinds})"


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _lines(path: Path) -> list[str]:
    return list(read_lines(path)) if path.exists() else []


def _flush(folder: Path) -> None:
    """Flush every file of `folder` to the disk, so that after a power failure the mark implies them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
