"""Pictures that lie as PNG or JPEG in memory or in a folder, decoded when they are asked for.

An episode's pictures are a megabyte as they are stored and fifty as numbers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import DataError

MAX_PIXELS = 64 * 2**20
"""Of one picture; more is a mistake or an attack."""


class EncodedPictures:
    """Pictures that were read, but not decoded."""

    def __init__(self, stored: Sequence[bytes]) -> None:
        """stored: PNG or JPEG, one a picture."""
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode(self._stored[index], f"Picture {index}")

    def check(self) -> None:
        """Decode every picture and keep none; DataError for one that cannot be."""
        for index in range(len(self)):
            self[index]


class PictureFiles:
    """Pictures in a folder, named im_0.jpg, im_1.jpg and so on."""

    def __init__(self, folder: Path, count: int, *, first: int = 0) -> None:
        """The pictures `first` .. `first + count - 1`."""
        self._folder, self._count, self._first = folder, count, first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(f"Picture {index} of {self._count} was asked for.")
        path = self._folder / f"im_{self._first + index}.jpg"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path.parent.name}/{path.name} cannot be read: {error.strerror}.") from error
        return decode(data, f"{path.parent.name}/{path.name}")

    def check(self) -> None:
        """Decode every picture and keep none; DataError for one that cannot be."""
        for index in range(len(self)):
            self[index]


def decode(data: bytes, name: str) -> np.ndarray:
    """A PNG or JPEG as (H, W, 3) uint8 RGB; DataError, with its `name`, for anything else."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{name} has {picture.width} x {picture.height} pixels.")
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be decoded: {error}.") from error
