"""Linear layers that read the same input, computed as one matrix product, with the low-rank update of an adapter.

An adapter's three small layers for each of the seven projections of a block are most of the calls of a step; here the
projections of one input share them. The modules' weights become views of the joint matrix, so that memory holds them
once and the modules go on working.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vlm2vla_sim.policies.models.adapter_fit import NAME


class LinearGroup:
    """Modules with the same input, whose outputs are concatenated along the last axis."""

    def __init__(self, modules: Sequence[Any]) -> None:
        """modules: linear layers, as they are in the model, adapted or not."""
        self._modules = list(modules)
        weights = [getattr(module, "base_layer", module) for module in modules]
        lora = [_lora(module) for module in modules]
        self.mixes = all(
            _is_dense(weight) and (weight is module or low is not None)
            for weight, module, low in zip(weights, modules, lora, strict=True)
        )
        """Whether rows with and without the adapter can be computed together."""
        self._weight = _join(weights) if self.mixes else None
        self._down: torch.Tensor | None = None
        if self.mixes and any(low is not None for low in lora):
            self._down, self._up = _join_lora([weight.out_features for weight in weights], lora)

    def __call__(self, inputs: torch.Tensor, on: torch.Tensor | bool) -> torch.Tensor:
        """(N, outputs). inputs: (N, inputs). on: (N, 1), 1 for rows with the adapter; or the same for all rows."""
        if self._weight is None:
            return torch.cat([module(inputs) for module in self._modules], -1)
        outputs = functional.linear(inputs, self._weight)
        if self._down is None or on is False:
            return outputs
        low = functional.linear(inputs.to(self._down.dtype), self._down)
        if on is not True:
            low = low * on.to(low)
        if low.dtype != outputs.dtype:
            return (outputs + low @ self._up).to(outputs.dtype)
        return outputs.addmm_(low, self._up)


def _is_dense(module: Any) -> bool:
    return type(module) is nn.Linear and module.bias is None and module.weight.is_floating_point()


def _lora(module: Any) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """Both matrices and the scale of a plain LoRA layer of peft; None for any other module."""
    if not hasattr(module, "base_layer"):
        return None
    from peft.tuners.lora.layer import Linear

    if type(module) is not Linear or module.active_adapters != [NAME] or module.merged or module.disable_adapters:
        return None
    down: Any = module.lora_A[NAME]
    up: Any = module.lora_B[NAME]
    if NAME in module.lora_variant or up.bias is not None or module.fan_in_fan_out:
        return None
    return down.weight.detach(), up.weight.detach(), float(module.scaling[NAME])


def _join(modules: Sequence[Any]) -> torch.Tensor:
    """The weights below one another; each module's own becomes a view of them."""
    if len(modules) == 1:
        return modules[0].weight.detach()
    joint = torch.cat([module.weight.detach() for module in modules])
    start = 0
    for module in modules:
        module.weight.data = joint[start : start + module.out_features]
        start += module.out_features
    return joint


def _join_lora(
    widths: Sequence[int], parts: Sequence[tuple[torch.Tensor, torch.Tensor, float] | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The first matrices below one another, (R, inputs), and the second ones, scaled, (R, outputs)."""
    there = [part for part in parts if part is not None]
    down = torch.cat([first for first, _, _ in there])
    up = down.new_zeros(len(down), sum(widths))
    row = column = 0
    for width, part in zip(widths, parts, strict=True):
        if part is not None:
            rank = len(part[0])
            up[row : row + rank, column : column + width] = part[1].T * part[2]
            row += rank
        column += width
    return down, up
