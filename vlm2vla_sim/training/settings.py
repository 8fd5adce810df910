"""Everything that decides what a training makes, as plain values, with the paper's recipe as the preset "paper".

A recipe that is spread over flags, code and a cluster's launch script cannot be run again by anyone else. These values
go into the adapter's folder, and a training that was stopped goes on with them or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError, unknown_name

METHODS = ("lora", "full")
DTYPES = ("bfloat16", "float32")


@dataclass(frozen=True)
class TrainSettings:
    """The paper's recipe unless said otherwise (arXiv 2509.22195, appendix 9, table 4, as two readers report it)."""

    model: str
    """A folder, or a name on the hub such as "google/gemma-3-12b-it"."""
    adapter: str = ""
    """Folder of an adapter of this model that goes on learning; a new one where none is named."""
    method: str = "lora"
    """lora: an adapter on the linear layers of the language model. full: every weight, as the contrast."""
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    """Of the adapter. The paper states none."""
    learning_rate: float = 5e-5
    """At the start; it falls linearly to 0."""
    warmup: float = 0.0
    """Share of the steps in which the learning rate rises. The paper states none."""
    batch: int = 8
    """Rows of one step, over all processes."""
    per_device: int = 1
    """Rows that one process computes at once; the rest of `batch` is accumulated."""
    epochs: float = 1.0
    dtype: str = "bfloat16"
    """What is computed in. The weights of `full` are kept in float32 in any case: small steps vanish in bfloat16."""
    max_tokens: int = 1024
    """Of prompt, images and answer. Longer rows are left out and counted; nothing is cut off."""
    checkpointing: bool = True
    """Compute activations twice instead of keeping them: about a third slower, several times less memory."""
    seed: int = 0
    save_every: int = 200
    """Steps between two points from which a training that was killed goes on."""

    def __post_init__(self) -> None:
        if not self.model:
            raise SettingError("No model is named; give a folder, or a name such as google/gemma-3-12b-it.")
        if self.method not in METHODS:
            raise unknown_name("method", self.method, METHODS)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.adapter and self.method == "full":
            raise SettingError("An adapter goes on learning as an adapter; leave --adapter out, or --method full.")
        for name in ("rank", "alpha", "batch", "per_device", "max_tokens", "save_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        for name, most in (("learning_rate", 1.0), ("epochs", math.inf)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= most):
                raise SettingError(f"{name} is {value}; expected more than 0{' and at most 1' if most == 1 else ''}.")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1.")

    def accumulation(self, processes: int) -> int:
        """How many times `per_device` rows are computed before a step, in each of so many processes."""
        at_once = self.per_device * processes
        if self.batch % at_once:
            raise SettingError(
                f"A batch of {self.batch} cannot be shared by {processes} processes with {self.per_device} rows each; "
                f"choose a batch that {at_once} divides (--batch), or other --per-device."
            )
        return self.batch // at_once


PRESETS = {
    "paper": {},
    "small": {"batch": 16, "per_device": 8, "learning_rate": 1e-3, "dtype": "float32", "checkpointing": False},
}
"""Name -> what differs from the defaults of `TrainSettings`. "small" is ours, for models of a few million weights."""


def preset(name: str, model: str, **changed: object) -> TrainSettings:
    """The preset `name` for `model`, with some values changed."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return TrainSettings(model, **{**PRESETS[name], **changed})  # type: ignore[arg-type]
