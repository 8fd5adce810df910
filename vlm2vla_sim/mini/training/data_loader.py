"""What the base of `mini` is trained on: pictures of scenes and drawings, questions about them, and texts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import Facts
from vlm2vla_sim.mini.training import scene_questions, synthetic_shapes, text_tasks, translations
from vlm2vla_sim.mini.training.dense_targets import Targets, dense_targets
from vlm2vla_sim.mini.training.packing import Batch, Packer, Turn
from vlm2vla_sim.mini.training.process_group import Crew
from vlm2vla_sim.mini.training.recipe import Recipe

ALONE = Crew()


@dataclass(frozen=True, eq=False)
class View:
    """A picture and what can be asked about it."""

    picture: np.ndarray
    """(SIDE, SIDE, 3) uint8 RGB."""
    ask: Callable[..., list[scene_questions.Exchange]]
    """(rng, count=) -> questions with their answers."""
    shown: tuple[np.ndarray, Facts] | None
    """Map of classes and facts of a scene; None for a drawing."""


class Material:
    """Pictures without end, in a random order, and what is to be learnt from them."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        packer: Packer,
        *,
        sides: tuple[int, ...],
        crew: Crew = ALONE,
        begin: int = 0,
    ) -> None:
        """Other material for another `begin`, the update to begin with, and for every process of `crew`.

        folder: the album; recipe: what this process does; sides: cells a side that the dense losses cut pictures into.
        """
        self._folder, self._recipe, self._packer, self._sides, self._crew = folder, recipe, packer, sides, crew
        self._order = np.random.default_rng((recipe.seed, begin))
        self._rng = np.random.default_rng((recipe.seed, begin, 1 + crew.number))
        self.shards: set[int] = set()
        """Numbers of the album's shards that were read."""

    def scenes(self) -> Iterator[list[View]]:
        """Batches from the album, each process others. Shards that come to it while it is read are taken up."""
        size, crew = self._recipe.pictures, self._crew
        while True:
            numbers = [
                number for number in rendered_dataset.numbers(self._folder) if number < rendered_dataset.HELD_OUT
            ]
            chosen = self._order.permutation(numbers)[:8]
            shards = [rendered_dataset.read(self._folder, int(number)) for number in chosen]
            self.shards.update(int(number) for number in chosen)
            places = [(shard, index) for shard in shards for index in range(len(shard.facts))]
            order = self._order.permutation(len(places))
            for begin in range(crew.number * size, len(order) - size + 1, crew.size * size):
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

    def pages(self) -> Batch:
        """Tasks with text alone, most of them sums."""
        return self._packer.pack([self._texts(2, 7, 1) for _ in range(self._recipe.pages)], pictures=False)

    def _turns(self, view: View) -> list[Turn]:
        asked = view.ask(self._rng, count=self._recipe.questions)
        turns = [Turn(one.question, one.answer, period=one.period) for one in asked]
        return turns + self._texts(self._recipe.sums, self._recipe.readings, self._recipe.words)

    def _texts(self, sums: int, readings: int, words: int) -> list[Turn]:
        tasks = [
            *scene_questions.sums(self._rng, count=sums),
            *text_tasks.ask(self._rng, count=readings),
            *translations.ask(self._rng, count=words),
        ]
        return [Turn(task.question, task.answer, sees=False) for task in tasks]


def _scene(shard: rendered_dataset.Shard, index: int) -> View:
    facts = shard.facts[index]
    return View(shard.pictures[index], partial(scene_questions.ask, facts), (shard.seen[index], facts))


def _drawing(rng: np.random.Generator) -> View:
    drawing = synthetic_shapes.draw(rng)
    return View(drawing.picture(), partial(synthetic_shapes.ask, drawing), None)


def augment(pictures: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(B, 3, H, W) in -1..1 from (B, H, W, 3) uint8, with other light, colour balance and noise."""
    count = len(pictures)
    gain = torch.from_numpy(
        rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.94, 1.06, (count, 1, 1, 3))
    ).float()
    shift = torch.from_numpy(rng.uniform(-0.12, 0.12, (count, 1, 1, 1))).float()
    noise = rng.standard_normal(pictures.shape, dtype=np.float32)
    pixels = pictures.float().mul_(gain / 127.5).add_(shift - gain)
    return pixels.add_(torch.from_numpy(noise), alpha=0.02).clamp_(-1.0, 1.0).permute(0, 3, 1, 2)
