"""What a training needs in memory, computed before anything is loaded.

Running out of it hours into a queue, or after the weights of 25 GB were read, is how most first trainings end. The
numbers are an estimate from counted parameters: nothing of it was measured on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.hub import locate
from vlm2vla_sim.policies.models.memory_estimate import KNOWN, LORA_TARGETS, RESERVE, Memory
from vlm2vla_sim.training.settings import TrainSettings

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "transformers", "train") from error

ADAM = 12
"""[bytes] a trained weight needs besides itself: its gradient and the two moments, each in float32."""
LOGIT = 10
"""[bytes] one logit of a row takes at worst: in bfloat16, in float32, and its gradient."""
LAYER_SHARE = 4
"""How many arrays as wide as hidden + feed-forward one layer keeps while its gradients are computed."""


@dataclass(frozen=True)
class TrainingMemory:
    """[bytes] in one process."""

    weights: int
    trained: int
    """Parameters that are trained; a number, not bytes."""
    optimizer: int
    """Gradients and moments."""
    activations: int

    @property
    def total(self) -> int:
        """All of it, with a reserve."""
        return int((self.weights + self.optimizer + self.activations) * RESERVE)

    def text(self) -> str:
        """One line for people."""
        parts = (("weights", self.weights), ("optimizer", self.optimizer), ("activations", self.activations))
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts)
        return (
            f"Memory: about {self.total / 1e9:.1f} GB in one process ({listed}, and {RESERVE - 1:.0%} on top); "
            f"{self.trained / 1e6:.1f} M weights are trained. An estimate, nothing was loaded."
        )


def estimate(settings: TrainSettings) -> TrainingMemory:
    """What `settings` need in a process that shares nothing with others."""
    config = _config(settings.model)
    model = _on_no_device(config)
    parameters = sum(weight.numel() for weight in model.parameters())
    trained = parameters
    if settings.method == "lora":
        trained = sum(
            settings.rank * (layer.in_features + layer.out_features) for layer in language_layers(model).values()
        )
    width = 2 if settings.dtype == "bfloat16" else 4
    held = parameters * (4 if settings.method == "full" else width)
    own = 0 if settings.method == "full" else 4 * trained
    return TrainingMemory(held + own, trained, trained * ADAM, _activations(config.get_text_config(), settings, width))


def check(needs: TrainingMemory, memory: Memory, *, on_gpu: bool) -> None:
    """SettingError when it cannot fit."""
    there, place = (memory.gpu, "GPU") if on_gpu else (memory.ram, "RAM")
    if needs.total > there:
        raise SettingError(
            f"{needs.text()} The largest {place} here has {there / 1e9:.1f} GB. Share it among several GPUs "
            "(--launch fsdp), train an adapter instead of all weights (--method lora), take a smaller model, or go on "
            "all the same with --force."
        )


def language_layers(model: Any) -> dict[str, Any]:
    """Name -> every linear layer of the language model's blocks: never vision, projector or output layer."""
    import re

    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    named = {name: module for name, module in linear.items() if re.fullmatch(LORA_TARGETS, name)}
    if named:
        return named
    decoder = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is decoder), "")
    inside = {name: module for name, module in linear.items() if prefix and name.startswith(f"{prefix}.layers.")}
    if not inside:
        raise SettingError(
            f"No language model was found in a {type(model).__name__}: neither layers that match {LORA_TARGETS!r} nor "
            "a decoder with layers. Train it with --method full."
        )
    return inside


def _activations(text: Any, settings: TrainSettings, width: int) -> int:
    rows = settings.per_device * settings.max_tokens
    layer = rows * (text.hidden_size + text.intermediate_size) * LAYER_SHARE * width
    kept = rows * text.hidden_size * text.num_hidden_layers * width
    if not settings.checkpointing:
        kept = layer * text.num_hidden_layers
    return kept + layer + rows * text.vocab_size * LOGIT


def _config(model: str) -> Any:
    if model in KNOWN:
        return transformers.Gemma3Config(**KNOWN[model])
    try:
        return transformers.AutoConfig.from_pretrained(locate(model))
    except SettingError:
        raise
    except (OSError, ValueError) as error:
        raise SettingError(
            f"The config of {model!r} cannot be read: {str(error).strip().splitlines()[0]} Give a folder written by "
            "save_pretrained, or a hub name that this machine can reach."
        ) from error


def _on_no_device(config: Any) -> Any:
    with torch.device("meta"):
        return transformers.AutoModelForImageTextToText.from_config(config)
