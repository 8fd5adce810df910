"""Resizes the camera's image as a model was trained: OpenCV, Pillow and openpi differ by more than rounding."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.policies.remote.conventions.record import Convention

_TAPS = np.arange(-3, 5)
"""The pixels around a place that OpenCV's INTER_LANCZOS4 weighs."""


def resize(image: np.ndarray, convention: Convention) -> np.ndarray:
    """`image`, (H, W, 3) uint8 RGB, resized as the convention's model was trained."""
    image = np.ascontiguousarray(image)
    if convention.image_size is None or image.shape[:2] == convention.image_size:
        return image
    height, width = convention.image_size
    if convention.resize in ("pad", "lanczos"):
        return _with_pillow(image, height, width, pad=convention.resize == "pad")
    if convention.resize == "area":
        pixels = _means(_means(image, height, axis=0), width, axis=1)
    else:
        nearest = 2 if convention.resize == "linear" else len(_TAPS)
        pixels = _between(_between(image, height, 0, nearest), width, 1, nearest)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _with_pillow(image: np.ndarray, height: int, width: int, *, pad: bool) -> np.ndarray:
    from PIL import Image

    source = Image.fromarray(image)
    if not pad:
        return np.asarray(source.resize((width, height), Image.Resampling.LANCZOS))
    # Sizes and corner rounded down as openpi-client 0.1.2 does, image_tools.py:37-58.
    ratio = max(source.width / width, source.height / height)
    inner = source.resize((int(source.width / ratio), int(source.height / ratio)), Image.Resampling.BILINEAR)
    whole = Image.new("RGB", (width, height))
    whole.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return np.asarray(whole)


def _means(image: np.ndarray, size: int, axis: int) -> np.ndarray:
    """As OpenCV's INTER_AREA: the mean of what each of `size` pixels covers, a pixel in part as much as it is covered.

    Pillow's BOX takes a pixel that is covered in part whole, or not at all.
    """
    source = image.shape[axis]
    ends = np.arange(size + 1) * source / size
    whole = np.minimum(ends.astype(int), source - 1)
    pixels = np.moveaxis(image, axis, 0).astype(np.float32)
    sums = np.zeros((source + 1, *pixels.shape[1:]), np.float32)  # below 2^18: exact for whole numbers
    np.cumsum(pixels, axis=0, out=sums[1:])
    part = (ends - whole).astype(np.float32).reshape(-1, *[1] * (image.ndim - 1))
    return np.moveaxis(np.diff(sums[whole] + part * pixels[whole], axis=0) * (size / source), 0, axis)


def _between(image: np.ndarray, size: int, axis: int, nearest: int) -> np.ndarray:
    """As OpenCV's INTER_LINEAR (2 `nearest` pixels) and INTER_LANCZOS4 (8), however much they shrink the image."""
    source = image.shape[axis]
    places = (np.arange(size) + 0.5) * source / size - 0.5
    before = np.floor(places).astype(int)
    after = places - before
    taps = _TAPS if nearest > 2 else np.arange(2)
    if nearest > 2:
        weights = np.sinc(after[:, None] - taps) * np.sinc((after[:, None] - taps) / 4)
        weights /= weights.sum(axis=1, keepdims=True)
    else:
        weights = np.stack([1 - after, after], axis=1)
    weights = weights.astype(np.float32)
    pixels = np.moveaxis(image, axis, 0).astype(np.float32)
    chosen = np.clip(before[:, None] + taps, 0, source - 1)  # OpenCV repeats the edge
    mixed = sum(
        pixels[chosen[:, tap]] * weights[:, tap].reshape(-1, *[1] * (image.ndim - 1)) for tap in range(len(taps))
    )
    return np.moveaxis(np.asarray(mixed), 0, axis)
