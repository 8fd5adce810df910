"""Encodes and decodes arrays in msgpack and JSON, in the four encodings of the wire protocols, safely.

A message from a server may ask for an object dtype, for a shape of terabytes, or for a pickle to be loaded. An array is
accepted only if its dtype is a plain number and its data has exactly the bytes its shape needs; anything else is a
WireError, raised before memory is allocated.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import re
from typing import Any

import numpy as np

from vlm2vla_sim.errors import WireError, missing_extra

PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""The dtypes that are read and written: booleans, integers, floating-point numbers."""
MOST_DIMENSIONS = 8
MOST_PIXELS = 4096 * 4096
"""Of all PNG and JPEG images of a message."""
MOST_ITEMS = 100_000
"""Items in all lists and maps of a message: an empty list of one byte takes 64 in memory."""

# Reading --------------------------------------------------------------------------------------------------------------


def unpack(message: bytes) -> Any:
    """Decodes a msgpack message with arrays as openpi, vla-eval or GR00T packs them; WireError for anything else."""
    msgpack = _msgpack()
    reader = _Reader()
    try:
        return msgpack.unpackb(
            message,
            object_hook=reader.read_map,
            list_hook=reader.read_list,
            ext_hook=_refuse_extension,
            max_array_len=MOST_ITEMS,
            max_map_len=MOST_ITEMS,
        )
    except WireError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as broken:
        raise WireError(
            f"A message of {len(message):,} bytes is not msgpack: {broken or type(broken).__name__}."
        ) from broken


def from_json(text: bytes | str) -> Any:
    """Decodes JSON with arrays as json-numpy writes them; WireError for anything else."""
    try:
        return json.loads(text, object_hook=_Reader().read_map, parse_constant=float)
    except (ValueError, RecursionError) as broken:
        raise WireError(f"An answer of {len(text):,} bytes is not JSON: {broken}.") from broken


class _Reader:
    """Reads the maps and lists of one message, and adds up what they take."""

    def __init__(self) -> None:
        self._items = self._pixels = 0

    def read_map(self, found: dict[Any, Any]) -> Any:
        """A map, or the array or number that it encodes. openpi's marker keys are bytes, those of others are text."""
        self._count(len(found) + 1)
        for kind in (b"", ""):
            if _key(kind, "__ndarray__") in found:
                return _array(found, kind, found.get(_key(kind, "data")))
            if _key(kind, "__npgeneric__") in found:
                return _scalar(found.get(_key(kind, "data")))
        if "__ndarray_class__" in found:
            return _npy(found.get("as_npy"))
        if "__numpy__" in found:
            return _array(found, "", _from_base64(found["__numpy__"]))
        if "__image__" in found:
            return self._image(found)
        return found

    def read_list(self, found: list[Any]) -> list[Any]:
        """A list as it is."""
        self._count(len(found) + 1)
        return found

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > MOST_ITEMS:
            raise WireError(f"A message has more than {MOST_ITEMS:,} items in its lists and maps.")

    def _image(self, found: dict[str, Any]) -> np.ndarray:
        """An image as vla-eval encodes it: raw, PNG or JPEG."""
        if found.get("format") == "raw":
            return _array(found, "", found.get("data"))
        from PIL import Image, UnidentifiedImageError

        data = found.get("data")
        if found.get("format") not in ("png", "jpeg") or not isinstance(data, bytes):
            raise WireError(f"An image's format is {str(found.get('format'))[:40]!r}; expected raw, png or jpeg.")
        try:
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
            self._pixels += image.width * image.height
            if self._pixels > MOST_PIXELS:
                raise WireError(f"A message has images of {self._pixels:,} pixels; at most {MOST_PIXELS:,} are read.")
            return np.asarray(image)
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as broken:
            raise WireError(f"An image cannot be decoded: {broken}.") from broken


def _array(found: dict[Any, Any], kind: bytes | str, data: Any) -> np.ndarray:
    dtype, shape = _text(found.get(_key(kind, "dtype"))), found.get(_key(kind, "shape"))
    if not PLAIN.fullmatch(dtype):
        raise WireError(f"An array has dtype {dtype[:40]!r}; expected a plain number such as '<f4'.")
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > MOST_DIMENSIONS
        or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
    ):
        raise WireError(f"An array's shape is {str(shape)[:80]}; expected up to {MOST_DIMENSIONS} whole numbers.")
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    if not isinstance(data, bytes) or len(data) != wanted:
        have = f"{len(data):,} bytes" if isinstance(data, bytes) else f"{type(data).__name__}"
        raise WireError(f"An array of shape {tuple(shape)} and dtype {dtype} needs {wanted:,} bytes, but has {have}.")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _npy(data: Any) -> np.ndarray:
    """An array as GR00T encodes it: a file of NumPy's, whose header is read before anything of its size is made."""
    if not isinstance(data, bytes):
        raise WireError(f"An array's data is a {type(data).__name__}; expected the bytes of a .npy file.")
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(file)
    except (ValueError, EOFError) as broken:
        raise WireError(f"An array of {len(data):,} bytes is no .npy file: {broken}.") from broken
    rest = {"dtype": dtype.str, "shape": shape[::-1] if columns_first else shape}
    array = _array(rest, "", file.read())
    return array.T if columns_first else array


def _scalar(value: Any) -> Any:
    if not isinstance(value, (bool, int, float)):
        raise WireError(f"A scalar has type {type(value).__name__}; expected a plain number.")
    return value


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireError(f"A message holds the msgpack extension {code}, which is not supported.")


def _from_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as broken:
        raise WireError(f"An array's data is not base64: {broken}.") from broken


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _key(kind: bytes | str, name: str) -> bytes | str:
    return name.encode() if isinstance(kind, bytes) else name


# Writing --------------------------------------------------------------------------------------------------------------


def pack_openpi(value: Any) -> bytes:
    """`value` in msgpack with arrays as openpi packs them: markers in bytes."""
    return _msgpack().packb(value, default=_write_openpi)


def pack_vla_eval(value: Any) -> bytes:
    """`value` in msgpack with arrays as vla-eval packs them: markers in text. Images are sent raw, the fastest way."""
    return _msgpack().packb(value, default=_write_vla_eval)


def pack_groot(value: Any) -> bytes:
    """`value` in msgpack with arrays as GR00T packs them: a file of NumPy's each."""
    return _msgpack().packb(value, default=_write_groot)


def to_json(value: Any) -> bytes:
    """`value` in JSON with arrays as json-numpy writes them."""
    return json.dumps(value, default=_write_json).encode()


def _write_openpi(value: Any) -> Any:
    array = _plain(value)
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}


def _write_vla_eval(value: Any) -> Any:
    array = _plain(value)
    return {"__ndarray__": True, "data": array.tobytes(), "dtype": array.dtype.str, "shape": list(array.shape)}


def _write_groot(value: Any) -> Any:
    file = io.BytesIO()
    np.save(file, _plain(value), allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


def _write_json(value: Any) -> Any:
    array = _plain(value)
    data = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": data, "dtype": array.dtype.str, "shape": list(array.shape)}


def _plain(value: Any) -> np.ndarray:
    if isinstance(value, (np.ndarray, np.generic)) and PLAIN.fullmatch(value.dtype.str):
        return np.asarray(value)
    kind = value.dtype if isinstance(value, (np.ndarray, np.generic)) else type(value).__name__
    raise WireError(f"A value of type {kind} cannot be sent: expected numbers, text, lists and maps.")


def _msgpack() -> Any:
    try:
        import msgpack
    except ModuleNotFoundError as error:
        raise missing_extra("The wire protocol of openpi, vla-eval and GR00T", "msgpack", "remote") from error
    return msgpack
