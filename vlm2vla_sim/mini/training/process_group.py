"""Data-parallel training by torch's DistributedDataParallel: each process takes its share of every batch.

`torchrun` starts the processes. Without it there is one, and nothing is exchanged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one model, as one of them sees them."""

    rank: int = 0
    """Index of this process."""
    world_size: int = 1

    @classmethod
    def join(cls) -> ProcessGroup:
        """The group in which `torchrun` started this process, connected through gloo; else this process alone."""
        group = cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        if group.world_size > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")
        return group

    @property
    def is_main(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    def parallel(self, module: torch.nn.Module) -> torch.nn.Module:
        """`module`, with its gradients averaged over all processes in every backward pass.

        A parameter that only some processes use counts as zero in the others. One that no process uses keeps no
        gradient, so that weight decay leaves it alone: in the vision phase, that is the language model.
        """
        if self.world_size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True)

    def total(self, value: float) -> float:
        """The sum of every process's `value`. Every process must call it."""
        numbers = torch.tensor([value], dtype=torch.float64)
        if self.world_size > 1:
            distributed.all_reduce(numbers)
        return float(numbers)
