"""Teaches the base model to see and to answer, from random weights, on an album of scenes.

Beside the answers it learns what each image token shows and where that is: a loss at every place of the picture gives
a small model in minutes what answers alone would take hours to. The heads for it are thrown away.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from vlm2vla_sim.mini import album, questions, tongues
from vlm2vla_sim.mini.facts import Facts
from vlm2vla_sim.mini.model import MiniSize, make_model, make_processor, make_tokenizer
from vlm2vla_sim.mini.packing import Batch, Packer, Turn
from vlm2vla_sim.mini.world import CLASSES

BINS = {"x": (5, 50), "y": (-35, 35), "z": (-2, 38), "turn": (-6, 6)}
"""What the dense heads tell: centimetres, and the turn in steps of 15 degrees; lowest and highest bin."""
MEASURED = frozenset({"where", "where gripper"})


@dataclass(frozen=True)
class Recipe:
    """How the base is trained."""

    updates: int = 2200
    pictures: int = 24
    """Per update."""
    questions: int = 5
    sums: int = 2
    words: int = 1
    rate: float = 2e-3
    warmup: int = 100
    flat: float = 0.45
    """Share of the updates at the full rate; then a half cosine to zero."""
    dense: float = 0.5
    """Weight of the dense loss."""
    decay: float = 0.02
    seed: int = 0

    def rate_at(self, update: int) -> float:
        """The learning rate."""
        if update < self.warmup:
            return self.rate * (update + 1) / self.warmup
        done = (update / self.updates - self.flat) / (1 - self.flat)
        return self.rate * (1.0 if done < 0 else 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class DenseHeads(torch.nn.Module):
    """Read from an image token what it shows and where that is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = torch.nn.Linear(width, len(CLASSES))
        self.places = torch.nn.ModuleDict(
            {name: torch.nn.Linear(width, high - low + 1) for name, (low, high) in BINS.items()}
        )

    def loss(self, tokens: torch.Tensor, kinds: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """tokens: (B, T, width); kinds: (B, T) classes; places: (B, T, 4, 2) bin below and share of the next one."""
        tokens = functional.layer_norm(tokens.float(), tokens.shape[-1:])
        loss = functional.cross_entropy(self.kind(tokens).flatten(0, 1), kinds.flatten())
        chosen = kinds > 0
        if not bool(chosen.any()):
            return loss
        for index, name in enumerate(BINS):
            scores = functional.log_softmax(self.places[name](tokens[chosen]), dim=-1)
            bins = torch.arange(scores.shape[1])[None]
            wanted = torch.exp(-0.5 * ((bins - places[chosen][:, index : index + 1]) / 0.6) ** 2)
            wanted = wanted / wanted.sum(-1, keepdim=True).clamp_min(1e-6)
            loss = loss - 0.25 * (wanted * scores).sum(-1).mean()
        return loss


def dense_targets(seen: np.ndarray, facts: Facts, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(side^2,) class of each image token, and (side^2, 4) float: bins of x, y, z, turn of the thing that it shows."""
    cell = seen.shape[0] // side
    blocks = seen.reshape(side, cell, side, cell).transpose(0, 2, 1, 3).reshape(side * side, cell * cell)
    counts = np.stack([(blocks == kind).sum(1) for kind in range(len(CLASSES))], axis=1)
    counts[:, 0] = 0
    counts[:, 1] = np.where(counts[:, 2:].max(1) >= 4, 0, counts[:, 1])
    kinds = np.where(counts.max(1) >= 4, counts.argmax(1), 0)
    table = np.zeros((len(CLASSES), 4))
    for thing in facts.things:
        table[CLASSES.index(thing.kind)] = [*(100 * p for p in thing.position), thing.yaw / 15]
    table[1] = [*(100 * p for p in facts.gripper), facts.turn / 15]
    low = np.array([bounds[0] for bounds in BINS.values()])
    high = np.array([bounds[1] for bounds in BINS.values()])
    return kinds, np.clip(table[kinds], low, high) - low


class Lessons:
    """Batches without end: pictures of an album, questions about them, sums."""

    def __init__(self, folder: Path, recipe: Recipe, packer: Packer, *, side: int) -> None:
        self._folder, self._recipe, self._packer, self._side = folder, recipe, packer, side
        self._rng = np.random.default_rng(recipe.seed)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Batch, torch.Tensor, torch.Tensor]]:
        while True:
            numbers = [number for number in album.numbers(self._folder) if number < album.HELD_OUT]
            for _ in range(0, len(numbers), 8):
                chosen = self._rng.permutation(numbers)[:8]
                shards = [album.read(self._folder, int(number)) for number in chosen]
                places = [(s, i) for s, shard in enumerate(shards) for i in range(len(shard.facts))]
                order = self._rng.permutation(len(places))
                size = self._recipe.pictures
                for begin in range(0, len(order) - size + 1, size):
                    yield self._batch([(shards[places[k][0]], places[k][1]) for k in order[begin : begin + size]])

    def _batch(self, views: list[tuple[album.Shard, int]]) -> tuple[torch.Tensor, Batch, torch.Tensor, torch.Tensor]:
        pictures = torch.from_numpy(np.stack([shard.pictures[index] for shard, index in views]))
        rows, kinds, places = [], [], []
        for shard, index in views:
            facts = shard.facts[index]
            asked = questions.ask(facts, self._rng, count=self._recipe.questions)
            turns = [Turn(one.question, one.answer, measured=one.category in MEASURED) for one in asked]
            turns += [
                Turn(one.question, one.answer, sees=False)
                for one in (
                    *questions.sums(self._rng, count=self._recipe.sums),
                    *tongues.ask(self._rng, count=self._recipe.words),
                )
            ]
            rows.append(turns)
            kind, place = dense_targets(shard.seen[index], facts, self._side)
            kinds.append(kind)
            places.append(place)
        return (
            augment(pictures, self._rng),
            self._packer.pack(rows),
            torch.from_numpy(np.stack(kinds)),
            torch.from_numpy(np.stack(places)).float(),
        )


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


def forward(model: Any, pixels: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, vocabulary) where answers are predicted, and the image tokens (B, T, width)."""
    tokens = model.model.get_image_features(pixels, return_dict=True)
    mask = {"full_attention": batch.mask, "sliding_attention": batch.mask}
    hidden = model.model(
        input_ids=batch.ids,
        attention_mask=mask,
        position_ids=batch.positions,
        mm_encoder_outputs={"image": tokens},
        use_cache=False,
    ).last_hidden_state
    chosen = hidden[batch.rows[:, 0], batch.rows[:, 1]]
    return model.lm_head(chosen), tokens.pooler_output


def pretrain(folder: Path, out: Path, *, texts: list[str], recipe: Recipe, size: MiniSize, report: Any = print) -> None:
    """Train on the album in `folder` and write the model to `out`."""
    processor = make_processor(make_tokenizer(texts), size)
    model = make_model(processor.tokenizer, size, seed=recipe.seed)
    heads = DenseHeads(size.hidden)
    side = math.isqrt(size.image_tokens)
    weights = [*model.parameters(), *heads.parameters()]
    matrices = [weight for weight in weights if weight.ndim >= 2]
    others = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))
    lessons = iter(Lessons(folder, recipe, Packer(processor), side=side))
    started, seen = time.process_time(), 0.0
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps({**dataclasses.asdict(recipe), **dataclasses.asdict(size)}, indent=1))
    for update in range(recipe.updates):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(update)
        pixels, batch, kinds, places = next(lessons)
        with torch.autocast("cpu", torch.bfloat16):
            logits, tokens = forward(model, pixels, batch)
        answers, dense = answer_loss(logits, batch), heads.loss(tokens, kinds, places)
        (answers + recipe.dense * dense).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += len(pixels)
        if update % 20 == 0 or update == recipe.updates - 1:
            spent = time.process_time() - started
            report(f"{update} answers {answers.item():.3f} dense {dense.item():.3f} pictures/CPU-s {seen / spent:.1f}")
        if update % 200 == 199:
            _save(model, processor, out)
    _save(model, processor, out)


def _save(model: Any, processor: Any, out: Path) -> None:
    model.save_pretrained(out)
    processor.save_pretrained(out)
