"""Estimates the memory of a training run before anything is loaded.

A run that does not fit otherwise fails only after the weights, 25 GB for a 12B model, are loaded. The estimate is
computed from parameter counts; it was not measured on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.hub import locate
from vlm2vla_sim.policies.models.lora_targets import language_layers
from vlm2vla_sim.policies.models.memory_estimate import KNOWN, RESERVE, Memory
from vlm2vla_sim.training.settings import TrainSettings

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "transformers", "train") from error

ADAM = 12
"""[bytes] per trained weight besides the weight: its gradient and Adam's two moments, each in float32."""
LOGIT = 10
"""[bytes] per logit in the worst case: in bfloat16, in float32, and its gradient."""
QUANTIZED_BITS = {"4bit": 4.127, "8bit": 8}
"""[bits] per weight of a quantized layer; of 4 bits, with the constants of each 64 weights, themselves quantized."""
LAYER_SHARE = 4
"""Number of arrays of width hidden + feed-forward that a layer keeps while its gradients are computed."""


@dataclass(frozen=True)
class TrainingMemory:
    """Memory of one process in bytes."""

    weights: int
    trained: int
    """Number of trained parameters, not bytes."""
    optimizer: int
    """Gradients and moments."""
    activations: int

    @property
    def total(self) -> int:
        """The sum, with a reserve of `RESERVE`."""
        return int((self.weights + self.optimizer + self.activations) * RESERVE)

    def text(self) -> str:
        """The estimate as a sentence."""
        parts = (("weights", self.weights), ("optimizer", self.optimizer), ("activations", self.activations))
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts)
        return (
            f"Estimated memory: {self.total / 1e9:.1f} GB per process ({listed}, and {RESERVE - 1:.0%} reserve); "
            f"{self.trained / 1e6:.1f} M weights are trained."
        )


def estimate(settings: TrainSettings) -> TrainingMemory:
    """The memory of `settings` in one process without sharding.

    SettingError if the model's config cannot be read, or if its context is shorter than the longest row.
    """
    config = _config(settings.model)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is not None and settings.max_tokens > context:
        raise SettingError(
            f"Rows of up to {settings.max_tokens} tokens were asked for; the model {settings.model!r} reads at most "
            f"{context} (max_position_embeddings). Give {context} or less (--max-tokens); longer rows are left out."
        )
    model = _without_weights(config)
    parameters = sum(weight.numel() for weight in model.parameters())
    trained = parameters
    if settings.method == "lora":
        trained = sum(
            settings.rank * (layer.in_features + layer.out_features) for layer in language_layers(model).values()
        )
    width = 2 if settings.dtype == "bfloat16" else 4
    held = parameters * (4 if settings.method == "full" else width)
    if settings.quantization:
        quantized = _quantized(model)
        held = (parameters - quantized) * width + int(quantized * QUANTIZED_BITS[settings.quantization] / 8)
    own = 0 if settings.method == "full" else 4 * trained
    return TrainingMemory(held + own, trained, trained * ADAM, _activations(config.get_text_config(), settings, width))


def check(needs: TrainingMemory, memory: Memory, *, on_gpu: bool) -> None:
    """SettingError if the estimate exceeds the memory of this machine."""
    there, place = (memory.gpu, "GPU") if on_gpu else (memory.ram, "RAM")
    if needs.total > there:
        raise SettingError(
            f"{needs.text()} This machine has {there / 1e9:.1f} GB of {place} memory. Use several GPUs "
            "(--launch fsdp), train an adapter instead of all weights (--method lora), quantize the base model "
            "(--quantization 4bit), use a smaller model, or start anyway with --force."
        )


def _quantized(model: Any) -> int:
    """The weights that bitsandbytes quantizes: of every linear layer but the output layer."""
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    return sum(module.weight.numel() for module in linear if module is not model.get_output_embeddings())


def _activations(text: Any, settings: TrainSettings, width: int) -> int:
    rows = settings.per_device * settings.max_tokens
    layer = rows * (text.hidden_size + text.intermediate_size) * LAYER_SHARE * width
    kept = rows * text.hidden_size * text.num_hidden_layers * width
    if not settings.checkpointing:
        kept = layer * text.num_hidden_layers
    return kept + layer + rows * text.vocab_size * LOGIT


def _config(model: str) -> Any:
    if model in KNOWN:
        known: dict[str, Any] = dict(KNOWN[model])
        return transformers.Gemma3Config(**known)
    try:
        return transformers.AutoConfig.from_pretrained(locate(model))
    except SettingError:
        raise
    except (OSError, ValueError) as error:
        raise SettingError(
            f"The config of {model!r} cannot be read: {str(error).strip().splitlines()[0]} Give a folder written by "
            "save_pretrained, or a hub name that this machine can reach."
        ) from error


def _without_weights(config: Any) -> Any:
    with torch.device("meta"):
        return transformers.AutoModelForImageTextToText.from_config(config)
