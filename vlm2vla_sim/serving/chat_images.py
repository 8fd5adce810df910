"""Reads the images of a chat request: data URLs, decoded to what the sender sees, or refused."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vlm2vla_sim.serving.refusal import RefusalError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 4096 * 4096
MAX_IMAGES = 16
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Pillow's modes with 8 bits a channel; others, such as "I;16", would be clipped when they are converted."""

_URL = re.compile(r"data:image/(?:png|jpe?g|webp)(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)


def read_image(value: Any, field: str) -> np.ndarray:
    """The image of an `image_url`, (H, W, 3) uint8 RGB; RefusalError with the name `field` for any other.

    A turned photo (EXIF) is set upright. Transparent pixels are laid over white, as vLLM does.
    """
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
        data = base64.b64decode(url[found.end() :], validate=True)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _pixels(image, field)
    except Image.DecompressionBombError as huge:
        raise RefusalError(413, f"The image is too large: {huge}", field) from huge
    except RefusalError:
        raise
    except Exception as broken:  # Pillow's decoders raise many kinds on broken files
        raise RefusalError(400, f"The image cannot be read: {broken}.", field) from broken


def _pixels(image: Image.Image, field: str) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:
        raise RefusalError(
            413, f"The image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} in all.", field
        )
    if getattr(image, "n_frames", 1) > 1:
        raise RefusalError(400, "The image is an animation; send one frame of it.", field)
    if image.mode not in MODES:
        raise RefusalError(
            400, f"The image has the mode {image.mode}; expected 8 bits a channel (grey, palette or colour).", field
        )
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        upright = Image.alpha_composite(white, coloured)
    return np.asarray(upright.convert("RGB"))
