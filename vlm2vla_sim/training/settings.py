"""The settings of a training run, plain values, with the paper's recipe as the preset "paper".

They are stored beside the result, and an interrupted training run is resumed only with the same settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError, unknown_name

METHODS = ("lora", "full")
DTYPES = ("bfloat16", "float32")
QUANTIZATIONS = ("", "4bit", "8bit")


@dataclass(frozen=True)
class TrainSettings:
    """The defaults are the paper's recipe (arXiv 2509.22195, appendix 9, table 4, as two readers report it)."""

    model: str
    """The base model: a folder, or a name on the hub such as "google/gemma-3-12b-it"."""
    adapter: str = ""
    """Folder of an adapter of this model to continue training; empty for a new adapter."""
    method: str = "lora"
    """lora: an adapter on the linear layers of the language model. full: every weight, for comparison."""
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    """Dropout of the adapter. The paper states none."""
    learning_rate: float = 5e-5
    """Initial value; it decays linearly to 0."""
    warmup: float = 0.0
    """Share of the steps in which the learning rate increases. The paper states none."""
    batch: int = 8
    """Rows per step, over all processes."""
    per_device: int = 1
    """Rows per forward pass in one process; gradients are accumulated up to `batch`."""
    epochs: float = 1.0
    dtype: str = "bfloat16"
    """Compute precision. With `full` the weights are always float32, because small updates vanish in bfloat16."""
    max_tokens: int = 1024
    """Maximum tokens of prompt, images and completion. Longer rows are left out and counted, never truncated."""
    checkpointing: bool = True
    """Recompute activations instead of storing them: about a third slower, with several times less memory."""
    seed: int = 0
    save_every: int = 200
    """Steps between checkpoints."""
    quantization: str = ""
    """QLoRA: "4bit" or "8bit" stores the base model's linear layers so, through bitsandbytes; empty for `dtype`."""
    packing: bool = False
    """Lay the rows of a forward pass one behind the other in sequences of at most `max_tokens` tokens, none of which
    attends to another. The loss is that of the same rows padded."""
    held_out: float = 0.0
    """Share of the episodes whose rows are not trained on. The loss on them is computed at every checkpoint, and the
    result is the checkpoint where it is lowest. 0: none are held out, and the result is the last step."""
    patience: int = 0
    """Stop after so many checkpoints in a row without a lower loss on the rows held out; 0 for never."""

    def __post_init__(self) -> None:
        if not self.model:
            raise SettingError("The model is empty; expected a folder, or a name such as google/gemma-3-12b-it.")
        if self.method not in METHODS:
            raise unknown_name("method", self.method, METHODS)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.adapter and self.method == "full":
            raise SettingError("An adapter cannot be trained with --method full. Leave out one of them.")
        if self.adapter or self.method == "full":
            why = "an existing adapter keeps its own" if self.adapter else "--method full trains no adapter"
            for name in ("rank", "alpha", "dropout"):
                if getattr(self, name) != getattr(TrainSettings, name):
                    raise SettingError(f"{name} is {getattr(self, name)}, but {why}. Leave it out (--{name}).")
        for name in ("rank", "alpha", "batch", "per_device", "max_tokens", "save_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        for name, most in (("learning_rate", 1.0), ("epochs", math.inf)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= most):
                raise SettingError(f"{name} is {value}; expected more than 0{' and at most 1' if most == 1 else ''}.")
        for name in ("dropout", "warmup", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1.")
        self._check_stopping_and_quantization()

    def _check_stopping_and_quantization(self) -> None:
        if self.patience < 0:
            raise SettingError(f"patience is {self.patience}; expected 0 (never stop early) or more.")
        if self.patience and not self.held_out:
            raise SettingError(
                f"patience is {self.patience}, but no episodes are held out whose loss could decide. Hold some out "
                "(--held-out 0.05), or leave --patience out."
            )
        if self.quantization not in QUANTIZATIONS:
            raise unknown_name("quantization", self.quantization, [name for name in QUANTIZATIONS if name])
        if self.quantization and self.method == "full":
            raise SettingError(
                "Quantized weights cannot be trained, only an adapter on them. Leave out --quantization or --method "
                "full."
            )

    def accumulation(self, processes: int) -> int:
        """The number of gradient accumulation steps with `processes` processes; SettingError if it is not whole."""
        at_once = self.per_device * processes
        if self.batch % at_once:
            raise SettingError(
                f"A batch of {self.batch} cannot be divided among {processes} processes with {self.per_device} rows "
                f"each. Choose a multiple of {at_once} (--batch), or another --per-device."
            )
        return self.batch // at_once


PRESETS = {
    "paper": {},
    "small": {"batch": 16, "per_device": 8, "learning_rate": 1e-3, "dtype": "float32", "checkpointing": False},
}
"""Name -> differences from the defaults of `TrainSettings`. "small" is ours, for models of a few million weights."""


def preset(name: str, model: str, **changed: object) -> TrainSettings:
    """The preset `name` for `model`, with `changed` values; UnknownNameError for another name."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return TrainSettings(model, **{**PRESETS[name], **changed})  # type: ignore[arg-type]
