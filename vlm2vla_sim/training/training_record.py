"""`training.json`: the settings, data, base model and versions of a training run, stored beside its result.

They identify the data, the prompts and the base model that an adapter belongs to, and allow the run to be repeated.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vlm2vla_sim.core.versions import collect_versions, distribution_version
from vlm2vla_sim.data.examples.folder import data_hash, read_about
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.policies.models.adapter_base import RECORD
from vlm2vla_sim.training.settings import TrainSettings

if TYPE_CHECKING:
    from vlm2vla_sim.policies.models.lora_targets import LoraAccount

STACK = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "safetensors")


def make_record(
    settings: TrainSettings,
    data: Path,
    *,
    base: dict[str, object],
    lora: LoraAccount | None,
    skipped: dict[str, int],
    rows: int,
    result: dict[str, object],
) -> dict[str, object]:
    """The record as plain values. lora: what the adapter changes; None for a training of all weights."""
    stack = {name: distribution_version(name) or "unknown" for name in STACK}
    return {
        "settings": dataclasses.asdict(settings),
        "base": base,
        "lora": None if lora is None else dataclasses.asdict(lora),
        "data": {"sha256": data_hash(data), "rows": rows, "skipped": skipped, "about": read_about(data)},
        "went_on_from": _earlier(settings.adapter),
        "prompts_sha256": prompts_hash(),
        "versions": {**collect_versions(prompts=prompts_hash()), **stack},
        "result": result,
    }


def _earlier(adapter: str) -> object:
    """The record of the adapter that was trained further, or its folder if it has none; None for a new adapter."""
    path = Path(adapter) / RECORD
    return (json.loads(path.read_text(encoding="utf-8")) if path.is_file() else adapter) if adapter else None
