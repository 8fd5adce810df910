"""Writes a model's folder as vLLM reads it, and tells which adapters vLLM takes.

vLLM 0.32 reads the weights of a Gemma 3 by the names of Google's checkpoints, such as
`vision_tower.vision_model.embeddings...`; transformers 5.23 saves a model that was made from its config under
`vision_tower.embeddings...`, and reads both. vllm@0.32.0 model_executor/models/gemma3_mm.py, siglip.py.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.folder_kind import MODEL, wrong_folder
from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.digests import (
    ADAPTER_CONFIG,
    EXPORT_RECORD,
    config_digest,
    digest_of,
    read_object,
    weight_files,
    weights_digest,
)
from vlm2vla_sim.policies.models.safetensors_copy import METADATA, copy_renamed, read_header
from vlm2vla_sim.policies.models.vllm_adapter import check_adapter
from vlm2vla_sim.policies.models.vllm_tokenizer import TOKENIZER, missing_newlines, with_newlines

ARCHITECTURE = "Gemma3ForConditionalGeneration"
TOWER, INNER = "vision_tower.", "vision_model."
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Export:
    """A folder that vLLM takes."""

    folder: Path
    """What vLLM is to be given: the new folder, or the one that was given where vLLM takes that as it is."""
    written: bool
    renamed: int = 0
    """Number of weights that have another name."""
    weights: int = 0
    """Number of weights in all."""
    tokens: tuple[str, ...] = ()
    """Tokens that were added to the tokenizer."""
    rank: int | None = None
    """Of an adapter: the largest rank, for --max-lora-rank. None for a model."""


def export_for_vllm(folder: Path, out: Path) -> Export:
    """Write the model in `folder` to the new folder `out`, for vLLM; nothing is written where vLLM takes `folder`.

    Weights keep dtype and bytes and are copied file by file; the other files are copied, and `export.json` records
    where the weights are from. An adapter is taken as it is, or refused. SettingError for what vLLM cannot serve, and
    for a folder `out` that is not empty.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        return Export(folder, written=False, rank=check_adapter(folder))
    if not (folder / "config.json").is_file():
        raise SettingError(wrong_folder(folder, f"{MODEL.name} or a LoRA adapter"))
    check_path(out, SettingError, beside=".new")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingError(f"The folder {out} is not empty. Choose another folder (--out DIR).")
    config = read_object(folder / "config.json")
    _check_model(folder, config)
    files = _weight_files(folder)
    names = [name for path in files for name in read_header(path) if name != METADATA]
    if repeated := [name for name, count in Counter(map(vllm_name, names)).items() if count > 1]:
        raise SettingError(f"{folder} has two weights for the name {repeated[0]!r}. Copy or download it again.")
    renamed = sum(vllm_name(name) != name for name in names)
    missing = missing_newlines(folder)
    if not renamed and not missing:
        return Export(folder, written=False, weights=len(names))
    try:
        with creating_folder(out) as draft:
            _write(folder, draft, files, missing, config)
    except OSError as problem:
        raise SettingError(
            f"{folder} cannot be written to {out}: {problem.strerror or problem} ({problem.filename})."
        ) from problem
    return Export(out, True, renamed, len(names), missing)


def vllm_name(name: str) -> str:
    """The name of a weight in vLLM.

    >>> vllm_name("vision_tower.post_layernorm.weight")
    'vision_tower.vision_model.post_layernorm.weight'
    """
    before, tower, rest = name.partition(TOWER)
    if not tower or before not in ("", "model.") or rest.startswith(INNER):
        return name
    return f"{before}{TOWER}{INNER}{rest}"


def _check_model(folder: Path, config: dict[str, Any]) -> None:
    """SettingError for a model whose names in vLLM are not known."""
    architectures = config.get("architectures")
    if architectures != [ARCHITECTURE]:
        raise SettingError(
            f"{folder} is a {' or '.join(map(str, architectures or ['model without architectures in config.json']))}; "
            f"only the names of {ARCHITECTURE} are known. vLLM may take the folder as it is."
        )
    if config.get("quantization_config"):
        raise SettingError(
            f"The weights in {folder} are quantized; expected weights in bfloat16, float16 or float32. Export the "
            "model that was quantized, and let vLLM quantize it (--quantization)."
        )


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model; SettingError if there are none, or if one is missing."""
    files = weight_files(folder)
    if not files or files[0].suffix != ".safetensors":
        raise SettingError(
            f"{folder} has no model.safetensors and no {INDEX}. Save the model with transformers' save_pretrained, "
            "which writes them; weights that are a pickle are not read."
        )
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise SettingError(f"{folder} lacks {', '.join(absent)}, which {INDEX} names. Copy or download it again.")
    return files


def _write(folder: Path, draft: Path, files: list[Path], missing: tuple[str, ...], config: dict[str, Any]) -> None:
    weights = {path.name for path in files}
    for path in sorted(folder.iterdir()):
        # Other weights are a second copy, such as a pickle, which vLLM would choose from by its own rules.
        is_weights = path.suffix in (".safetensors", ".bin", ".pt", ".pth") or path.name.endswith(".index.json")
        if path.is_file() and not is_weights and path.name != EXPORT_RECORD:
            shutil.copyfile(path, draft / path.name)
    digests = {name: copy_renamed(folder / name, draft / name, vllm_name) for name in sorted(weights)}
    if (folder / INDEX).is_file() and weights != {"model.safetensors"}:
        index = read_object(folder / INDEX)
        index["weight_map"] = {vllm_name(name): file for name, file in index["weight_map"].items()}
        (draft / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if missing:
        with_newlines(folder / TOKENIZER, draft / TOKENIZER, missing, rows=_rows(folder, config))
    record = {
        "for": "vllm",
        "digest": digest_of(digests),
        "source": {"digest": weights_digest(folder), "config_digest": config_digest(folder)},
        "added_tokens": list(missing),
        "versions": collect_versions(),
    }
    (draft / EXPORT_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _rows(folder: Path, config: dict[str, Any]) -> int:
    """The rows of the embedding: ids that the model has."""
    rows = (config.get("text_config") or {}).get("vocab_size", config.get("vocab_size"))
    if not isinstance(rows, int):
        raise SettingError(f"{folder / 'config.json'} has no vocab_size, so that no token can be added.")
    return rows
