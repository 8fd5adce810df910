"""A point from which a stopped pretraining goes on: weights, the optimizers' moments, and how far it had come.

As safetensors, which is numbers and names and nothing that could be run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vlm2vla_sim.core.atomic import replacing

UNFINISHED = "unfinished.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    updates: int = 0
    cpu_seconds: float = 0.0
    shards: Sequence[int] = ()
    """Of the album, read until then."""


def keep(out: Path, progress: Progress, modules: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Write everything that `resume` needs, at once; tied weights are written once."""
    tensors = dict(modules.named_parameters())
    for number, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{number}.{index}.{name}": value for name, value in values.items()})
    with replacing(out / UNFINISHED) as draft:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            draft,
            {"progress": json.dumps(dataclasses.asdict(progress))},
        )


def resume(out: Path, modules: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Progress:
    """What a run into the same folder left, with `modules` and `optimizers` as they were then; else no progress."""
    if not (out / UNFINISHED).exists():
        return Progress()
    with safe_open(out / UNFINISHED, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        progress = Progress(**json.loads(file.metadata()["progress"]))
    with torch.no_grad():
        for name, weight in modules.named_parameters():
            weight.copy_(tensors[name])
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key in tensors:
            if key.startswith(f"optimizer.{number}."):
                index, name = key.split(".", 3)[2:]
                state.setdefault(int(index), {})[name] = tensors[key]
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress
