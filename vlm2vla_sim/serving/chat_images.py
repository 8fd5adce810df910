"""Reads the images of a chat request: data URLs, decoded to what the sender sees, or refused."""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vlm2vla_sim.serving.refusal import RefusalError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2048 * 2048
"""Of all images of a request. A pixel takes up to 16 bytes of memory while it is decoded, so that this is 64 MiB. Two
images of 1920 x 1080 fit."""
MAX_IMAGES = 16
MAX_SCANS = 100
"""Of a JPEG: a progressive one has about ten, and each passes over all pixels, however little it holds."""
STRIP = 256
"""Rows that are converted at once, so that no whole image is held in a mode in between."""
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Pillow's modes with 8 bits a channel; others, such as "I;16", would be clipped when they are converted."""

_URL = re.compile(r"data:image/(?:png|jpe?g|webp)(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)


def read_images(values: Sequence[tuple[Any, str]]) -> list[np.ndarray]:
    """The images of a request, each (H, W, 3) uint8 RGB, from (`image_url`, name of the field); or RefusalError.

    A turned photo (EXIF) is set upright. Transparent pixels are laid over white, as vLLM does. All sizes are read from
    the headers, and added up, before an image is decoded.
    """
    files = [_read_url(value, field) for value, field in values]
    pixels = 0
    for file, (_, field) in zip(files, values, strict=True):
        pixels += _check(file, field)
        if pixels > MAX_PIXELS:
            said = f"The images up to this one have {pixels:,} pixels; at most {MAX_PIXELS:,} in all are accepted."
            raise RefusalError(413, said, field)
    return [_decode(file, field) for file, (_, field) in zip(files, values, strict=True)]


def _read_url(value: Any, field: str) -> bytes:
    """The file in an `image_url`."""
    url = value.get("url") if isinstance(value, dict) else value
    if isinstance(value, dict):
        if unknown := set(value) - {"url", "detail"}:
            raise RefusalError(400, f"The key {min(unknown)!r} of an image is not known here.", field)
        if value.get("detail") not in (None, "auto"):
            raise RefusalError(400, "The detail of an image is chosen by the model; expected auto.", f"{field}.detail")
    if not isinstance(url, str):
        raise RefusalError(400, "An image is an object with a url.", field)
    found = _URL.match(url)
    if found is None:
        raise RefusalError(
            400, "An image is a data URL with a PNG, JPEG or WebP in base64; nothing is fetched from elsewhere.", field
        )
    try:
        return binascii.a2b_base64(url[found.end() :], strict_mode=True)
    except ValueError as broken:
        raise RefusalError(400, f"The image cannot be read: {broken}.", field) from broken


def _check(file: bytes, field: str) -> int:
    """The pixels of an image by its header; RefusalError for one that is not to be decoded."""
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                said = f"The image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} in all."
                raise RefusalError(413, said, field)
            if getattr(image, "n_frames", 1) > 1:
                raise RefusalError(400, "The image is an animation; send one frame of it.", field)
            if image.mode not in MODES:
                said = f"The image has the mode {image.mode}; expected 8 bits a channel (grey, palette or colour)."
                raise RefusalError(400, said, field)
            # In the data of a JPEG, the byte FF is followed by 00 or by a marker; FF DA begins a scan.
            if image.format == "JPEG" and file.count(b"\xff\xda") > MAX_SCANS:
                raise RefusalError(400, f"The image has more than {MAX_SCANS} scans.", field)
            return image.width * image.height
    except Image.DecompressionBombError as huge:
        raise RefusalError(413, f"The image is too large: {huge}", field) from huge
    except RefusalError:
        raise
    except Exception as broken:  # Pillow's readers raise many kinds on broken files
        raise RefusalError(400, f"The image cannot be read: {broken}.", field) from broken


def _decode(file: bytes, field: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.empty((image.height, image.width, 3), np.uint8)
            for top in range(0, image.height, STRIP):
                strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
                pixels[top : top + STRIP] = np.asarray(_over_white(strip))
            return pixels
    except Exception as broken:  # Pillow's decoders raise many kinds on broken files
        raise RefusalError(400, f"The image cannot be read: {broken}.", field) from broken


def _over_white(image: Image.Image) -> Image.Image:
    """The image in RGB; transparent pixels are laid over white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
