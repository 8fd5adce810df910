"""PNG and JPEG images in memory or in a folder, decoded on access.

The encoded images of an episode take about a megabyte; decoded, about fifty.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import DataError

MAX_PIXELS = 64 * 2**20
"""Limit for one image; a larger one is taken for a mistake or a decompression bomb."""

DARK = 8
"""The brightest value of a black image; JPEG and H.264 move black by a few levels, and a camera's noise lies above."""


def refuse_absent(images: Iterable[np.ndarray], camera: str) -> None:
    """DataError if every image is black: what data sets hold in place of a camera that was not there.

    The RLDS builder of BridgeData writes zeros for it, and every copy made from it has them. Usually the first image
    decides. images: each (H, W, 3) uint8. An image that cannot be decoded is left to `check_images`.
    """
    try:
        absent = all(image.max() <= DARK for image in images)
    except DataError:
        absent = False
    if absent:
        raise DataError(
            f"The camera {camera!r} is absent: its images are all black, which stands for a camera that was not there. "
            "Name another one (--picture)."
        )


class EncodedImages:
    """An `ImageSequence` of encoded images in memory."""

    def __init__(self, stored: Sequence[bytes]) -> None:
        """stored: one PNG or JPEG per image."""
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode(self._stored[index], f"Image {index}")

    def check(self) -> None:
        """Decode every image without keeping it; DataError for one that cannot be decoded."""
        for index in range(len(self)):
            self[index]


class ImageFiles:
    """An `ImageSequence` of files in a folder, named im_0.jpg, im_1.jpg and so on."""

    def __init__(self, folder: Path, count: int, *, first: int = 0) -> None:
        """The images `first` .. `first + count - 1`."""
        self._folder, self._count, self._first = folder, count, first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(f"Image {index} was requested; there are {self._count}.")
        path = self._folder / f"im_{self._first + index}.jpg"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path.parent.name}/{path.name} cannot be read: {error.strerror}.") from error
        return decode(data, f"{path.parent.name}/{path.name}")

    def check(self) -> None:
        """Decode every image without keeping it; DataError for one that cannot be decoded."""
        for index in range(len(self)):
            self[index]


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode a PNG or JPEG to (H, W, 3) uint8 RGB; DataError, with its `name`, for anything else."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{name} has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read.")
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{name} cannot be decoded: it is {'no PNG or JPEG' if data else 'empty'}.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be decoded: {error}.") from error
