"""Teaches the base model to see and then to answer, from random weights, on an album of scenes and drawings.

It looks before it speaks: at first the vision tower alone learns what each place of a picture shows (`mini.dense`),
which is cheap, then answers are learnt on top while it goes on. The dense heads are thrown away.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.mini.model.checkpoint import UNFINISHED, Progress, keep, resume
from vlm2vla_sim.mini.model.model import PATCH, MiniSize, make_model, make_processor, make_tokenizer
from vlm2vla_sim.mini.scenes.rendered_dataset import SIDE
from vlm2vla_sim.mini.training.data_loader import Material, View
from vlm2vla_sim.mini.training.dense_targets import DenseHeads
from vlm2vla_sim.mini.training.packing import Batch, Packer
from vlm2vla_sim.mini.training.process_group import Crew
from vlm2vla_sim.mini.training.recipe import Recipe

RECIPE = "recipe.json"


def answer_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens with their shares; logits: (N, vocabulary)."""
    scores = functional.log_softmax(logits.float(), dim=-1)
    return -(scores.gather(1, batch.targets) * batch.shares).sum(1).mean()


def answers(model: Any, image: Any, batch: Batch) -> torch.Tensor:
    """Logits (N, vocabulary) where answers are predicted; image: what `get_image_features` gave, None for pages."""
    mask = {"full_attention": batch.mask, "sliding_attention": batch.mask}
    hidden = model.model(
        input_ids=batch.ids,
        attention_mask=mask,
        position_ids=batch.positions,
        **({} if image is None else {"mm_encoder_outputs": {"image": image}}),
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[batch.rows[:, 0], batch.rows[:, 1]])


def pretrain(folder: Path, out: Path, *, texts: list[str], recipe: Recipe, size: MiniSize, report: Any = print) -> Any:
    """Train on the album in `folder`, write the model to `out` and return it; a run that was stopped goes on.

    Under `torchrun` all its processes train it together (`mini.crew`). RunFolderError when `out` holds a finished model
    already; SettingError when the processes cannot share the batches evenly.
    """
    if (out / RECIPE).exists():
        raise RunFolderError(f"{out} holds a finished base already; choose another folder.")
    crew, started = Crew.join(), time.process_time()
    own = recipe.shared_by(crew.size)
    processor = make_processor(make_tokenizer(texts), size)
    model = make_model(processor.tokenizer, size, seed=recipe.seed)
    heads = torch.nn.ModuleList([DenseHeads(size.vision_hidden), DenseHeads(size.hidden)])
    optimizers = _optimizers(model, heads, recipe)
    modules = torch.nn.ModuleDict({"model": model, "heads": heads})
    out.mkdir(parents=True, exist_ok=True)
    done = resume(out, modules, optimizers)
    sides = (SIDE // PATCH, math.isqrt(size.image_tokens))
    material = Material(folder, own, Packer(processor), sides=sides, crew=crew, begin=done.updates)
    material.shards.update(done.shards)

    def spent() -> float:
        return done.cpu_seconds + crew.total(time.process_time() - started)

    for update, views in zip(range(done.updates, recipe.total), material.scenes(), strict=False):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = recipe.rate_at(update)
        said, dense = _losses(modules, material, views, own, update)
        (torch.nan_to_num(said) + (recipe.dense if recipe.speaks(update) else 1.0) * dense).backward()
        crew.average(modules.parameters())
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if update % 20 == 0 or update in (recipe.looks, recipe.total - 1):
            told = f"{update} answers {said.item():.3f} dense {dense.item():.3f} CPU-s {spent():.0f}"
            if crew.leads:
                report(told)
        if (update + 1) % recipe.keep_every == 0:
            progress = Progress(update + 1, spent(), sorted(material.shards))
            if crew.leads:
                keep(out, progress, modules, optimizers)
    cpu_seconds = round(spent())
    if crew.leads:
        model.save_pretrained(out)
        processor.save_pretrained(out)
        made_of = {**dataclasses.asdict(recipe), **dataclasses.asdict(size), "shards": sorted(material.shards)}
        (out / RECIPE).write_text(json.dumps({**made_of, "processes": crew.size, "cpu_seconds": cpu_seconds}))
        (out / UNFINISHED).unlink(missing_ok=True)
    return model


def _losses(
    modules: Any, material: Material, views: list[View], recipe: Recipe, update: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the answers, NaN as long as it only looks, and of what the cells show."""
    model, said = modules["model"], []
    if recipe.is_settling(update):
        views = views[: recipe.settled_pictures]
    if recipe.speaks(update):
        views = material.with_drawings(views)
    with torch.autocast("cpu", torch.bfloat16):
        image = model.model.get_image_features(material.pixels(views), return_dict=True)
        if recipe.speaks(update):
            batch = material.batch(views)
            said.append(answer_loss(answers(model, image, batch), batch))
        if recipe.is_settling(update):
            page = material.pages()
            said.append(answer_loss(answers(model, None, page), page))
    seen = (image.last_hidden_state, image.pooler_output)
    levels = zip(modules["heads"], seen, material.targets(views), strict=True)
    dense = torch.stack([head.loss(tokens, targets) for head, tokens, targets in levels]).sum()
    return torch.stack(said).mean() if said else torch.tensor(math.nan), dense


def _optimizers(model: Any, heads: torch.nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the model, AdamW for the rest (K. Jordan et al., "Muon", 2024; torch's own)."""
    inner = [w for name, w in model.named_parameters() if w.ndim == 2 and "embed" not in name and "lm_head" not in name]
    known = {id(weight) for weight in inner}
    others = [weight for weight in (*model.parameters(), *heads.parameters()) if id(weight) not in known]
    return [
        torch.optim.Muon(inner, lr=recipe.rate, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay),
    ]
