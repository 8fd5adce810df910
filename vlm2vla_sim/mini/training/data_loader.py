"""Batches for the pretraining: images of scenes and of synthetic shapes, questions about them, and texts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import SceneAnnotation
from vlm2vla_sim.mini.training import scene_questions, synthetic_shapes, text_tasks, translations
from vlm2vla_sim.mini.training.dense_targets import DenseTargets, dense_targets
from vlm2vla_sim.mini.training.packing import PackedBatch, Packer
from vlm2vla_sim.mini.training.process_group import ProcessGroup
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer
from vlm2vla_sim.mini.training.recipe import PretrainingRecipe

ONE_PROCESS = ProcessGroup()
SHARDS_AT_ONCE = 8
"""Shards whose scenes are shuffled together."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """An image with what is needed to ask questions about it."""

    image: np.ndarray
    """(IMAGE_SIDE, IMAGE_SIDE, 3) uint8 RGB."""
    sample: Callable[..., list[QuestionAnswer]]
    """(rng, count=) -> questions."""
    scene: tuple[np.ndarray, SceneAnnotation] | None
    """Class map and annotation; None for an image of synthetic shapes."""


@dataclass(frozen=True, eq=False)
class PretrainingBatch:
    """What one process is trained on in one update."""

    pixels: torch.Tensor
    """(B, 3, H, W) in -1..1."""
    dense: list[DenseTargets]
    """One for each side length in `PretrainingData.sides`."""
    questions: PackedBatch | None
    """About the images; None in the vision phase."""
    texts: PackedBatch | None
    """Without images; None before the annealing phase."""


class PretrainingData:
    """An endless stream of batches in random order."""

    def __init__(
        self,
        folder: Path,
        recipe: PretrainingRecipe,
        packer: Packer,
        *,
        sides: tuple[int, ...],
        group: ProcessGroup = ONE_PROCESS,
        first_update: int = 0,
    ) -> None:
        """The order depends on the recipe's seed, on `first_update` and on the process.

        folder: the rendered dataset; recipe: the share of this process; sides: [cells] sides of the grids that have
        dense targets; first_update: the update to begin with.
        """
        self._folder, self._recipe, self._packer, self._group = folder, recipe, packer, group
        self._order = np.random.default_rng((recipe.seed, first_update))
        self._rng = np.random.default_rng((recipe.seed, first_update, 1 + group.rank))
        self.sides = sides
        self.shards: set[int] = set()
        """Numbers of the shards that were read."""

    def scenes(self) -> Iterator[list[TrainingImage]]:
        """Images of scenes for one update after another; no two processes get the same ones.

        Shards that are added to the dataset meanwhile are used too.
        """
        size, group = self._recipe.images, self._group
        while True:
            present = rendered_dataset.shard_numbers(self._folder)
            numbers = [number for number in present if number < rendered_dataset.HELD_OUT]
            chosen = self._order.permutation(numbers)[:SHARDS_AT_ONCE]
            shards = [rendered_dataset.read_shard(self._folder, int(number)) for number in chosen]
            self.shards.update(int(number) for number in chosen)
            scenes = [(shard, index) for shard in shards for index in range(len(shard.annotations))]
            order = self._order.permutation(len(scenes))
            for begin in range(group.rank * size, len(order) - size + 1, group.world_size * size):
                yield [_scene_image(*scenes[k]) for k in order[begin : begin + size]]

    def batch(self, images: list[TrainingImage], update: int) -> PretrainingBatch:
        """The batch of an update, from its images of scenes."""
        recipe, questions, texts = self._recipe, None, None
        if recipe.is_annealing(update):
            images = images[: recipe.annealing_images]
        if recipe.has_answers(update):
            images = self._with_shapes(images)
        pixels = augment(torch.from_numpy(np.stack([one.image for one in images])), self._rng)
        if recipe.has_answers(update):
            questions = self._packer.pack([self._questions(one) for one in images])
        if recipe.is_annealing(update):
            rows = [self._text_tasks(2, 7, 1) for _ in range(recipe.annealing_texts)]
            texts = self._packer.pack(rows, images=False)
        return PretrainingBatch(pixels, self._dense(images), questions, texts)

    def _with_shapes(self, images: list[TrainingImage]) -> list[TrainingImage]:
        """`images`, a share of them replaced by images of synthetic shapes."""
        share = self._recipe.shapes_share
        return [_shape_image(self._rng) if self._rng.random() < share else image for image in images]

    def _dense(self, images: list[TrainingImage]) -> list[DenseTargets]:
        targets = []
        for side in self.sides:
            parts = zip(*(dense_targets(one.scene, side) for one in images), strict=True)
            targets.append(DenseTargets(*(torch.from_numpy(np.stack(part)) for part in parts)))
        return targets

    def _questions(self, image: TrainingImage) -> list[QuestionAnswer]:
        recipe = self._recipe
        about_image = image.sample(self._rng, count=recipe.questions)
        return about_image + self._text_tasks(recipe.subtractions, recipe.text_tasks, recipe.translations)

    def _text_tasks(self, subtractions: int, tasks: int, words: int) -> list[QuestionAnswer]:
        return [
            *text_tasks.sample_subtractions(self._rng, count=subtractions),
            *text_tasks.sample(self._rng, count=tasks),
            *translations.sample(self._rng, count=words),
        ]


def _scene_image(shard: rendered_dataset.Shard, index: int) -> TrainingImage:
    annotation = shard.annotations[index]
    sample = partial(scene_questions.sample, annotation)
    return TrainingImage(shard.images[index], sample, (shard.class_maps[index], annotation))


def _shape_image(rng: np.random.Generator) -> TrainingImage:
    image = synthetic_shapes.sample_image(rng)
    return TrainingImage(image.render(), partial(synthetic_shapes.sample, image), None)


def augment(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in -1..1, with random brightness, colour balance and noise."""
    count = len(images)
    gain = torch.from_numpy(
        rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.94, 1.06, (count, 1, 1, 3))
    ).float()
    shift = torch.from_numpy(rng.uniform(-0.12, 0.12, (count, 1, 1, 1))).float()
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    pixels = images.float().mul_(gain / 127.5).add_(shift - gain)
    return pixels.add_(torch.from_numpy(noise), alpha=0.02).clamp_(-1.0, 1.0).permute(0, 3, 1, 2)
