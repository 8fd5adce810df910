"""Digests of a model's files, by which results, training records and servers say which weights were used.

A path or a hub name says where weights were, not which: files are replaced, names get new revisions.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError

ADAPTER_CONFIG = "adapter_config.json"
EXPORT_RECORD = "export.json"
"""Written by `vlm2vla export` beside weights that have other names than those they were copied from."""
_MODEL_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""In the order in which transformers and peft look for them."""
_PROCESSOR_FILES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
    *("processor_config.json", "preprocessor_config.json", "generation_config.json"),
)
_UNRELATED = frozenset({"_name_or_path", "transformers_version"})
_UNRELATED_OF_ADAPTER = frozenset({"base_model_name_or_path", "revision", "peft_version", "inference_mode"})
"""Keys of a config that say where it is from, not what the model computes."""


def weight_files(folder: Path) -> list[Path]:
    """The weight files that are loaded from `folder`, a model's or an adapter's, by name; empty if it has none."""
    for name in _MODEL_WEIGHTS if not (folder / ADAPTER_CONFIG).is_file() else _ADAPTER_WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [folder / shard for shard in sorted(set(read_object(index).get("weight_map", {}).values()))]
    return []


def weights_digest(folder: Path | None) -> str | None:
    """SHA-256 (hexadecimal) of the weights in `folder`; None without a folder or weight files in it.

    Of one file, it is the digest that `sha256sum` prints; of several shards, that of `sha256sum` over the lines that
    `sha256sum *.safetensors` prints in their folder. In a hub cache it is read from the file's name, since large files
    are stored there under their digest. Other files are read once in a process: about 1.4 GB/s on a CPU with SHA
    instructions, if the disk is as fast: 17 s for the 24 GB of a 12B model. Workers that share a model read none.
    """
    files = [] if folder is None else weight_files(folder)
    if not files or not all(path.is_file() for path in files):
        return None
    return _of_files(files)


def has_weights(folder: Path | None, digest: str) -> bool | None:
    """Whether the weights in `folder` have this digest, or are an export of weights that have; None if unknown.

    The record of `vlm2vla export` counts for the weights that it was written with only.
    """
    now = weights_digest(folder)
    if folder is None or now is None or now == digest:
        return None if now is None else True
    path = folder / EXPORT_RECORD
    record = read_object(path) if path.is_file() else {}
    source = record.get("source")
    return record.get("digest") == now and isinstance(source, dict) and source.get("digest") == digest


def config_digest(folder: Path | None) -> str | None:
    """SHA-256 over the config of the model or the adapter in `folder`; None if there is none.

    Neither the order of its keys counts, nor those that say which software wrote it.
    """
    if folder is None:
        return None
    adapter = folder / ADAPTER_CONFIG
    path, left_out = (adapter, _UNRELATED_OF_ADAPTER) if adapter.is_file() else (folder / "config.json", _UNRELATED)
    if not path.is_file():
        return None
    plain = json.dumps(_without(read_object(path), left_out), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def processor_digest(folder: Path | None) -> str | None:
    """SHA-256 over the files of the processor in `folder`: tokenizer, chat template, image sizes, end tokens."""
    files = [] if folder is None else [path for path in folder.iterdir() if path.name in _PROCESSOR_FILES]
    return _of_files(files, single=False) if files else None


def read_object(path: Path) -> dict[str, Any]:
    """The object in the JSON file `path`; SettingError if there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read ({error}). Copy or download it again.") from error
    if not isinstance(values, dict):
        raise SettingError(f"{path} holds {type(values).__name__}; expected an object. Copy or download it again.")
    return values


def _of_files(files: Iterable[Path], *, single: bool = True) -> str:
    return digest_of({path.name: _file_digest(path) for path in files}, single=single)


def digest_of(digests: Mapping[str, str], *, single: bool = True) -> str:
    """One digest of files, from the name and the digest of each. single: of one file, it is that file's."""
    if single and len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", real.name):
        return real.name
    about = real.stat()
    return _hash_once(real, about.st_size, about.st_mtime_ns)


@functools.cache
def _hash_once(path: Path, size: int, modified: int) -> str:
    """size, modified: of the file, so that one which was replaced is read again."""
    del size, modified
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without(value: Any, names: frozenset[str]) -> Any:
    """`value` without the keys `names`, at any depth."""
    if isinstance(value, dict):
        return {key: _without(inner, names) for key, inner in value.items() if key not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value
