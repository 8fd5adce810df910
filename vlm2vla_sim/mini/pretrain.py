"""Teaches the base model to see and then to answer, from random weights, on an album of scenes and drawings.

It looks before it speaks: at first the vision tower alone learns what each place of a picture shows (`mini.dense`),
which is cheap, then answers are learnt on top while it goes on. The dense heads are thrown away.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.mini import album, drawings, questions, reading, tongues
from vlm2vla_sim.mini.album import SIDE
from vlm2vla_sim.mini.checkpoint import UNFINISHED, Progress, keep, resume
from vlm2vla_sim.mini.dense import DenseHeads, Targets, dense_targets
from vlm2vla_sim.mini.facts import Facts
from vlm2vla_sim.mini.model import PATCH, MiniSize, make_model, make_processor, make_tokenizer
from vlm2vla_sim.mini.packing import Batch, Packer, Turn

RECIPE = "recipe.json"


@dataclass(frozen=True)
class Recipe:
    """How the base is trained."""

    looks: int = 7000
    """Updates of the vision tower alone, at the full rate."""
    updates: int = 2600
    """Updates of all, with answers."""
    pictures: int = 16
    """Per update."""
    drawings: float = 0.15
    """Share of the pictures that are drawings, once it speaks."""
    questions: int = 5
    sums: int = 2
    readings: int = 3
    words: int = 1
    rate: float = 2e-3
    warmup: int = 100
    flat: float = 0.3
    """Share of the updates with answers at the full rate; then a half cosine to zero."""
    dense: float = 0.5
    """Weight of the dense loss beside the answers'."""
    decay: float = 0.02
    seed: int = 0
    keep_every: int = 500
    """Updates between two points from which a run that was stopped goes on."""

    def rate_at(self, update: int) -> float:
        """The learning rate; updates are counted from the first look."""
        if update < self.warmup:
            return self.rate * (update + 1) / self.warmup
        done = ((update - self.looks) / self.updates - self.flat) / (1 - self.flat)
        return self.rate * (1.0 if done < 0 else 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True, eq=False)
class View:
    """A picture and what can be asked about it."""

    picture: np.ndarray
    """(SIDE, SIDE, 3) uint8 RGB."""
    ask: Callable[..., list[questions.Exchange]]
    """(rng, count=) -> questions with their answers."""
    shown: tuple[np.ndarray, Facts] | None
    """Map of classes and facts of a scene; None for a drawing."""


class Material:
    """Pictures without end, in a random order, and what is to be learnt from them."""

    def __init__(self, folder: Path, recipe: Recipe, packer: Packer, *, sides: tuple[int, ...]) -> None:
        """folder: the album; sides: into how many cells a side the pictures are cut for the dense losses."""
        self._folder, self._recipe, self._packer, self._sides = folder, recipe, packer, sides
        self._rng = np.random.default_rng(recipe.seed)
        self.shards: set[int] = set()
        """Numbers of the album's shards that were read."""

    def scenes(self) -> Iterator[list[View]]:
        """Batches from the album. Shards that come to it while it is read are taken up."""
        size = self._recipe.pictures
        while True:
            numbers = [number for number in album.numbers(self._folder) if number < album.HELD_OUT]
            chosen = self._rng.permutation(numbers)[:8]
            shards = [album.read(self._folder, int(number)) for number in chosen]
            self.shards.update(int(number) for number in chosen)
            places = [(shard, index) for shard in shards for index in range(len(shard.facts))]
            order = self._rng.permutation(len(places))
            for begin in range(0, len(order) - size + 1, size):
                yield [_scene(*places[k]) for k in order[begin : begin + size]]

    def with_drawings(self, views: list[View]) -> list[View]:
        """`views`, a share of them replaced by drawings."""
        return [_drawing(self._rng) if self._rng.random() < self._recipe.drawings else view for view in views]

    def pixels(self, views: list[View]) -> torch.Tensor:
        """(B, 3, H, W) as the model takes them, their looks varied."""
        return augment(torch.from_numpy(np.stack([view.picture for view in views])), self._rng)

    def targets(self, views: list[View]) -> list[Targets]:
        """What the cells show, for each of `sides`."""
        made = []
        for side in self._sides:
            parts = zip(*(dense_targets(view.shown, side) for view in views), strict=True)
            made.append(Targets(*(torch.from_numpy(np.stack(part)) for part in parts)))
        return made

    def batch(self, views: list[View]) -> Batch:
        """Questions and answers about them."""
        return self._packer.pack([self._turns(view) for view in views])

    def _turns(self, view: View) -> list[Turn]:
        asked = view.ask(self._rng, count=self._recipe.questions)
        blind = [
            *questions.sums(self._rng, count=self._recipe.sums),
            *reading.ask(self._rng, count=self._recipe.readings),
            *tongues.ask(self._rng, count=self._recipe.words),
        ]
        turns = [Turn(one.question, one.answer, period=one.period) for one in asked]
        return turns + [Turn(one.question, one.answer, sees=False) for one in blind]


def _scene(shard: album.Shard, index: int) -> View:
    facts = shard.facts[index]
    return View(shard.pictures[index], partial(questions.ask, facts), (shard.seen[index], facts))


def _drawing(rng: np.random.Generator) -> View:
    drawing = drawings.draw(rng)
    return View(drawing.picture(), partial(drawings.ask, drawing), None)


def augment(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(B, 3, H, W) in -1..1 from (B, H, W, 3) uint8, with other light, colour balance and noise."""
    pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    count = len(pixels)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.94, 1.06, (count, 3, 1, 1)))
    shift = torch.from_numpy(rng.uniform(-0.12, 0.12, (count, 1, 1, 1)))
    pixels = pixels * gain.float() + shift.float()
    return pixels.add_(torch.randn_like(pixels), alpha=0.02).clamp_(-1.0, 1.0)


def answer_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens with their shares; logits: (N, vocabulary)."""
    scores = functional.log_softmax(logits.float(), dim=-1)
    return -(scores.gather(1, batch.targets) * batch.shares).sum(1).mean()


def answers(model: Any, image: Any, batch: Batch) -> torch.Tensor:
    """Logits (N, vocabulary) where answers are predicted; image: what `get_image_features` gave."""
    mask = {"full_attention": batch.mask, "sliding_attention": batch.mask}
    hidden = model.model(
        input_ids=batch.ids,
        attention_mask=mask,
        position_ids=batch.positions,
        mm_encoder_outputs={"image": image},
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[batch.rows[:, 0], batch.rows[:, 1]])


def pretrain(folder: Path, out: Path, *, texts: list[str], recipe: Recipe, size: MiniSize, report: Any = print) -> None:
    """Train on the album in `folder` and write the model to `out`; a run that was stopped goes on.

    RunFolderError when `out` holds a finished model already.
    """
    if (out / RECIPE).exists():
        raise RunFolderError(f"{out} holds a finished base already; choose another folder.")
    processor = make_processor(make_tokenizer(texts), size)
    model = make_model(processor.tokenizer, size, seed=recipe.seed)
    heads = torch.nn.ModuleList([DenseHeads(size.vision_hidden), DenseHeads(size.hidden)])
    weights = [*model.parameters(), *heads.parameters()]
    optimizers = _optimizers(model, heads, recipe)
    material = Material(folder, recipe, Packer(processor), sides=(SIDE // PATCH, math.isqrt(size.image_tokens)))
    modules, started = torch.nn.ModuleDict({"model": model, "heads": heads}), time.process_time()
    out.mkdir(parents=True, exist_ok=True)
    done = resume(out, modules, optimizers)
    earlier, last = done.cpu_seconds, recipe.looks + recipe.updates - 1
    material.shards.update(done.shards)
    for update, views in zip(range(done.updates, last + 1), material.scenes(), strict=False):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = recipe.rate_at(update)
        speaks = update >= recipe.looks
        views = material.with_drawings(views) if speaks else views
        said = torch.tensor(math.nan)
        with torch.autocast("cpu", torch.bfloat16):
            image = model.model.get_image_features(material.pixels(views), return_dict=True)
            if speaks:
                batch = material.batch(views)
                said = answer_loss(answers(model, image, batch), batch)
        levels = zip(heads, (image.last_hidden_state, image.pooler_output), material.targets(views), strict=True)
        dense = torch.stack([head.loss(tokens, targets) for head, tokens, targets in levels]).sum()
        (said + recipe.dense * dense if speaks else dense).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if update % 20 == 0 or update in (recipe.looks, last):
            spent = earlier + time.process_time() - started
            report(f"{update} answers {said.item():.3f} dense {dense.item():.3f} CPU-s {spent:.0f}")
        if (update + 1) % recipe.keep_every == 0:
            state = Progress(update + 1, earlier + time.process_time() - started, sorted(material.shards))
            keep(out, state, modules, optimizers)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    made_of = {**dataclasses.asdict(recipe), **dataclasses.asdict(size), "shards": sorted(material.shards)}
    spent = round(earlier + time.process_time() - started)
    (out / RECIPE).write_text(json.dumps({**made_of, "cpu_seconds": spent}))
    (out / UNFINISHED).unlink(missing_ok=True)


def _optimizers(model: Any, heads: torch.nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the model, AdamW for the rest (K. Jordan et al., "Muon", 2024; torch's own)."""
    inner = [w for name, w in model.named_parameters() if w.ndim == 2 and "embed" not in name and "lm_head" not in name]
    known = {id(weight) for weight in inner}
    others = [weight for weight in (*model.parameters(), *heads.parameters()) if id(weight) not in known]
    return [
        torch.optim.Muon(inner, lr=recipe.rate, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay),
    ]
