"""Loads PEFT adapters onto transformers models: every weight of the adapter, or none.

Evaluation, serving and training load adapters here, and so do checkpoints of a training run that is continued.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.adapter_base import check_base
from vlm2vla_sim.policies.models.adapter_fit import NAME, PREFIX, compare, describe_renaming
from vlm2vla_sim.policies.models.digests import (
    ADAPTER_CONFIG,
    config_digest,
    processor_digest,
    read_object,
    weight_files,
    weights_digest,
)
from vlm2vla_sim.policies.models.hf_loading import HfSettings, first_line
from vlm2vla_sim.policies.models.hub import download, local_folder

CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Values of `init_lora_weights` with which peft changes the weights of the base model as it loads the adapter."""
FILES = ("adapter_*", "training.json", "action_symbols.json", "action_statistics.json")
"""What is downloaded of an adapter on the hub."""
ADVICE = "Give an adapter that was trained on this model and saved by peft's save_pretrained."
_LOADING = threading.Lock()


@dataclass(frozen=True)
class LoadedAdapter:
    """A model with its adapter."""

    model: Any
    """The `PeftModel`."""
    keys: int
    """Number of the adapter's weights, all of which are in the model."""
    base_checked: str
    """How the adapter's base model was compared with this one; see `adapter_base.check_base`."""


def load_adapter(model: Any, adapter: str, *, base: str, trainable: bool = False) -> LoadedAdapter:
    """`model` with the PEFT adapter of a folder or hub name.

    base: the folder or hub name of `model`. SettingError if a weight of the adapter has no place in the model, if one
    that adapter_config.json asks for is missing, or if the adapter was trained on another model.
    """
    try:
        from peft import PeftModel
    except ModuleNotFoundError as error:
        raise missing_extra("An adapter", error.name or "peft", "vlm") from error
    folder = Path(download(adapter, "adapter", FILES))
    config = _read_config(folder)
    checked = check_base(folder, base, model)
    with _explained(model, folder), _every_weight(folder) as loaded, peft_reads_old_attribute():
        tuned = PeftModel.from_pretrained(model, str(folder), config=config, is_trainable=trainable)
    return LoadedAdapter(tuned, loaded[0], checked)


def load_checkpoint(model: Any, folder: Path) -> None:
    """Load the weights of the adapter in `folder` into the `PeftModel` `model`; SettingError unless every one fits."""
    with _explained(model.get_base_model(), folder), _every_weight(folder):
        model.load_adapter(str(folder), NAME, is_trainable=True)


def describe_weights(settings: HfSettings, adapted: LoadedAdapter | None, *, from_files: bool = True) -> dict[str, Any]:
    """Names and digests of the weights that were loaded for `settings`, plain values; None where one is unknown.

    from_files: False for a model that was made in memory, whose name says nothing of files.
    """
    folder = local_folder(settings.model) if from_files else None
    described: dict[str, Any] = {
        "model": settings.model,
        "model_digest": weights_digest(folder),
        "config_digest": config_digest(folder),
        "processor_digest": processor_digest(folder),
    }
    if adapted is None:
        return described
    adapter = local_folder(settings.adapter)
    return described | {
        "adapter": settings.adapter,
        "adapter_digest": weights_digest(adapter),
        "adapter_config_digest": config_digest(adapter),
        "adapter_keys": adapted.keys,
        "base_checked": adapted.base_checked,
    }


@contextlib.contextmanager
def peft_reads_old_attribute() -> Iterator[None]:
    """Create a `PeftModel` here: peft 0.21 reads `is_gradient_checkpointing`, which transformers 5 warns about.

    The deprecation concerns the two packages, not the user, and only this message is left out.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def _read_config(folder: Path) -> Any:
    """The adapter's config, of peft; SettingError for one that this package or this version of peft cannot honour."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftConfig, PromptLearningConfig

    if not (folder / ADAPTER_CONFIG).is_file():
        raise SettingError(wrong_folder(folder, f"a LoRA adapter ({ADAPTER_CONFIG})"))
    values = read_object(folder / ADAPTER_CONFIG)
    kind = str(values.get("peft_type"))
    kinds: dict[Any, Any] = dict(PEFT_TYPE_TO_CONFIG_MAPPING)
    if kind not in kinds:
        raise SettingError(f"The adapter {str(folder)!r} is of the type {kind!r}, which peft does not know. {ADVICE}")
    if issubclass(kinds[kind], PromptLearningConfig):
        raise SettingError(
            f"The adapter {str(folder)!r} is of the type {kind}, which adds tokens to the prompt; expected one that "
            f"changes layers, such as LORA. {ADVICE}"
        )
    known = {field.name for field in dataclasses.fields(kinds[kind])}
    unknown = [name for name, value in values.items() if name not in known and value]
    if unknown:
        raise SettingError(
            f"The adapter {str(folder)!r} uses {', '.join(unknown)}, which the installed peft does not know and would "
            "leave out. Upgrade peft."
        )
    reason = _unsupported(values)
    if reason:
        raise SettingError(f"The adapter {str(folder)!r} {reason}. {ADVICE}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # with which peft says that it ignores a value
            warnings.filterwarnings("ignore", message="Unexpected keyword arguments")  # only empty ones are left
            return PeftConfig.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError, UserWarning) as error:
        raise SettingError(f"{folder / ADAPTER_CONFIG} cannot be used: {first_line(error)} {ADVICE}") from error


def _unsupported(values: Mapping[str, Any]) -> str:
    """Why an adapter with these values in its config cannot be used; empty if it can."""
    start = values.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(CHANGES_BASE):
        return f"was begun with init_lora_weights={start!r}, which changes the base model itself as it is loaded"
    for name in ("alora_invocation_tokens", "layer_replication"):
        if values.get(name):
            return f"uses {name}, which this package does not support"
    return ""


@contextlib.contextmanager
def _every_weight(folder: Path) -> Iterator[list[int]]:
    """Load the adapter in `folder` here: peft is stopped by a SettingError unless every weight fits.

    Yields a list that then holds the number of weights. The names are compared where peft hands them to the model,
    after it has renamed what it knows from earlier versions of itself and of transformers.
    """
    from peft import PeftModel
    from torch import nn

    in_file = len(_keys(folder))
    loaded: list[int] = []

    def load_state_dict(self: Any, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        fit = compare(state_dict, self, in_file=in_file)
        if not fit.complete:
            raise SettingError(f"The adapter {str(folder)!r} does not fit the model: {fit.text()} {ADVICE}")
        loaded.append(fit.fitting)
        return nn.Module.load_state_dict(self, state_dict, *arguments, **options)

    with _LOADING:
        PeftModel.load_state_dict = load_state_dict  # type: ignore[method-assign]
        try:
            yield loaded
        finally:
            del PeftModel.load_state_dict


@contextlib.contextmanager
def _explained(model: Any, folder: Path) -> Iterator[None]:
    """An error of peft in here becomes a SettingError about the adapter in `folder`. model: without the adapter."""
    try:
        with warnings.catch_warnings():
            # With which peft says that it ignores a value, such as a rank or a scale for layers that do not exist.
            warnings.filterwarnings("error", category=RuntimeWarning, module=r"peft\.")
            yield
    except SettingError:
        raise
    except KeyError as error:
        raise SettingError(
            f"The adapter {str(folder)!r} does not fit the model: its file has no key {error.args[0]!r}, which "
            f"{ADAPTER_CONFIG} asks for. {ADVICE}"
        ) from error
    except (OSError, ValueError, TypeError, RuntimeError, RuntimeWarning) as error:
        names = [key.removeprefix(PREFIX) for key in _keys(folder)]
        renaming = describe_renaming(names, (), [name for name, _ in model.named_modules()])
        raise SettingError(
            f"The adapter {str(folder)!r} cannot be loaded: {first_line(error)} {renaming} {ADVICE}".replace("  ", " ")
        ) from error


def _keys(folder: Path) -> list[str]:
    """The names of the weights in the file that peft loads; SettingError if there is none, or if it is broken."""
    from safetensors import SafetensorError, safe_open

    files = weight_files(folder)
    if len(files) != 1:
        raise SettingError(f"The folder {folder} has no adapter_model.safetensors. {ADVICE}")
    if files[0].suffix != ".safetensors":
        raise SettingError(
            f"{files[0]} is a pickle, which is a program; none is loaded. Save the adapter as safetensors: peft's "
            "save_pretrained writes adapter_model.safetensors."
        )
    try:
        with safe_open(files[0], framework="pt") as file:
            return list(file.keys())
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise SettingError(
            f"{files[0]} cannot be read: {first_line(error)} It may be damaged or cut off; copy or download it again."
        ) from error


def check_effect(model: Any, tokenizer: Any, *, adapter: str, base: str) -> None:
    """The adapter probe: SettingError if the scores of a text are the same with and without the adapter of `model`."""
    import torch

    probe = tokenizer("move forward 3 cm", return_tensors="pt").to(model.device)
    ids = {"input_ids": probe["input_ids"], "attention_mask": probe["attention_mask"]}
    with torch.inference_mode():
        scores = model(**ids).logits
        with model.disable_adapter():
            plain = model(**ids).logits
    if torch.equal(scores, plain):
        raise SettingError(
            f"The adapter {adapter!r} does not change the scores of {base!r}: it is untrained, or its layer names do "
            "not match the model's. Give an adapter trained on this model."
        )
