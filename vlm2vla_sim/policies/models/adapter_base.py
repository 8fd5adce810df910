"""Compares the model that an adapter was trained on with the one that it is put on.

An adapter fits every model of the same shapes, also one with other weights, and then answers nonsense. What the
adapter's folder tells about its base decides: the weights' digest in training.json; else a name, and where that model
is on this machine as well, its config and weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.versions import distribution_version
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.digests import (
    ADAPTER_CONFIG,
    config_digest,
    has_weights,
    read_object,
    weights_digest,
)
from vlm2vla_sim.policies.models.hub import local_folder

RECORD = "training.json"
"""The record of a training run, beside the weights (see `training.training_record`)."""
SAMPLE = 1024
"""Number of values of each weight that enter the fingerprint."""
KINDS = ("model_type", "architectures")
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "num_attention_heads")
"""What is compared of two configs where no digest is known; sizes are those of the language model."""


def describe_base(name: str, model: Any) -> dict[str, object]:
    """What a training record says of its base model. model: as loaded, without an adapter."""
    folder = local_folder(name)
    return {
        "name": name,
        "commit": getattr(model.config, "_commit_hash", None),
        "digest": weights_digest(folder),
        "config_digest": config_digest(folder),
        "fingerprint": fingerprint(model),
    }


def check_base(adapter: Path, name: str, model: Any) -> str:
    """How it was found that the adapter in the folder `adapter` belongs to the model `name`.

    "digest", "fingerprint": the weights are those of the adapter's training record, or of the model that its config
    names. "name": only the name is the same. "config": another name, but the configs have the same sizes; the weights
    of the named model are not here. "shapes": nothing is known of the base; only the shapes of the adapter's weights
    fit. SettingError where the base is known to be another one.

    model: as loaded, without an adapter.
    """
    record = read_object(adapter / RECORD) if (adapter / RECORD).is_file() else {}
    about = record.get("base")
    base: dict[str, Any] = about if isinstance(about, dict) else {}
    folder = local_folder(name)
    checked, difference = _by_weights(base, record, folder, model)
    if difference:
        raise SettingError(
            f"The adapter {str(adapter)!r} was trained on the model {base.get('name')!r}; {name!r} has {difference}, "
            f"according to the adapter's {RECORD}. Give the model it was trained on, or an adapter of this model."
        )
    if checked:
        return checked
    trained_on = str(read_object(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    return _by_name(trained_on, name, folder, adapter)


def _by_weights(base: dict[str, Any], record: dict[str, Any], folder: Path | None, model: Any) -> tuple[str, str]:
    """What was compared, and what differs; both empty where nothing can be compared."""
    was, now = base.get("digest"), weights_digest(folder)
    if was and now:
        if not has_weights(folder, was):
            return "digest", f"other weights (digest {now[:12]}, not {was[:12]})"
        same_config = base.get("config_digest") in (None, config_digest(folder))
        return "digest", "" if same_config else "the same weights, but another config.json"
    was = base.get("fingerprint")
    if was and _same_numbers(record, model):
        return "fingerprint", "" if was == fingerprint(model) else "other weights"
    return "", ""


def _same_numbers(record: dict[str, Any], model: Any) -> bool:
    """Whether the model was loaded as in training: a fingerprint depends on the dtype and on transformers' names."""
    versions, settings = record.get("versions") or {}, record.get("settings") or {}
    return (
        versions.get("transformers") == distribution_version("transformers")
        and f"torch.{settings.get('dtype')}" == str(model.dtype)
        and not getattr(model, "is_quantized", False)
        and not settings.get("quantization")
        and not any(weight.is_meta for weight in model.parameters())
    )


def _by_name(trained_on: str, name: str, folder: Path | None, adapter: Path) -> str:
    if trained_on and (trained_on == name or _same_folder(trained_on, name)):
        return "name"
    earlier = local_folder(trained_on) if trained_on else None
    if earlier is None or folder is None:
        return "shapes"
    was, now = _sizes(earlier), _sizes(folder)
    different = [f"{key} {was[key]}, not {now[key]}" for key in (*KINDS, *SIZES) if was[key] != now[key]]
    if different:
        raise SettingError(
            f"The adapter {str(adapter)!r} was trained on the model {trained_on!r}, which is not like {name!r}: "
            f"{'; '.join(different)}. Give the model it was trained on, or an adapter of this model."
        )
    return _by_files(adapter, trained_on, earlier, name, folder)


def _by_files(adapter: Path, trained_on: str, earlier: Path, name: str, folder: Path) -> str:
    """The same for two models that are both on this machine, and whose configs have the same sizes."""
    was, now = weights_digest(earlier), weights_digest(folder)
    if not (was and now):
        return "config"
    if not has_weights(folder, was):
        raise SettingError(
            f"The adapter {str(adapter)!r} was trained on the model {trained_on!r}; {name!r} has other weights (digest "
            f"{now[:12]}, not {was[:12]}). Give the model it was trained on. If that is {name!r} nevertheless, say so "
            f"in base_model_name_or_path of the adapter's {ADAPTER_CONFIG}."
        )
    return "digest"


def _same_folder(one: str, other: str) -> bool:
    return Path(one).is_dir() and Path(other).is_dir() and Path(one).samefile(other)


def _sizes(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config = read_object(path) if path.is_file() else {}
    text = config.get("text_config") or {}
    return {**{key: text.get(key, config.get(key)) for key in SIZES}, **{key: config.get(key) for key in KINDS}}


def fingerprint(model: Any) -> str:
    """SHA-256 (hexadecimal) over the name, shape and first values of every weight."""
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(weight.shape)}".encode())
        found.update(weight.flatten()[:SAMPLE].float().cpu().numpy().tobytes())
    return found.hexdigest()
