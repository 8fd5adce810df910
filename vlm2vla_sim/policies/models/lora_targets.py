"""The layers that a LoRA adapter changes: every linear layer of a model's decoder, whatever its family calls them.

The vision tower, the projector and the output layer stay as they are. What has weights in the decoder and is no linear
layer, such as a convolution or the experts of a mixture, has no adapter, and is counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS

try:
    from torch import nn
except ModuleNotFoundError as error:
    raise missing_extra("An adapter", error.name or "torch", "vlm") from error

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def language_layers(model: Any) -> dict[str, Any]:
    """Name -> linear layer of the decoder; SettingError if there is no decoder, or none in it."""
    decoder = _decoder(model)
    prefix = next((name for name, module in model.named_modules() if module is decoder), None)
    inside = {} if prefix is None else _linear(decoder, f"{prefix}." if prefix else "")
    layers = {name: module for name, module in inside.items() if module is not model.get_output_embeddings()}
    if not layers:
        raise SettingError(
            f"No language model with linear layers was found in a {type(model).__name__}, so there is nothing for an "
            "adapter to change. Train it with --method full."
        )
    return layers


def target_pattern(model: Any) -> str:
    """`target_modules` of peft's `LoraConfig` for `model`: a regular expression of the names of `language_layers`."""
    layers = language_layers(model)
    modules = [name for name, _ in model.named_modules()]
    if {name for name in modules if re.fullmatch(LORA_TARGETS, name)} == layers.keys():
        return LORA_TARGETS
    kinds = sorted({_kind(name) for name in layers})
    shared = os.path.commonpath([kind.replace(".", "/") for kind in kinds]).replace("/", ".")
    ends = "|".join(kind.removeprefix(f"{shared}.") for kind in kinds)
    pattern = f"{shared}.({ends})".replace(".", r"\.").replace("*", r"\d+")
    hit = {name for name in modules if re.fullmatch(pattern, name)}
    return pattern if hit == layers.keys() else "|".join(map(re.escape, sorted(layers)))


@dataclass(frozen=True)
class LoraAccount:
    """Which weights of the decoder an adapter changes."""

    layers: dict[str, int]
    """Kind, such as "layers.*.mlp.up_proj" -> number of layers with an adapter."""
    left_out: dict[str, str]
    """Kind -> what it is, and how many there are, of all other weights but embeddings and norms."""

    def text(self) -> str:
        """The account as a sentence or two."""
        names = ", ".join(f"{_short(kind)} {number}" for kind, number in self.layers.items())
        told = f"LoRA changes {sum(self.layers.values())} linear layers of the language model: {names}."
        if self.left_out:
            told += " Left out: " + ", ".join(f"{_short(kind)} ({what})" for kind, what in self.left_out.items()) + "."
        return told


def lora_account(model: Any) -> LoraAccount:
    """What an adapter on a `PeftModel` changes of its decoder, and what not."""
    decoder = _decoder(model.get_base_model())
    changed: Counter[str] = Counter()
    others: dict[str, list[str]] = {}
    inside: list[str] = []
    for name, module in decoder.named_modules():
        if any(name.startswith(outer) for outer in inside) or isinstance(module, nn.Embedding):
            continue
        if hasattr(module, "lora_A"):
            inside.append(f"{name}.")
            changed[_kind(name)] += 1
            continue
        for key, weight in module.named_parameters(recurse=False):
            if weight.ndim >= 2:
                kind = name if key == "weight" else f"{name}.{key}"
                what = type(module).__name__ if key == "weight" else "x".join(map(str, weight.shape))
                others.setdefault(_kind(kind), []).append(what)
    left = {kind: f"{len(what)} {', '.join(dict.fromkeys(what))}" for kind, what in others.items()}
    return LoraAccount(dict(changed), left)


def _decoder(model: Any) -> Any:
    try:
        return model.get_decoder()
    except AttributeError:
        return None


def _linear(decoder: Any, prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": module for name, module in decoder.named_modules() if isinstance(module, nn.Linear)}


def _kind(name: str) -> str:
    return _NUMBER.sub("*", name)


def _short(kind: str) -> str:
    return kind.rpartition("*.")[2]
