"""Trains the base model from scratch on a rendered dataset; `recipe` has the phases and their numbers."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vlm2vla_sim.core.store import check_made_with
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.mini.model.architecture import PATCH, MiniSize, make_model, make_processor
from vlm2vla_sim.mini.model.checkpoint import CHECKPOINT, PretrainingProgress, load_checkpoint, save_checkpoint
from vlm2vla_sim.mini.model.tokenizer import make_tokenizer
from vlm2vla_sim.mini.scenes.rendered_dataset import IMAGE_SIDE
from vlm2vla_sim.mini.training.data_loader import PretrainingData
from vlm2vla_sim.mini.training.packing import Packer
from vlm2vla_sim.mini.training.pretraining_model import PretrainingModel
from vlm2vla_sim.mini.training.process_group import ProcessGroup
from vlm2vla_sim.mini.training.recipe import PretrainingRecipe

RECIPE, MADE_WITH = "recipe.json", "pretraining.json"
REPORT_EVERY = 20
"""Updates between two lines of the report."""


def pretrain(
    folder: Path,
    out: Path,
    *,
    texts: list[str],
    recipe: PretrainingRecipe,
    size: MiniSize,
    report: Callable[[str], object] = print,
) -> Any:
    """Train on the rendered dataset in `folder`, save the model in `out` and return it; a stopped run is continued.

    Under `torchrun` all its processes train one model. RunFolderError if `out` holds a finished model, or a
    stopped run with another recipe, size or dataset; SettingError if the processes cannot divide the batches evenly.
    """
    if (out / RECIPE).exists():
        raise RunFolderError(f"{out} holds a finished base model; choose another folder.")
    group, started = ProcessGroup.join(), time.process_time()
    own = recipe.per_process(group.world_size)
    processor = make_processor(make_tokenizer(texts), size)
    module = PretrainingModel(make_model(processor.tokenizer, size, seed=recipe.seed), size)
    optimizers = _optimizers(module, recipe)
    out.mkdir(parents=True, exist_ok=True)
    if group.is_main:
        made_with = {"recipe": recipe, "size": size, "dataset": str(folder.absolute())}
        check_made_with(out / MADE_WITH, made_with, kind="pretraining run", error=RunFolderError)
    done = load_checkpoint(out, module, optimizers)
    sides = (IMAGE_SIDE // PATCH, math.isqrt(size.image_tokens))
    data = PretrainingData(folder, own, Packer(processor), sides=sides, group=group, first_update=done.updates)
    data.shards.update(done.shards)
    parallel = group.parallel(module)

    def cpu_seconds() -> float:
        return done.cpu_seconds + group.total(time.process_time() - started)

    for update, images in zip(range(done.updates, recipe.total), data.scenes(), strict=False):
        answers, dense = _train_step(parallel, optimizers, data, images, recipe, update)
        if update % REPORT_EVERY == 0 or update in (recipe.vision_updates, recipe.total - 1):
            line = f"{update} answers {answers:.3f} dense {dense:.3f} CPU-s {cpu_seconds():.0f}"
            if group.is_main:
                report(line)
        if (update + 1) % recipe.checkpoint_every == 0:
            progress = PretrainingProgress(update + 1, cpu_seconds(), sorted(data.shards))
            if group.is_main:
                save_checkpoint(out, progress, module, optimizers)
    record = {
        **dataclasses.asdict(recipe),
        **dataclasses.asdict(size),
        "shards": sorted(data.shards),
        "processes": group.world_size,
        "cpu_seconds": round(cpu_seconds()),
    }
    if group.is_main:
        _save(out, module.model, processor, record)
    return module.model


def _train_step(
    parallel: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    data: PretrainingData,
    images: list[Any],
    recipe: PretrainingRecipe,
    update: int,
) -> tuple[float, float]:
    """One update; the losses of this process: of the answers (NaN in the vision phase) and of the dense targets."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = recipe.learning_rate_at(update)
    answers, dense = parallel(data.batch(images, update))
    (torch.nan_to_num(answers) + (recipe.dense_weight if recipe.has_answers(update) else 1.0) * dense).backward()
    torch.nn.utils.clip_grad_norm_(parallel.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return answers.item(), dense.item()


def _save(out: Path, model: Any, processor: Any, record: dict[str, Any]) -> None:
    """Write the model and its record, then delete the checkpoint."""
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (out / RECIPE).write_text(json.dumps(record), encoding="utf-8")
    (out / CHECKPOINT).unlink(missing_ok=True)
    (out / MADE_WITH).unlink(missing_ok=True)


def _optimizers(module: PretrainingModel, recipe: PretrainingRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the model, AdamW for the rest (K. Jordan et al., "Muon", 2024; torch's own)."""
    named = list(module.model.named_parameters())
    inner = [w for name, w in named if w.ndim == 2 and "embed" not in name and "lm_head" not in name]
    known = {id(weight) for weight in inner}
    others = [weight for weight in module.parameters() if id(weight) not in known]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    return [
        torch.optim.Muon(inner, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=decay),
    ]
