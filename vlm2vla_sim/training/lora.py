"""Trains a LoRA adapter, or every weight, by TRL's SFTTrainer: resumable, on one device or many.

The trainer itself would start over where a kill left half a checkpoint, and would leave a folder that looks like an
adapter before it is one. Here a checkpoint counts once it is marked complete, and the adapter's folder appears at once,
whole, with everything needed to make it again.
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
from vlm2vla_sim.policies.models.action_symbols import save_symbols
from vlm2vla_sim.policies.models.hf_loading import HfSettings, load_processor, load_weights
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS, find_memory
from vlm2vla_sim.training import memory
from vlm2vla_sim.training.progress import STEPS, Progress, last_complete, open_work
from vlm2vla_sim.training.rows import open_rows
from vlm2vla_sim.training.settings import TrainSettings
from vlm2vla_sim.training.training_record import RECORD, fingerprint, make_record

try:
    import torch
    from accelerate import PartialState
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "trl", "train") from error

LOSSES = "losses.jsonl"
FINAL_ROWS = 32
"""Rows, from the first on, whose loss is the final loss."""
LEFT_BY_TRL = ("training_args.bin", "README.md")
"""A pickle of ours, and a form that nobody filled in."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to."""

    folder: Path
    steps: int
    rows: int
    skipped: dict[str, int]
    final_loss: float
    """Mean over `FINAL_ROWS` rows of the training data, after the last step; nats per token of the answers."""
    resumed: tuple[int, ...]
    """The steps from which it went on after it had been stopped."""


def train(
    settings: TrainSettings,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Train on the rows in `data` (see `data.example_folder`) and leave the result in `out`, which must not exist yet.

    Until the end everything is in a folder of the same name with ".work" after it; with `resume` a training that was
    stopped goes on from there. force: start although the memory will not do. tell: is given lines for people.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    main = int(os.environ.get("RANK", "0")) == 0
    settings.accumulation(processes)
    if out.exists():
        raise RunFolderError(f"{out} is there already; choose another folder (--out DIR).")
    needs = memory.estimate(settings)
    if main:
        tell(needs.text())
    if not force and processes == 1:
        memory.check(needs, find_memory(), on_gpu=torch.cuda.is_available())
    work = out.with_name(f"{out.name}.work")
    store = open_work(work, settings, data, resume=resume) if main else None
    try:
        return _train(settings, data, out, work, processes, store, resume=resume, tell=tell)
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
    tell: Callable[[str], None],
) -> TrainingResult:
    """As `train`, in the folder `work`; store: None but in the main process."""
    PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()  # else another process makes the folder
    processor = load_processor(settings.model)
    rows, skipped = open_rows(data, processor, max_tokens=settings.max_tokens, cache=work / "cache")
    if store is not None:
        tell(f"{len(rows)} rows" + "".join(f"; left out, {why}: {count}" for why, count in skipped.items()))
    start = last_complete(work) if resume else None
    trainer, base = _make_trainer(settings, processor, rows, work, processes, start=start)
    progress = Progress(work, store)
    progress.began(0 if start is None else int(start.name.rpartition("-")[2]))
    trainer.add_callback(progress.callback(tell))
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
            "resumed": list(progress.resumed),
            "processes": processes,
        },
    )
    _write_result(trainer, processor, settings, record, data, work, out, store)
    trainer.accelerator.wait_for_everyone()  # now every process finds the result
    return TrainingResult(out, trainer.state.global_step, len(rows), skipped, final, progress.resumed)


def _make_trainer(
    settings: TrainSettings, processor: Any, rows: Any, work: Path, processes: int, *, start: Path | None = None
) -> tuple[Any, dict[str, object]]:
    dtype = "float32" if settings.method == "full" else settings.dtype
    model = load_weights(HfSettings(settings.model, dtype=dtype))
    base = {
        "name": settings.model,
        "commit": getattr(model.config, "_commit_hash", None),
        "fingerprint": fingerprint(model),
    }
    if start is not None and settings.method == "full":
        # The trainer would read the checkpoint under the names of the model in memory, find none of them, and go on
        # from the base with a warning: Gemma 3 is saved under other names.
        model = load_weights(HfSettings(str(start), dtype=dtype))
    model.config.use_cache = False
    peft = None
    if settings.adapter:
        model = _with_adapter(model, settings.adapter)
    elif settings.method == "lora":
        layers = memory.language_layers(model)
        by_name = LORA_TARGETS if any("language_model" in name for name in layers) else sorted(layers)
        peft = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=by_name,
            task_type="CAUSAL_LM",
        )
    arguments = SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=settings.per_device,
        per_device_eval_batch_size=settings.per_device,
        gradient_accumulation_steps=settings.accumulation(processes),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup,
        optim="adamw_torch",
        weight_decay=0.0,
        bf16=settings.dtype == "bfloat16",
        activation_checkpointing=settings.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        completion_only_loss=True,
        max_length=None,  # rows that are too long were left out; cutting them would cut images or actions
        remove_unused_columns=False,
        save_steps=settings.save_every,
        save_total_limit=2,  # the one before stays until the next is marked complete
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        # Every LoRA weight is used in every step; of a whole Gemma 3 the tower's own pooling never is.
        ddp_find_unused_parameters=False if settings.method == "lora" else None,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor, peft_config=peft)
    trainer.remove_callback(PrinterCallback)  # standard output is the command's
    return trainer, base


def _with_adapter(model: Any, folder: str) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingError(f"{folder} holds no adapter of this model that can go on learning: {error}") from error


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
    """Write everything to a folder in `work`, which then takes the name `out`. store: None but in the main process."""
    draft = work / "result"
    if store is not None and draft.exists():
        shutil.rmtree(draft)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(draft))  # every process takes part where the weights are shared among them
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
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    (draft / RECORD).write_text(text, encoding="utf-8")
    store.close()
    (work / STEPS).replace(draft / LOSSES)
    draft.replace(out)
    shutil.rmtree(work)
