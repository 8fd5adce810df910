"""Checkpoints of an unfinished pretraining: weights, optimizer state and progress, as safetensors.

safetensors holds tensors and names only, so that reading a checkpoint runs no code.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vlm2vla_sim.core.atomic import replacing
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.policies.models.adapter_fit import list_keys

CHECKPOINT = "unfinished.safetensors"
"""Name of the file, which is deleted when the training is complete."""

_OLD_NAMES = {".kind.": ".class_head.", ".places.": ".position_heads.", ".turn.": ".yaw_head."}
"""Parts of parameter names in earlier checkpoints."""


@dataclass(frozen=True)
class PretrainingProgress:
    """How much of a pretraining is done."""

    updates: int = 0
    cpu_seconds: float = 0.0
    shards: Sequence[int] = ()
    """Shards of the rendered dataset that were read so far."""


def save_checkpoint(
    out: Path,
    progress: PretrainingProgress,
    modules: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    """Write the checkpoint in `out`, replacing an earlier one atomically; tied weights are written once."""
    tensors = dict(modules.named_parameters())
    for number, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{number}.{index}.{name}": value for name, value in values.items()})
    with replacing(out / CHECKPOINT) as draft:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            draft,
            {"progress": json.dumps(dataclasses.asdict(progress))},
        )


def load_checkpoint(
    out: Path, modules: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> PretrainingProgress:
    """Restore `modules` and `optimizers` from the checkpoint in `out`; zero progress if there is none.

    RunFolderError if the checkpoint does not hold exactly the weights of `modules`.
    """
    if not (out / CHECKPOINT).exists():
        return PretrainingProgress()
    with safe_open(out / CHECKPOINT, framework="pt") as file:
        tensors = {_renamed(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        progress = PretrainingProgress(**json.loads(file.metadata()["progress"]))
    _check(out / CHECKPOINT, tensors, dict(modules.named_parameters()))
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


def _check(file: Path, tensors: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    held = {name: tuple(value.shape) for name, value in tensors.items() if not name.startswith("optimizer.")}
    needed = {name: tuple(value.shape) for name, value in weights.items()}
    different = sorted(name for name in held.keys() | needed.keys() if held.get(name) != needed.get(name))
    if different:
        raise RunFolderError(
            f"{file} belongs to another model. Weights that only one of them has, or of another shape: "
            f"{list_keys(different)}. Continue with the version that wrote it, or remove it to start again."
        )


def _renamed(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name
