"""Builds TRL's SFTTrainer for a training run: the model, the adapter and the trainer's arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.adapter_base import describe_base
from vlm2vla_sim.policies.models.digests import weight_files
from vlm2vla_sim.policies.models.hf_adapter import load_adapter, load_checkpoint, peft_reads_old_attribute
from vlm2vla_sim.policies.models.hf_loading import HfSettings, first_line, load_weights
from vlm2vla_sim.policies.models.lora_targets import target_pattern
from vlm2vla_sim.training.settings import TrainSettings

try:
    import torch
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "trl", "train") from error


def make_trainer(
    settings: TrainSettings, processor: Any, rows: Any, work: Path, processes: int, *, start: Path | None = None
) -> tuple[Any, dict[str, object]]:
    """The trainer, and what is known of the base model (`adapter_base.describe_base`).

    rows: as `open_rows` returns them. work: folder for checkpoints. start: the checkpoint to resume from, if any.
    SettingError if `settings.adapter` is not an adapter of this model, or if no batch can be made of a row.
    """
    dtype = "float32" if settings.method == "full" else settings.dtype
    model = load_weights(_loading(settings, dtype))
    base = describe_base(settings.model, model)
    if start is not None and settings.method == "full":
        # Gemma 3 is saved under other parameter names than those in memory. The trainer would match none of them and
        # continue from the base model with only a warning.
        model = load_weights(HfSettings(str(start), dtype=dtype))
    model.config.use_cache = False
    peft = None
    if settings.adapter:
        model = load_adapter(model, settings.adapter, base=settings.model, trainable=True).model
    elif settings.method == "lora":
        peft = _lora_config(model, settings)
    arguments = _arguments(settings, work, processes)
    with peft_reads_old_attribute():
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=rows, processing_class=processor, peft_config=peft
        )
    if start is not None and settings.method == "lora" and weight_files(start):
        load_checkpoint(trainer.model, start)  # the trainer itself only warns of what does not fit
    _check_batches(trainer, rows, settings)
    trainer.remove_callback(PrinterCallback)  # standard output belongs to the command
    return trainer, base


def _loading(settings: TrainSettings, dtype: str) -> HfSettings:
    """How the base model is loaded; bitsandbytes needs to be told where."""
    if not settings.quantization:
        return HfSettings(settings.model, dtype=dtype)
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    return HfSettings(settings.model, dtype=dtype, quantization=settings.quantization, device_map=device)


def _check_batches(trainer: Any, rows: Any, settings: TrainSettings) -> None:
    """SettingError unless a batch can be made of a row, before the first step."""
    try:
        trainer.data_collator([rows[0]])
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        name = type(trainer.processing_class).__name__
        raise SettingError(
            f"TRL cannot make a training batch with the {name} of {settings.model!r}: {first_line(error)} Train "
            "a model of another family; docs/families.md lists those that are tested."
        ) from error


def _lora_config(model: Any, settings: TrainSettings) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=target_pattern(model),
        task_type="CAUSAL_LM",
    )


def _arguments(settings: TrainSettings, work: Path, processes: int) -> SFTConfig:
    return SFTConfig(
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
        max_length=None,  # rows that are too long are left out; truncation would cut images or actions
        remove_unused_columns=False,
        save_steps=settings.save_every,
        save_total_limit=2,  # the previous checkpoint is kept until the next one is marked complete
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        # Every LoRA weight is used in every step; the vision tower's pooling head of a whole Gemma 3 is never used.
        ddp_find_unused_parameters=False if settings.method == "lora" else None,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
