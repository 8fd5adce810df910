"""Trains a LoRA adapter, or every weight, with TRL's SFTTrainer: resumable, on one device or several.

The trainer by itself restarts after a kill during a checkpoint, and leaves a folder that looks like an adapter before
it is complete. Here a checkpoint counts once it is marked complete, and the result's folder appears at the end,
complete, with everything needed to reproduce it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.store import Store
from vlm2vla_sim.data.examples.folder import read_about
from vlm2vla_sim.errors import RunFolderError, SettingError, missing_extra
from vlm2vla_sim.language.formats.statistics import ActionStatistics, save_statistics
from vlm2vla_sim.policies.models.action_symbols import save_symbols
from vlm2vla_sim.policies.models.hf_loading import load_processor
from vlm2vla_sim.policies.models.memory_estimate import find_memory
from vlm2vla_sim.training import memory
from vlm2vla_sim.training.progress import STEPS, TrainingLog, check_weights, last_complete, open_work
from vlm2vla_sim.training.rows import open_rows
from vlm2vla_sim.training.settings import TrainSettings
from vlm2vla_sim.training.trainer import make_trainer
from vlm2vla_sim.training.training_record import RECORD, make_record

try:
    import torch
    from accelerate import PartialState
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "accelerate", "train") from error

LOSSES = "losses.jsonl"
FINAL_ROWS = 32
"""The final loss is the mean over this many rows, the first of the training data."""
LEFT_BY_TRL = ("training_args.bin", "README.md")
"""Files of TRL that are removed from the result: a pickle, and a model card template."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run."""

    folder: Path
    steps: int
    rows: int
    skipped: dict[str, int]
    """Reason -> number of rows that were left out."""
    final_loss: float
    """Mean loss over `FINAL_ROWS` training rows after the last step; nats per token of the completions."""
    resumed: tuple[int, ...]
    """The steps at which the training run was resumed."""


def train(
    settings: TrainSettings,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
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
        report: Receives lines of progress.

    RunFolderError if `out` exists, or holds an interrupted training run that is not resumed or differs; SettingError
    for settings that do not fit this machine, the model or the rows.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    main = int(os.environ.get("RANK", "0")) == 0
    settings.accumulation(processes)
    if out.exists():
        raise RunFolderError(f"{out} exists already. Choose another folder (--out DIR).")
    needs = memory.estimate(settings)
    if main:
        report(needs.text())
    if not force and processes == 1:
        memory.check(needs, find_memory(), on_gpu=torch.cuda.is_available())
    work = out.with_name(f"{out.name}.work")
    begun = work.exists()
    store = open_work(work, settings, data, resume=resume) if main else None
    try:
        return _train(settings, data, out, work, processes, store, resume=resume, report=report)
    except SettingError:
        if store is not None and not begun and processes == 1 and not store.lines(STEPS):
            store.close()
            shutil.rmtree(work)  # a training that cannot start leaves nothing behind
        raise
    finally:
        if store is not None:
            store.close()


def _train(
    settings: TrainSettings,
    data: Path,
    out: Path,
    work: Path,
    processes: int,
    store: Store | None,
    *,
    resume: bool,
    report: Callable[[str], None],
) -> TrainingResult:
    """As `train`, in the folder `work`. store: None except in the main process."""
    PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()  # until the main process has made the folder
    processor = load_processor(settings.model)
    rows, skipped = open_rows(data, processor, max_tokens=settings.max_tokens, cache=work / "cache")
    if store is not None:
        report(f"{len(rows)} rows" + "".join(f"; skipped, {reason}: {count}" for reason, count in skipped.items()))
    start = last_complete(work) if resume else None
    trainer, base = make_trainer(settings, processor, rows, work, processes, start=start)
    if store is not None:
        check_weights(work, settings, base)
    log = TrainingLog(work, store)
    log.began(0 if start is None else int(start.name.rpartition("-")[2]))
    trainer.add_callback(log.callback(report))
    began = time.time()
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    final = float(trainer.evaluate(rows.select(range(min(FINAL_ROWS, len(rows)))))["eval_loss"])
    record = make_record(
        settings,
        data,
        base=base,
        skipped=skipped,
        rows=len(rows),
        result={
            "steps": trainer.state.global_step,
            "final_loss": final,
            "seconds_since_resumed": round(time.time() - began, 1),
            "resumed": list(log.resumed),
            "processes": processes,
        },
    )
    _write_result(trainer, processor, settings, record, data, work, out, store)
    trainer.accelerator.wait_for_everyone()  # until the result is in place
    return TrainingResult(out, trainer.state.global_step, len(rows), skipped, final, log.resumed)


def _write_result(
    trainer: Any,
    processor: Any,
    settings: TrainSettings,
    record: dict[str, object],
    data: Path,
    work: Path,
    out: Path,
    store: Store | None,
) -> None:
    """Write the result to a folder in `work`, then rename it to `out`. store: None except in the main process."""
    draft = work / "result"
    if store is not None and draft.exists():
        shutil.rmtree(draft)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(draft))  # every process takes part if the weights are sharded
    trainer.accelerator.wait_for_everyone()
    if store is None:
        return
    for name in LEFT_BY_TRL:
        (draft / name).unlink(missing_ok=True)
    if settings.method == "full":
        processor.save_pretrained(draft)
    else:
        keep = {"adapter_config.json", "adapter_model.safetensors"}
        for path in draft.iterdir():
            if path.name not in keep:
                path.unlink()
    symbols = read_about(data).get("symbols")
    if symbols:
        save_symbols(symbols, draft)
    statistics = read_about(data).get("statistics")
    if statistics:
        save_statistics(ActionStatistics.from_json(statistics), draft)
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    (draft / RECORD).write_text(text, encoding="utf-8")
    store.close()
    (work / STEPS).replace(draft / LOSSES)
    draft.replace(out)
    shutil.rmtree(work)
