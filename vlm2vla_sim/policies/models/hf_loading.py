"""Loads transformers models, their processors and adapters: the same way in evaluation, serving and training."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra, unknown_name
from vlm2vla_sim.policies.models.hub import locate

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error

QUANTIZATIONS = ("", "8bit", "4bit")


@dataclass(frozen=True)
class HfSettings:
    """Which weights to load, and how."""

    model: str
    """A folder, or a name on the hub such as "google/gemma-3-12b-it"."""
    adapter: str = ""
    """A PEFT adapter's folder or name; empty for none."""
    dtype: str = "auto"
    """A torch dtype ("bfloat16", "float32"), or "auto" for the one the weights are stored in."""
    device_map: str = ""
    """As in transformers ("auto", "cuda:1"); empty for the GPU if there is one, else the CPU."""
    quantization: str = ""
    """"8bit" or "4bit" through bitsandbytes; empty for none."""
    compile: bool = False
    """Compile the language model's feed-forward layers with torch.compile: faster, but slow to start."""
    fast: bool = True
    """False uses transformers' `generate` also for the families that `hf_decode` supports."""
    max_batch: int = 16
    """The most questions in one batch."""
    threads: int = 0
    """torch's CPU threads, for the whole process; 0 leaves torch's setting."""

    def __post_init__(self) -> None:
        if not self.model:
            raise SettingError(
                "No model is given; expected a folder, or a name on the hub such as google/gemma-3-4b-it."
            )
        if self.quantization not in QUANTIZATIONS:
            raise unknown_name("quantization", self.quantization, [q for q in QUANTIZATIONS if q])
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise unknown_name("dtype", self.dtype, ("auto", "bfloat16", "float16", "float32"))
        if self.max_batch < 1:
            raise SettingError(f"max_batch is {self.max_batch}; expected 1 or more.")
        if self.threads < 0:
            raise SettingError(f"threads is {self.threads}; expected 0 (torch's own setting) or more.")


def load_processor(model: str) -> Any:
    """The processor of `model` (tokenizer and image processor), padding on the left."""
    processor = _load(transformers.AutoProcessor.from_pretrained, model)
    processor.tokenizer.padding_side = "left"
    return processor


def load_weights(settings: HfSettings) -> Any:
    """The model without its adapter, on the device where transformers loads it."""
    return _load(
        transformers.AutoModelForImageTextToText.from_pretrained, settings.model, **loading_arguments(settings)
    )


def loading_arguments(settings: HfSettings) -> dict[str, Any]:
    """The keyword arguments of `from_pretrained`."""
    arguments: dict[str, Any] = {"dtype": settings.dtype}
    if settings.device_map:
        arguments["device_map"] = settings.device_map
    if settings.quantization:
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=settings.quantization == "8bit", load_in_4bit=settings.quantization == "4bit"
        )
        arguments.setdefault("device_map", "auto")
    return arguments


def _load(loader: Any, name: str, **arguments: Any) -> Any:
    place = locate(name)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()  # "Loading weights" would fill a log file
    try:
        return loader(place, **arguments)
    except ImportError as error:
        raise missing_extra(f"Loading {name!r} this way", error.name or str(error).split("\n")[0], "vlm") from error
    except (OSError, ValueError) as error:
        source = f"the folder {place}" if Path(place).is_dir() else "the hub"
        raise SettingError(
            f"{name!r} cannot be loaded from {source} as an image-text-to-text model. transformers says: "
            f"{str(error).strip().splitlines()[0]} Give a folder that save_pretrained wrote, or a hub name whose "
            "licence you have accepted (`hf auth login`)."
        ) from error


@contextlib.contextmanager
def peft_reads_old_attribute() -> Iterator[None]:
    """Create a `PeftModel` here: peft 0.21 reads `is_gradient_checkpointing`, which transformers 5 warns about.

    The deprecation concerns the two packages, not the user, and only this message is left out.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def load_adapter(model: Any, adapter: str) -> Any:
    """`model` with the PEFT adapter of a folder or hub name; SettingError if it does not fit the model."""
    try:
        from peft import PeftModel
    except ModuleNotFoundError as error:
        raise missing_extra("An adapter", error.name or "peft", "vlm") from error
    try:
        with peft_reads_old_attribute():
            return PeftModel.from_pretrained(model, locate(adapter, "adapter"))
    except SettingError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"The adapter {adapter!r} cannot be loaded: {str(error).strip().splitlines()[0]} Give a folder with "
            "adapter_config.json and adapter_model.safetensors that was trained on this model."
        ) from error


def default_device() -> str:
    """The name of the device: "cuda" where torch finds a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compile_feed_forward(model: Any) -> None:
    """Compile the feed-forward part of every layer of the language model."""
    for name, module in model.named_modules():
        # Not whole layers: each would be compiled anew, because the attention cache is indexed by the layer's number.
        if "language_model.layers" in name and name.endswith(".mlp"):
            module.compile(dynamic=True)
