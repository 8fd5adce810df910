"""Write plain data as a pickle that Python 3.4 or newer and any NumPy can load, opcode by opcode.

`pickle.dumps` under NumPy 2 refers to `numpy._core`, which the robot's NumPy 1.24 does not have. A message written here
refers to `numpy.array` and `numpy.ndarray` only.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from vlm2vla_sim.errors import WireError

KINDS = "biuf"
"""Kinds of dtype that are written: bool, int, unsigned, float."""
SMALL = 64
"""Number of elements up to which an array is written as a list, so that the receiver gets a writable array."""
MAX_DEPTH = 32


def write(message: Any) -> bytes:
    """The pickle of `message`, protocol 3; WireError for a type that is not plain data."""
    out = bytearray(b"\x80\x03")
    _put(message, out, 0)
    return bytes(out + b".")


def _put(value: Any, out: bytearray, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise WireError(f"The message is nested deeper than {MAX_DEPTH} levels.")
    if value is None:
        out += b"N"
    elif isinstance(value, (bool, np.bool_)):
        out += b"\x88" if value else b"\x89"
    elif isinstance(value, (int, np.integer)):
        _put_int(int(value), out)
    elif isinstance(value, (float, np.floating)):
        out += b"G" + struct.pack(">d", float(value))
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        out += b"X" + struct.pack("<I", len(text)) + text
    elif isinstance(value, (bytes, bytearray)):
        out += b"B" + struct.pack("<I", len(value)) + value
    elif isinstance(value, np.ndarray):
        _put_array(value, out, depth)
    elif isinstance(value, (list, tuple, dict)):
        _put_container(value, out, depth)
    else:
        raise WireError(f"A {type(value).__name__} cannot be sent; plain data and NumPy arrays can.")


def _put_int(value: int, out: bytearray) -> None:
    if -(2**31) <= value < 2**31:
        out += b"J" + struct.pack("<i", value)
    else:
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(raw) > 16:
            raise WireError(f"A whole number of {len(raw)} bytes cannot be sent; at most 16.")
        out += b"\x8a" + bytes([len(raw)]) + raw


def _put_container(value: list | tuple | dict, out: bytearray, depth: int) -> None:
    if isinstance(value, dict):
        out += b"}("
        for key, item in value.items():
            _put(key, out, depth + 1)
            _put(item, out, depth + 1)
        out += b"u"
        return
    out += b"](" if isinstance(value, list) else b"("
    for item in value:
        _put(item, out, depth + 1)
    out += b"e" if isinstance(value, list) else b"t"


def _put_array(array: np.ndarray, out: bytearray, depth: int) -> None:
    if array.dtype.kind not in KINDS:
        raise WireError(f"An array of {array.dtype} cannot be sent; numbers and booleans can.")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    if 0 < array.size <= SMALL:
        out += b"cnumpy\narray\n("
        _put(little.tolist(), out, depth + 1)
        _put(little.dtype.str, out, depth + 1)
    else:
        out += b"cnumpy\nndarray\n("
        _put(little.shape, out, depth + 1)
        _put(little.dtype.str, out, depth + 1)
        _put(little.tobytes(), out, depth + 1)
    out += b"tR"
