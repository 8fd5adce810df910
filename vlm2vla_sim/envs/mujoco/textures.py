"""Pictures for surfaces, drawn with numpy from a seed: wood, woven wall, towel, vegetables.

Flat colours would make the twin's frames unlike anything a policy for real tables has seen, and photographs belong to
those who took them. Same seed, same bytes, on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ramp(stops: Sequence[tuple[float, tuple[float, float, float]]], *, height: int, width: int = 4) -> np.ndarray:
    """(height, width, 3) float64 0..255: colours blended from top (0.0) to bottom (1.0) through `stops`."""
    where = (np.arange(height) + 0.5) / height
    at = [stop for stop, _ in stops]
    columns = [np.interp(where, at, [colour[c] for _, colour in stops]) for c in range(3)]
    return np.repeat(np.stack(columns, axis=-1)[:, None], width, axis=1)


def noise(shape: tuple[int, int], cell: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """(height, width) float64: smooth noise of mean 0 and deviation 1, about, that varies over `cell` pixels (y, x)."""
    rows, columns = (max(2, round(n / c)) for n, c in zip(shape, cell, strict=True))
    coarse = rng.standard_normal((rows, columns))
    y = np.arange(shape[0]) * rows / shape[0]
    x = np.arange(shape[1]) * columns / shape[1]
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = _ease(y - y0)[:, None], _ease(x - x0)[None, :]
    y1, x1 = (y0 + 1) % rows, (x0 + 1) % columns
    top = coarse[np.ix_(y0, x0)] * (1 - fx) + coarse[np.ix_(y0, x1)] * fx
    bottom = coarse[np.ix_(y1, x0)] * (1 - fx) + coarse[np.ix_(y1, x1)] * fx
    return 1.5 * (top * (1 - fy) + bottom * fy)


def to_picture(values: np.ndarray) -> np.ndarray:
    """(...) float, 0..255 -> uint8, rounded and clipped."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _ease(t: np.ndarray) -> np.ndarray:
    return t * t * (3 - 2 * t)


# Objects --------------------------------------------------------------------------------------------------------------


def carrot(size: int = 64, seed: int = 1) -> np.ndarray:
    """(size, size, 3) uint8: orange skin, paler towards the leaves (bottom), with fine rings across."""
    rng = np.random.default_rng(seed)
    base = ramp([(0, (190, 82, 22)), (0.5, (226, 108, 20)), (1, (240, 132, 30))], height=size, width=size)
    rings = 7 * noise((size, size), (1.5, 16), rng) + 6 * noise((size, size), (8, 8), rng)
    return to_picture(base + rings[..., None] * [1, 0.8, 0.4])


def plate(size: int = 128) -> np.ndarray:
    """(size, size, 3) uint8: pale yellow-green."""
    return np.broadcast_to(np.array([228, 248, 172], dtype=np.uint8), (size, size, 3)).copy()


def spoon_handle(size: int = 32) -> np.ndarray:
    """(size, size, 3) uint8: lime green, darker below and at the end."""
    around = np.abs(np.linspace(-1, 1, size))
    light = ramp([(0, (205, 228, 130)), (1, (176, 210, 60))], height=size, width=size)
    return to_picture(light * (0.72 + 0.28 * (1 - around[None, :, None])))


def towel(size: int = 128, seed: int = 2) -> np.ndarray:
    """(size, size, 3) uint8: light blue terry."""
    rng = np.random.default_rng(seed)
    fluff = 7 * noise((size, size), (2, 2), rng) + 5 * noise((size, size), (14, 14), rng)
    return to_picture(np.array([155, 208, 232]) + fluff[..., None])


def eggplant(size: int = 64) -> np.ndarray:
    """(size, size, 3) uint8: green cap at the stem (top), then purple."""
    green, purple = (48, 104, 44), (84, 34, 110)
    return to_picture(ramp([(0, green), (0.16, green), (0.2, purple), (1, purple)], height=size, width=size))
