"""Merges an adapter into its base model: a plain folder that any program which reads transformers' models takes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats.statistics import FILE as STATISTICS
from vlm2vla_sim.policies.models.action_symbols import FILE as SYMBOLS
from vlm2vla_sim.policies.models.digests import ADAPTER_CONFIG, config_digest, read_object, weights_digest
from vlm2vla_sim.policies.models.hf_adapter import load_adapter
from vlm2vla_sim.policies.models.hf_loading import HfSettings, load_processor, load_weights
from vlm2vla_sim.policies.models.hub import local_folder

MERGE_RECORD = "merged.json"
"""Says what a merged model was made of."""


@dataclass(frozen=True)
class Merged:
    """A merged model."""

    folder: Path
    base: str
    dtype: str
    """Of the weights that were written."""
    layers: int
    """Number of layers that the adapter changed."""


def merge_adapter(adapter: Path, out: Path, *, model: str = "", dtype: str = "auto") -> Merged:
    """Write the base model with the adapter in the folder `adapter` added to its weights to the new folder `out`.

    Args:
        adapter: A folder of `vlm2vla train`, or one that peft's save_pretrained wrote.
        out: The folder to write to.
        model: The base model; empty for the one that the adapter's config names.
        dtype: The torch dtype of the sum and of the weights written; "auto" for the one of the base model's files.

    SettingError if `adapter` is no adapter, does not belong to `model`, or if `out` is not empty.
    """
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise SettingError(wrong_folder(adapter, f"a LoRA adapter ({ADAPTER_CONFIG})"))
    check_path(out, SettingError, beside=".new")
    if out.exists():
        raise SettingError(f"{out} exists already. Choose another folder (--out DIR).")
    base = model or str(read_object(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    if not base:
        raise SettingError(f"{adapter / ADAPTER_CONFIG} does not name the base model. Give it (--model).")
    processor = load_processor(base)
    loaded = load_adapter(load_weights(HfSettings(base, dtype=dtype)), str(adapter), base=base)
    layers = sum(hasattr(module, "merge") for module in loaded.model.base_model.model.modules())
    merged = loaded.model.merge_and_unload(safe_merge=True)
    folder = local_folder(base)
    record = {
        "base": {"name": base, "digest": weights_digest(folder), "config_digest": config_digest(folder)},
        "adapter": {"name": str(adapter), "digest": weights_digest(adapter), "base_checked": loaded.base_checked},
        "dtype": str(merged.dtype).removeprefix("torch."),
        "versions": collect_versions(),
    }
    with creating_folder(out) as draft:
        merged.save_pretrained(draft)
        processor.save_pretrained(draft)
        for name in (SYMBOLS, STATISTICS):  # what the adapter's action format needs
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, draft / name)
        (draft / MERGE_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Merged(out, base, str(record["dtype"]), layers)
