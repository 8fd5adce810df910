"""How the base of `mini` is trained: how much of what, and at which rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vlm2vla_sim.errors import SettingError


@dataclass(frozen=True)
class Recipe:
    """Three parts, one after the other: it looks, it speaks, it settles.

    It looks: the vision tower alone learns to tell what each patch shows. It speaks: all of it learns, with questions
    and answers. It settles: at a rate of its own that falls to zero, with fewer pictures and many more texts; reckoning
    is learnt here and hardly before (docs/log.md).
    """

    looks: int = 4000
    """Updates in which it looks."""
    updates: int = 3200
    """Updates in which it speaks."""
    settles: int = 1500
    """Updates in which it settles."""
    pictures: int = 16
    """Per update."""
    settled_pictures: int = 12
    """Per update while it settles."""
    pages: int = 8
    """Texts per update while it settles, each of ten small tasks."""
    drawings: float = 0.15
    """Share of the pictures that are drawings, once it speaks."""
    questions: int = 4
    """About each picture; beside them, without the picture, `sums`, `readings` and `words`."""
    sums: int = 2
    readings: int = 3
    words: int = 1
    rate: float = 2e-3
    warmup: int = 100
    flat: float = 0.3
    """Share of the updates with answers at the full rate; then a half cosine to zero."""
    settled_rate: float = 1e-3
    dense: float = 0.5
    """Weight of the dense loss beside the answers'."""
    decay: float = 0.02
    seed: int = 0
    keep_every: int = 500
    """Updates between two points from which a run that was stopped goes on."""

    @property
    def total(self) -> int:
        """Updates of all three parts."""
        return self.looks + self.updates + self.settles

    def shared_by(self, processes: int) -> Recipe:
        """What each of several processes does of it; SettingError where a batch cannot be shared out evenly."""
        batches = {"pictures": self.pictures, "settled_pictures": self.settled_pictures, "pages": self.pages}
        odd = [f"{name} ({count})" for name, count in batches.items() if count % processes]
        if odd:
            raise SettingError(f"{processes} processes cannot share {', '.join(odd)} evenly; start 1, 2 or 4.")
        return replace(self, **{name: count // processes for name, count in batches.items()})

    def speaks(self, update: int) -> bool:
        """Whether it is past looking; updates are counted from the first look."""
        return update >= self.looks

    def is_settling(self, update: int) -> bool:
        """Whether it is in the last part."""
        return update >= self.looks + self.updates

    def rate_at(self, update: int) -> float:
        """The learning rate."""
        if update < self.warmup:
            return self.rate * (update + 1) / self.warmup
        if self.is_settling(update):
            done = (update - self.looks - self.updates) / self.settles
            return self.settled_rate * min(1.0, 10 * done + 0.1) * _falling((done - 0.4) / 0.6)
        done = (update - self.looks) / self.updates
        return self.rate * _falling((done - self.flat) / (1 - self.flat))


def _falling(done: float) -> float:
    """1 until `done` is 0, then half a cosine to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
