"""Memory estimate of a model, from its config: weights, caches, adapter, and whether it fits this machine.

Loading the model to find out costs a download of 25 GB, and may make the machine swap.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError

LORA_TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
"""All linear layers of the language model. Plain names such as q_proj would also match the vision tower."""
LAYERS_OF_A_BLOCK = 7
"""q, k, v, o, gate, up, down."""
RESERVE = 1.15
"""Factor on weights and caches for activations and the allocator: an estimate, not measured on a GPU."""
TOKENS = 2048
"""Tokens of prompt and answer reserved for an environment; the prompts have about a thousand."""

_VISION = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
}
_TEXT: dict[str, int] = {"vocab_size": 262208, "head_dim": 256, "sliding_window": 1024}
KNOWN = {
    "google/gemma-3-4b-it": {
        "text_config": {
            **_TEXT,
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
        },
        "vision_config": _VISION,
    },
    "google/gemma-3-12b-it": {
        "text_config": {
            **_TEXT,
            "hidden_size": 3840,
            "intermediate_size": 15360,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
        },
        "vision_config": _VISION,
    },
}
"""As in config.json of these models on the hub; counted, they come to 4.300 G and 12.187 G parameters."""


@dataclass(frozen=True)
class Memory:
    """The memory of this machine, in bytes."""

    ram: int
    gpu: int
    """The largest GPU's memory; 0 without a GPU."""


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory that a model needs."""

    model: str
    language: int
    """Parameters, embeddings included."""
    vision: int
    """Parameters of the vision tower and the projector."""
    cache_per_token: int
    """[bytes] of attention cache, in bfloat16."""
    lora: int
    """Parameters of an adapter of rank 16 on `targets`."""
    lora_layers: int
    memory: Memory
    targets: str = LORA_TARGETS
    """The layers of the adapter (`lora_targets.target_pattern`)."""

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.language + self.vision

    def total(self, bits: int, environments: int = 1) -> int:
        """[bytes] needed with weights of `bits` bits and `environments` environments at once."""
        # bitsandbytes does not quantise the embeddings; counting them as quantised underestimates slightly.
        weights = self.parameters * bits // 8 + self.lora * 2
        return int((weights + environments * TOKENS * self.cache_per_token) * RESERVE)

    def fits(self, bits: int) -> str:
        """Where the model fits: "GPU", "RAM" or "no"."""
        need = self.total(bits)
        return "GPU" if need <= self.memory.gpu else "RAM" if need <= self.memory.ram else "no"

    def text(self) -> str:
        """The estimate as text."""
        gpu = _giga(self.memory.gpu) if self.memory.gpu else "none"
        places = {"GPU": "fits the GPU", "RAM": "fits the RAM only: slow", "no": "does not fit here"}
        lines = [
            f"{self.model}: {self.parameters / 1e9:.2f} G parameters ({self.vision / 1e6:.0f} M of them for vision)",
            f"This machine: GPU {gpu}, RAM {_giga(self.memory.ram)}",
            "",
            *(
                f"  {name:<9} {_giga(self.total(bits)):>9} for one environment, {_giga(self.total(bits, 16)):>9} for 16"
                f"   {places[self.fits(bits)]}"
                for name, bits in (("bfloat16", 16), ("8bit", 8), ("4bit", 4))
            ),
            "",
            f"Weights, a rank-16 adapter, {TOKENS} tokens of cache an environment, and {RESERVE - 1:.0%} on top: an",
            "estimate from the config, nothing was loaded.",
            f"Adapter targets: {self.targets}",
            f"  {self.lora_layers} layers, {self.lora / 1e6:.1f} M parameters at rank 16",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The estimate as plain values; sizes in bytes."""
        sizes = {name: self.total(bits) for name, bits in (("bfloat16", 16), ("8bit", 8), ("4bit", 4))}
        where = {name: self.fits(bits) for name, bits in (("bfloat16", 16), ("8bit", 8), ("4bit", 4))}
        values = dataclasses.asdict(self) | {"parameters": self.parameters}
        return {("lora_targets" if key == "targets" else key): value for key, value in values.items()} | {
            "bytes": sizes,
            "fits": where,
        }


def estimate_model(model: str, memory: Memory) -> MemoryEstimate:
    """The estimate for a known model, or for the Gemma 3 whose config.json is in the folder `model`.

    Of other families the parameters are counted with transformers: `meta_estimate.estimate_family`.
    """
    config = KNOWN.get(model) or _read_config(model)
    try:
        text, vision = config["text_config"], config["vision_config"]
        return MemoryEstimate(
            model=model,
            language=_count_language(text),
            vision=_count_vision(vision, text["hidden_size"]),
            cache_per_token=2 * 2 * text["num_hidden_layers"] * text["num_key_value_heads"] * text["head_dim"],
            lora=text["num_hidden_layers"] * _count_lora(text, rank=16),
            lora_layers=text["num_hidden_layers"] * LAYERS_OF_A_BLOCK,
            memory=memory,
        )
    except KeyError as missing:
        raise SettingError(f"The config of {model!r} has no {missing}; expected one of a Gemma 3 model.") from missing


def model_family(model: str) -> str:
    """The family, as `model_type` in a config, of a known model or of the one in the folder `model`."""
    return "gemma3" if model in KNOWN else str(_read_config(model).get("model_type"))


def find_memory() -> Memory:
    """The memory of this machine; the GPU's as nvidia-smi reports it."""
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
        gpu = max((int(line) for line in told.split()), default=0) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        gpu = 0
    return Memory(ram, gpu)


def _read_config(model: str) -> dict[str, Any]:
    path = Path(model) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{path} cannot be read ({type(error).__name__}). Known names: {', '.join(KNOWN)}. For another "
            "model, give the folder it was downloaded to."
        ) from error
    if not isinstance(config, dict) or not {"text_config", "vision_config"} <= config.keys():
        kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise SettingError(
            f"{path} is the config of a {kind!r} model without text_config and vision_config; expected that of a model "
            "that reads images and text."
        )
    return config


def _projections(text: dict[str, Any]) -> list[tuple[int, int]]:
    """(in, out) of the linear layers of a block."""
    hidden, wide = text["hidden_size"], text["intermediate_size"]
    heads, pairs = (text[name] * text["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    return [(hidden, heads), (hidden, pairs), (hidden, pairs), (heads, hidden), *[(hidden, wide)] * 2, (wide, hidden)]


def _count_language(text: dict[str, Any]) -> int:
    hidden = text["hidden_size"]
    norms = 4 * hidden + 2 * text["head_dim"]
    block = sum(inner * outer for inner, outer in _projections(text)) + norms
    return text["num_hidden_layers"] * block + hidden + text["vocab_size"] * hidden


def _count_vision(vision: dict[str, Any], hidden: int) -> int:
    wide, side = vision["hidden_size"], vision["image_size"] // vision["patch_size"]
    attention, feed = 4 * (wide * wide + wide), 2 * wide * vision["intermediate_size"]
    block = attention + feed + vision["intermediate_size"] + wide + 4 * wide
    patches = 3 * vision["patch_size"] ** 2 * wide + wide + side * side * wide
    return vision["num_hidden_layers"] * block + patches + 2 * wide + wide * hidden + wide


def _count_lora(text: dict[str, Any], *, rank: int) -> int:
    return sum(rank * (inner + outer) for inner, outer in _projections(text))


def _giga(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
