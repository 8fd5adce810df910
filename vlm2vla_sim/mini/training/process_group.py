"""Several processes that train one model: each takes a part of every batch, and all step by the mean of the gradients.

`torchrun` starts them and tells each its number. Without it there is one process, and nothing is exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Crew:
    """The processes that train together, as one of them sees them."""

    number: int = 0
    """Of this process, from 0."""
    size: int = 1

    @classmethod
    def join(cls) -> Crew:
        """The crew that `torchrun` started this process in, met through gloo; else this process alone."""
        crew = cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        if crew.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")
        return crew

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.number == 0

    def average(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Replace every weight's gradient by the mean over all processes.

        A weight that only some have a gradient of counts as zero in the others; one that nobody has a gradient of stays
        without, so that no optimizer touches it.
        """
        if self.size == 1:
            return
        weights = list(weights)
        having = torch.tensor([float(weight.grad is not None) for weight in weights])
        distributed.all_reduce(having)
        learning = [weight for weight, count in zip(weights, having.tolist(), strict=True) if count]
        if not learning:
            return
        flat = torch.cat([torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in learning])
        distributed.all_reduce(flat)
        parts = (flat / self.size).split([weight.numel() for weight in learning])
        for weight, part in zip(learning, parts, strict=True):
            weight.grad = part.view_as(weight)

    def total(self, value: float) -> float:
        """The sum of every process's `value`; all must ask."""
        numbers = torch.tensor([value], dtype=torch.float64)
        if self.size > 1:
            distributed.all_reduce(numbers)
        return float(numbers)
