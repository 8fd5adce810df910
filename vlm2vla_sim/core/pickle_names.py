"""What the few names that a NumPy pickle needs are taken to mean: a table of our own functions, none of them looked up.

A pickle names a function and hands it arguments. Were those names resolved, one list of forbidden ones would have to be
complete; here the list of meanings is, and everything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.errors import WireError

DTYPES = frozenset({"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"})
MAX_SIDES = 8
"""Dimensions of an array."""
MAX_LISTED = 100_000
"""Numbers in an array that is written as a list."""
KEYS = (str, bytes, int, float, bool, type(None))
"""Types of dictionary keys and set members: nothing whose hash takes long."""


@dataclass(frozen=True)
class Name:
    """A name of `NAMES` on the stack."""

    word: str


@dataclass(eq=False)
class Unfinished:
    """An array or dtype between its making and its BUILD, which alone may touch it."""

    word: str
    """"array", or the code of a dtype."""
    value: Any = None


def as_key(value: Any) -> Any:
    """The same value; WireError unless it is of a type in `KEYS`."""
    if type(value) not in KEYS:
        raise WireError(f"The message uses a {type(value).__name__} as a key.")
    return value


def as_dtype(code: Any) -> np.dtype:
    """A dtype given as such or by a code such as "<f8"; WireError unless it is one of `DTYPES`."""
    if isinstance(code, np.dtype):
        return code
    if not isinstance(code, str) or len(code) > 3 or code.lstrip("<>|=") not in DTYPES:
        raise WireError(f"The message holds an array of {code!r}; expected plain numbers: {', '.join(sorted(DTYPES))}.")
    return np.dtype(code)


def make_array(shape: Any, dtype: Any, raw: Any, order: Any = "C") -> np.ndarray:
    """A read-only view of `raw`; no memory is made, whatever the shape claims."""
    if not isinstance(raw, (bytes, bytearray)) or order not in ("C", "F"):
        raise WireError("The message holds an array without its bytes.")
    if type(shape) is not tuple or len(shape) > MAX_SIDES or not all(type(n) is int and n >= 0 for n in shape):
        raise WireError(f"The message holds an array of shape {str(shape)[:80]}.")
    dtype, count = as_dtype(dtype), 1
    for side in shape:
        count *= side
    if count * dtype.itemsize != len(raw):
        raise WireError(f"The message holds {len(raw)} bytes for an array of shape {shape} of {dtype}.")
    array = np.frombuffer(raw, dtype=dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _bytes(text: Any = b"", encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, (str, bytes, bytearray)):
        raise WireError(f"The message makes bytes of a {type(text).__name__}, encoded as {str(encoding)[:20]!r}.")
    return text.encode("latin1") if isinstance(text, str) else bytes(text)


def _set(items: Any = ()) -> frozenset:
    if type(items) not in (list, tuple, set, frozenset):
        raise WireError(f"The message makes a set of a {type(items).__name__}.")
    return frozenset(map(as_key, items))


def _start_dtype(code: Any, *_: Any) -> Unfinished:
    as_dtype(code)
    return Unfinished(code)


def _start_array(kind: Any, shape: Any, code: Any) -> Unfinished:
    if kind != Name("ndarray"):
        raise WireError("The message makes an array of an unknown kind.")
    return Unfinished("array")


def _array_of_list(values: Any, dtype: Any) -> np.ndarray:
    shape, numbers = [], [values]
    while numbers and type(numbers[0]) is list:
        if len(shape) == MAX_SIDES or not all(type(n) is list and len(n) == len(numbers[0]) for n in numbers):
            raise WireError("The message makes an array of a list that is not one.")
        shape.append(len(numbers[0]))
        if len(numbers) * shape[-1] > MAX_LISTED:
            raise WireError(f"The message makes an array of more than {MAX_LISTED} listed numbers.")
        numbers = [item for row in numbers for item in row]
    if not all(type(n) in (bool, int, float) for n in numbers):
        raise WireError("The message makes an array of something that is no number.")
    array = np.array(numbers, dtype=as_dtype(dtype)).reshape(shape)
    array.flags.writeable = False
    return array


def _array_of_bytes(kind_or_shape: Any, dtype: Any, raw: Any) -> np.ndarray:
    return make_array(kind_or_shape, dtype, raw)


def _array_of_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return make_array(shape, dtype, raw, order)


def _scalar(dtype: Any, raw: Any) -> bool | int | float:
    return make_array((1,), dtype, raw)[0].item()


def finish(unfinished: Unfinished, state: Any) -> Any:
    """The array or dtype that BUILD makes of `unfinished`; `state` as NumPy writes it."""
    if unfinished.word == "array":
        _, shape, dtype, fortran, raw = state
        return make_array(shape, dtype, raw, "F" if fortran is True else "C")
    _, order, *rest = state
    if order not in ("<", ">", "|", "=") or any(part is not None for part in rest[:3]):
        raise WireError("The message holds an array of records; expected plain numbers.")
    return as_dtype(unfinished.word).newbyteorder(order)


_CORE = ("numpy.core", "numpy._core")
NAMES: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "array"): "array",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "bytes",
    **{(f"{core}.multiarray", "_reconstruct"): "reconstruct" for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): "scalar" for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): "frombuffer" for core in _CORE},
    **{(module, kind): "set" for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")},
    **{(module, kind): "bytes" for module in ("builtins", "__builtin__") for kind in ("bytes", "bytearray")},
}
"""(module, name) as written in a pickle -> our word for it."""

MEANINGS: dict[str, Callable[..., Any]] = {
    "set": _set,
    "bytes": _bytes,
    "dtype": _start_dtype,
    "reconstruct": _start_array,
    "array": _array_of_list,
    "ndarray": _array_of_bytes,
    "frombuffer": _array_of_buffer,
    "scalar": _scalar,
}
