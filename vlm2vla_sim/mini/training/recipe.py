"""The recipe of the base model's pretraining: numbers of updates, batch composition and learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vlm2vla_sim.errors import SettingError


@dataclass(frozen=True)
class PretrainingRecipe:
    """Three phases: vision, question answering, annealing.

    In the vision phase only the vision tower learns, from dense targets. Then all weights learn from questions and
    answers too. In the annealing phase a second, lower learning rate falls to zero, with fewer images and many more
    texts; arithmetic is learnt here and hardly before (docs/log.md).
    """

    vision_updates: int = 4000
    qa_updates: int = 3200
    annealing_updates: int = 1500
    images: int = 16
    """Per update."""
    annealing_images: int = 12
    """Per update in the annealing phase."""
    annealing_texts: int = 8
    """Sequences without an image per update in the annealing phase, each of ten text tasks."""
    shapes_share: float = 0.15
    """Share of the images that are of synthetic shapes, after the vision phase."""
    questions: int = 4
    """About each image."""
    subtractions: int = 2
    text_tasks: int = 3
    translations: int = 1
    """Questions beside each image that do not need it."""
    learning_rate: float = 2e-3
    warmup: int = 100
    """Updates."""
    constant_share: float = 0.3
    """Share of the question answering phase at the full learning rate; a half cosine to zero follows."""
    annealing_learning_rate: float = 1e-3
    dense_weight: float = 0.5
    """Weight of the dense loss beside the answers' loss."""
    weight_decay: float = 0.02
    seed: int = 0
    checkpoint_every: int = 500
    """Updates between two checkpoints."""

    @property
    def total(self) -> int:
        """Updates of all phases."""
        return self.vision_updates + self.qa_updates + self.annealing_updates

    def per_process(self, processes: int) -> PretrainingRecipe:
        """The share of each of several processes; SettingError if a batch cannot be divided evenly."""
        batches = {
            "images": self.images,
            "annealing_images": self.annealing_images,
            "annealing_texts": self.annealing_texts,
        }
        odd = [f"{name} ({count})" for name, count in batches.items() if count % processes]
        if odd:
            raise SettingError(f"{processes} processes cannot share {', '.join(odd)} evenly; start 1, 2 or 4.")
        return replace(self, **{name: count // processes for name, count in batches.items()})

    def has_answers(self, update: int) -> bool:
        """Whether the update, counted from 0, is after the vision phase."""
        return update >= self.vision_updates

    def is_annealing(self, update: int) -> bool:
        """Whether the update is in the annealing phase."""
        return update >= self.vision_updates + self.qa_updates

    def learning_rate_at(self, update: int) -> float:
        """The learning rate of an update."""
        if update < self.warmup:
            return self.learning_rate * (update + 1) / self.warmup
        if self.is_annealing(update):
            done = (update - self.vision_updates - self.qa_updates) / self.annealing_updates
            return self.annealing_learning_rate * min(1.0, 10 * done + 0.1) * _half_cosine((done - 0.4) / 0.6)
        done = (update - self.vision_updates) / self.qa_updates
        return self.learning_rate * _half_cosine((done - self.constant_share) / (1 - self.constant_share))


def _half_cosine(done: float) -> float:
    """1 until `done` is 0, then half a cosine to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
