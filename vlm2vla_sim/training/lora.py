"""Trains a LoRA adapter, or every weight, with TRL's SFTTrainer: resumable, on one device or several.

The trainer by itself restarts after a kill during a checkpoint, and leaves a folder that looks like an adapter before
it is complete. Here a checkpoint counts once it is marked complete, and the result's folder appears at the end,
complete, with everything needed to reproduce it.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.core.settings_diff import to_plain
from vlm2vla_sim.errors import RunFolderError, SettingError, missing_extra
from vlm2vla_sim.evaluation.trackers.base import TrackedRun
from vlm2vla_sim.evaluation.trackers.tracking import Tracking
from vlm2vla_sim.policies.models.hf_loading import check_quantization, load_processor
from vlm2vla_sim.policies.models.lora_targets import lora_account
from vlm2vla_sim.policies.models.memory_estimate import find_memory
from vlm2vla_sim.training import memory
from vlm2vla_sim.training.best_checkpoint import BestCheckpoint
from vlm2vla_sim.training.held_out import LossByKind, Split, split_rows
from vlm2vla_sim.training.packing import pack_rows
from vlm2vla_sim.training.progress import STEPS, TrainingLog, check_weights, last_complete, open_work
from vlm2vla_sim.training.result import TRACKED, Place, write_result
from vlm2vla_sim.training.rows import open_rows
from vlm2vla_sim.training.settings import TrainSettings
from vlm2vla_sim.training.trainer import make_trainer
from vlm2vla_sim.training.training_record import make_record

try:
    import torch
    from accelerate import PartialState
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "accelerate", "train") from error

FINAL_ROWS = 32
"""The final loss is the mean over this many rows, the first of the training data."""
TRACKER_ID = "tracker_id"
"""Its key in the settings file of the work folder."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run."""

    folder: Path
    steps: int
    rows: int
    skipped: dict[str, int]
    """Reason -> number of rows that were left out."""
    final_loss: float
    """Mean loss over `FINAL_ROWS` training rows, of the weights in `folder`; nats per token of the completions."""
    resumed: tuple[int, ...]
    """The steps at which the training run was resumed."""
    held_out: dict[str, object] | None = None
    """What is recorded of the rows held out (see `training.json`); None if there are none."""


def train(
    settings: TrainSettings,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    trackers: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Train on the rows in `data` (see `data.examples.folder`) and write the result to the new folder `out`.

    Until the end, everything is in a folder of the same name with the suffix ".work".

    Args:
        settings: The training recipe.
        data: A folder of training rows.
        out: The folder of the result; it must not exist.
        resume: Continue an interrupted training run with the same settings and rows.
        force: Start even if the estimated memory exceeds what is available.
        trackers: Names of trackers for the figures of every step (see `evaluation.trackers.base.make_tracker`).
        report: Receives lines of progress.

    RunFolderError if `out` exists, or holds an interrupted training run that is not resumed or differs; SettingError
    for settings that do not fit this machine, the model or the rows.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    main = int(os.environ.get("RANK", "0")) == 0
    settings.accumulation(processes)
    if out.exists():
        raise RunFolderError(f"{out} exists already. Choose another folder (--out DIR).")
    check_quantization(settings.quantization)
    tracking = Tracking(trackers if main else ())
    needs = memory.estimate(settings)
    if main:
        report(needs.text())
    if not force and processes == 1:
        memory.check(needs, find_memory(), on_gpu=torch.cuda.is_available())
    work = out.with_name(f"{out.name}.work")
    begun = work.exists()
    store = open_work(work, settings, data, resume=resume) if main else None
    place = Place(data, out, work, store)
    try:
        tracking.open(lambda: _tracked_run(settings, place))
        return _train(settings, place, processes, tracking, resume=resume, report=report)
    except SettingError:
        if store is not None and not begun and processes == 1 and not store.lines(STEPS):
            store.close()
            shutil.rmtree(work)  # a training that cannot start leaves nothing behind
        raise
    finally:
        tracking.close({})
        if store is not None:
            store.close()


def _tracked_run(settings: TrainSettings, place: Place) -> TrackedRun:
    assert place.store is not None  # only the main process has trackers
    if place.store.recorded(TRACKER_ID) is None:
        place.store.record(TRACKER_ID, uuid.uuid4().hex[:16])
    plain = {**to_plain(settings), "data": str(place.data.absolute())}
    return TrackedRun(place.out, place.store.recorded(TRACKER_ID), plain, place.work / TRACKED)


def _train(
    settings: TrainSettings,
    place: Place,
    processes: int,
    tracking: Tracking,
    *,
    resume: bool,
    report: Callable[[str], None],
) -> TrainingResult:
    """As `train`, in the folder `place.work`."""
    PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()  # until the main process has made the folder
    work, store = place.work, place.store
    processor = load_processor(settings.model)
    rows, skipped = open_rows(place.data, processor, max_tokens=settings.max_tokens, cache=work / "cache")
    split = split_rows(rows, settings.held_out, settings.seed) if settings.held_out else None
    rows = rows if split is None else split.rows
    if store is not None:
        report(f"{len(rows)} rows" + "".join(f"; skipped, {reason}: {count}" for reason, count in skipped.items()))
    start = last_complete(work) if resume else None
    trainer, base = make_trainer(settings, processor, rows, work, processes, start=start)
    if store is not None:
        check_weights(work, settings, base)
    lora = None if settings.method == "full" else lora_account(trainer.model)
    if store is not None and lora is not None:
        report(lora.text())
    log = TrainingLog(work, store)
    step = 0 if start is None else int(start.name.rpartition("-")[2])
    earlier = log.began(step)
    best = BestCheckpoint(work, settings.patience)
    first = rows.select(range(min(FINAL_ROWS, len(rows))))
    if split is not None:
        best.resume(earlier, main=store is not None)
        losses = (LossByKind(trainer, trainer.data_collator, chosen) for chosen in (split.held_out, first))
        trainer.add_callback(best.callback(trainer, log, *losses))
    trainer.add_callback(log.callback(report, tracking.log))
    collate = trainer.data_collator
    if settings.packing:
        pack_rows(trainer, rows, settings)
    began = time.time()
    if not best.exhausted:  # else it was interrupted between the last step and the result
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
        step = trainer.state.global_step
    trainer.data_collator = collate
    chosen = best.best
    final = float(trainer.evaluate(first)["eval_loss"]) if chosen is None else chosen.train_loss
    held_out = None if split is None else _describe(split, best, step)
    tracking.close({"final/loss": final} | ({} if chosen is None else {"final/held_out_loss": chosen.loss}))
    result: dict[str, object] = {
        "steps": step,
        "final_loss": final,
        "held_out": held_out,
        "seconds_since_resumed": round(time.time() - began, 1),
        "resumed": list(log.resumed),
        "processes": processes,
    }
    if trackers := tracking.report():
        result["trackers"] = trackers
    record = make_record(settings, place.data, base=base, lora=lora, skipped=skipped, rows=len(rows), result=result)
    write_result(trainer, processor, settings, record, place, None if chosen is None else best.folder(chosen.step))
    trainer.accelerator.wait_for_everyone()  # until the result is in place
    return TrainingResult(place.out, step, len(rows), skipped, final, log.resumed, held_out)


def _describe(split: Split, best: BestCheckpoint, steps: int) -> dict[str, object]:
    """What `training.json` says of the rows held out; losses in nats per token of the completions."""
    chosen = best.best
    assert chosen is not None  # the last step is a checkpoint
    return {
        "rows": len(split.held_out),
        "episodes": split.groups,
        "of_episodes": split.all_groups,
        "loss": chosen.loss,
        "by_stage": chosen.by_stage,
        "step": chosen.step,
        "stopped_early": best.exhausted,
        "measured": [{"step": one.step, "loss": one.loss} for one in best.measured],
    }
