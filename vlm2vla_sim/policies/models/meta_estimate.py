"""Counts the parameters of a model of any family from its config: transformers builds it without memory for weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.lora_targets import language_layers, target_pattern
from vlm2vla_sim.policies.models.memory_estimate import Memory, MemoryEstimate

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("The estimate for this family", error.name or "transformers", "vlm") from error

RANK = 16


def estimate_family(folder: Path, memory: Memory) -> MemoryEstimate:
    """The estimate for the model whose config.json is in `folder`; SettingError if transformers cannot build it."""
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model: Any = transformers.AutoModelForImageTextToText.from_config(config)
    except (AttributeError, ImportError, LookupError, OSError, TypeError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SettingError(f"The config in {folder} gives no image-text model. transformers says: {line}.") from error
    layers = language_layers(model)
    parts = (model.get_decoder(), model.get_output_embeddings())
    language = {id(weight): weight.numel() for part in parts if part is not None for weight in part.parameters()}
    return MemoryEstimate(
        model=str(folder),
        language=sum(language.values()),
        vision=sum(weight.numel() for weight in model.parameters() if id(weight) not in language),
        cache_per_token=2 * _cached_numbers(layers, config.get_text_config()),
        lora=sum(RANK * (layer.in_features + layer.out_features) for layer in layers.values()),
        lora_layers=len(layers),
        memory=memory,
        targets=target_pattern(model),
    )


def _cached_numbers(layers: dict[str, Any], text: Any) -> int:
    """Keys and values of a token; a layer of linear attention or convolution keeps none."""
    ends = (".k_proj", ".v_proj")
    found = sum(layer.out_features for name, layer in layers.items() if name.endswith(ends))
    if found:
        return found
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * size
