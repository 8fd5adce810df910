"""Loads transformers models and their processors: the same way in evaluation, serving and training."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError, missing_extra, unknown_name
from vlm2vla_sim.policies.models.adapter_fit import describe_renaming, list_keys
from vlm2vla_sim.policies.models.hf_processor import build_processor, check_processor, needed_package
from vlm2vla_sim.policies.models.hub import locate
from vlm2vla_sim.policies.models.thinking import think_only_if_asked

try:
    import torch
    import transformers
    from safetensors import SafetensorError
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error

IN_EXTRA = ("accelerate", "num2words", "peft", "safetensors")
"""What the extra [vlm] brings of the packages that transformers may ask for."""
QUANTIZATIONS = ("", "8bit", "4bit")
COMPUTE = ("bfloat16", "float16", "float32")
"""dtypes in which bitsandbytes computes with weights of 4 bits."""


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
    """"8bit" or "4bit" (NF4, with double quantization) through bitsandbytes; empty for none."""
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


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that is in memory already, such as one with random weights."""

    model: Any
    """A transformers model, on its device."""
    processor: Any
    """Its processor; the tokenizer pads on the left."""

    def check(self, settings: HfSettings) -> None:
        """SettingError if `settings` asks for what is decided when a model is loaded."""
        for name in ("dtype", "device_map", "quantization"):
            value = getattr(settings, name)
            if value != getattr(HfSettings, name):
                raise SettingError(
                    f"{name} is {value!r}, but the model {settings.model!r} is in memory already. Leave {name} "
                    "out, and make the model with it."
                )


def load(settings: HfSettings) -> LoadedModel:
    """Model and processor, on the default device unless `settings.device_map` says another; see `load_weights`."""
    processor = load_processor(settings.model)
    model = load_weights(settings)
    return LoadedModel(model if settings.device_map else model.to(default_device()), processor)


def load_processor(model: str) -> Any:
    """The processor of `model` (tokenizer and image processor), padding on the left; it thinks only if asked to.

    MissingExtraError if it needs a package that is not installed; SettingError if it cannot be loaded, or if it makes
    no prompts of images and text (see `check_processor`).
    """
    processor = _load(build_processor, model)
    check_processor(processor, model)
    processor.tokenizer.padding_side = "left"
    think_only_if_asked(processor)
    return processor


def load_weights(settings: HfSettings) -> Any:
    """The model without its adapter, on the device where transformers loads it.

    SettingError if it cannot be loaded, or if its files do not hold exactly the weights of its architecture.
    """
    loader = transformers.AutoModelForImageTextToText.from_pretrained
    model = load_whole(loader, settings.model, **loading_arguments(settings))
    for module in model.modules() if settings.quantization == "4bit" else ():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # On such a CPU bitsandbytes 0.50 rearranges a layer's weights at its first answer: an error where its
            # inputs are no multiple of 64 (4304 in Gemma 3's vision encoder), and no gradients from then on.
            module.support_avx512bf16_for_cpu = False
    return model


def load_whole(loader: Any, name: str, **arguments: Any) -> Any:
    """The model `name`, loaded by `loader`, a `from_pretrained`; SettingError unless every weight is accounted for.

    transformers gives random values to the weights that a checkpoint lacks and leaves out those it does not know, and
    only prints a table about it. Tied weights, which are stored once, do not count as missing.
    """
    # A shape that differs is in the list below instead of ending the loading at the first one. The other format of
    # weights is a pickle, which is a program; none is loaded.
    how = {"output_loading_info": True, "ignore_mismatched_sizes": True, "use_safetensors": True}
    model, told = _load(loader, name, **how, **arguments)
    missing, unexpected = sorted(told["missing_keys"]), sorted(told["unexpected_keys"])
    other = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in told["mismatched_keys"])
    faults = [
        f"{what}: {list_keys(keys)}."
        for what, keys in (
            ("Weights that its files lack", missing),
            ("Weights that its architecture does not have", unexpected),
            ("Weights of another shape", other),
        )
        if keys
    ]
    if faults:
        raise SettingError(
            f"{name!r} is not a whole {type(model).__name__}. {' '.join(faults)} "
            f"{describe_renaming(unexpected, missing, ())} Give a folder that save_pretrained wrote for this "
            "architecture, complete.".replace("  ", " ")
        )
    return model


def loading_arguments(settings: HfSettings) -> dict[str, Any]:
    """The keyword arguments of `from_pretrained`."""
    arguments: dict[str, Any] = {"dtype": settings.dtype}
    if settings.device_map:
        arguments["device_map"] = settings.device_map
    if settings.quantization:
        check_quantization(settings.quantization)
        # As in QLoRA (arXiv 2305.14314): an adapter is evaluated on the same weights that it was trained on.
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=settings.quantization == "8bit",
            load_in_4bit=settings.quantization == "4bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=settings.dtype if settings.dtype in COMPUTE else None,
        )
        arguments.setdefault("device_map", "auto")
    return arguments


def check_quantization(quantization: str) -> None:
    """MissingExtraError for a quantization without bitsandbytes."""
    if quantization and importlib.util.find_spec("bitsandbytes") is None:
        raise missing_extra(f"A model in {quantization}", "bitsandbytes", "quantization")


def _load(loader: Any, name: str, **arguments: Any) -> Any:
    place = locate(name)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()  # "Loading weights" would fill a log file
    try:
        return loader(place, **arguments)
    except ImportError as error:
        package = needed_package(error)
        raise missing_extra(f"Loading {name!r}", package, "vlm" if package in IN_EXTRA else "") from error
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        source = f"the folder {place}" if Path(place).is_dir() else "the hub"
        raise SettingError(
            f"{name!r} cannot be loaded from {source}. transformers says: {first_line(error)} Give a folder that "
            "save_pretrained wrote, or a hub name whose licence you have accepted (`hf auth login`)."
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, as a sentence."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def default_device() -> str:
    """The name of the device: "cuda" where torch finds a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compile_feed_forward(model: Any) -> None:
    """Compile the feed-forward part of every layer of the language model; SettingError if none is found."""
    parts = [
        module
        for name, module in model.get_decoder().named_modules()
        if re.fullmatch(r"layers\.\d+\.(mlp|feed_forward)", name)
    ]
    if not parts:
        raise SettingError(
            f"compile is true, but a {type(model).__name__} has no feed-forward layers that could be compiled: its "
            "decoder has no layers.*.mlp or layers.*.feed_forward. Leave compile out."
        )
    for module in parts:
        # Not whole layers: each would be compiled anew, because the attention cache is indexed by the layer's number.
        module.compile(dynamic=True)
