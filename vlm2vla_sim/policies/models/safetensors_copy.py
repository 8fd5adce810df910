"""Copies safetensors files with other names for their tensors; the numbers are copied as bytes, a piece at a time.

A file is the length of its header (8 bytes, little-endian), the header (JSON: name -> dtype, shape and place of a
tensor), and the tensors' bytes. github.com/huggingface/safetensors README.md, "Format".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from vlm2vla_sim.errors import SettingError

METADATA = "__metadata__"
LONGEST_HEADER = 100_000_000
"""[bytes] The limit of the safetensors library."""
PIECE = 2**24
"""[bytes] that are in memory at a time."""


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: name -> dtype, shape, data_offsets; SettingError if it is not a whole one."""
    with path.open("rb") as file:
        return _read_header(path, file)


def copy_renamed(source: Path, target: Path, rename: Callable[[str], str]) -> str:
    """Write `source` to the new file `target` with its tensors renamed; the SHA-256 (hexadecimal) of `target`.

    Names are changed in the header only: dtype, shape, order and bytes of the tensors stay as they are. SettingError
    if `source` is not a whole safetensors file.
    """
    with source.open("rb") as file:
        header = _read_header(source, file)
        renamed = {name if name == METADATA else rename(name): about for name, about in header.items()}
        text = json.dumps(renamed, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
        digest = hashlib.sha256()
        with target.open("xb") as written:
            piece = len(text).to_bytes(8, "little") + text
            while piece:
                digest.update(piece)
                written.write(piece)
                piece = file.read(PIECE)
    return digest.hexdigest()


def _read_header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The header; `file` then stands at the first tensor."""
    broken = f"{path} is not a whole safetensors file"
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= min(LONGEST_HEADER, path.stat().st_size - 8):
        raise SettingError(f"{broken}: it has no header. Copy or download it again.")
    try:
        header = json.loads(file.read(length))
        ends = [about["data_offsets"][1] for name, about in header.items() if name != METADATA]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise SettingError(f"{broken}: its header cannot be read ({error}). Copy or download it again.") from error
    expected, size = 8 + length + max(ends, default=0), path.stat().st_size
    if size != expected:
        raise SettingError(f"{broken}: it has {size:,} bytes, and its header says {expected:,}. Download it again.")
    return header
