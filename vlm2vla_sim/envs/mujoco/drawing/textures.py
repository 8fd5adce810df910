"""Procedural textures, made with NumPy from a seed: wood, woven wall, towel, vegetables.

Flat colours would make the twin's images unlike those of a real table, and SIMPLER's photographs may not be
redistributed. The same seed gives the same texture.
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


def to_image(values: np.ndarray) -> np.ndarray:
    """(...) float, 0..255 -> uint8, rounded and clipped."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _ease(t: np.ndarray) -> np.ndarray:
    return t * t * (3 - 2 * t)


def spread(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(rows, columns, 3) colours at the middles of equal cells -> (height, width, 3) float64, blended between them."""
    for axis, size in enumerate(shape):
        at = np.clip((np.arange(size) + 0.5) * grid.shape[axis] / size - 0.5, 0, grid.shape[axis] - 1)
        low = np.minimum(at.astype(int), grid.shape[axis] - 2)
        part = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        grid = np.take(grid, low, axis) * (1 - part) + np.take(grid, low + 1, axis) * part
    return grid


def colour_map(rows: str) -> np.ndarray:
    """Lines of six-digit colours -> (rows, columns, 3) float64, 0..255."""
    return np.array(
        [[[int(cell[i : i + 2], 16) for i in (0, 2, 4)] for cell in row.split()] for row in rows.strip().splitlines()],
        dtype=np.float64,
    )


def palette(colours: np.ndarray | Sequence[tuple[int, int, int]]) -> np.ndarray:
    """(8 n, 8, 3) uint8: n plain colours below one another, for meshes whose parts show one of them each."""
    return np.repeat(np.repeat(np.array(colours, dtype=np.uint8)[:, None], 8, axis=0), 8, axis=1)


# Stages ---------------------------------------------------------------------------------------------------------------


def wood(colours: np.ndarray, shape: tuple[int, int], *, seed: int, contrast: float = 1.0) -> np.ndarray:
    """(height, width, 3) uint8: `colours`, a coarse (rows, columns, 3) map, with grain that runs along the width."""
    rng = np.random.default_rng(seed)
    height, width = shape
    # Growth rings cut lengthwise: lines along the grain, displaced by low-frequency noise.
    wander = height / 22 * noise(shape, (height / 3, width / 3), rng)
    wander += height / 90 * noise(shape, (height / 9, width / 8), rng)
    at = (np.arange(height)[:, None] + wander) / height
    spacing = noise((height, 1), (height / 30, 1), rng)
    lines = (
        0.5 + 0.5 * np.sin(2 * np.pi * (34 * at + spacing + 0.4 * noise(shape, (height / 30, width / 2), rng)))
    ) ** 5
    grain = -13 * lines * np.clip(0.6 + 0.7 * noise(shape, (height / 12, width / 5), rng), 0, 2)
    grain += 2.5 * noise(shape, (height / 60, width / 4), rng) + 3 * noise(shape, (height / 250, width / 12), rng)
    grain -= 5 * np.maximum(noise(shape, (height / 300, width / 50), rng) - 1.0, 0)
    return to_image(spread(colours, shape) + contrast * (grain - grain.mean())[..., None] * [1.1, 1.0, 0.9])


def fabric(colour: tuple[float, float, float], *, size: int = 256, seed: int, contrast: float = 1.0) -> np.ndarray:
    """(size, size, 3) uint8, seamless: woven cloth, threads running up and across."""
    rng = np.random.default_rng(seed)
    across, upward = (noise((size, size), cell, rng) for cell in ((1.3, 7), (7, 1.3)))
    # Minus its neighbours: single threads stand out, large blotches do not appear.
    across -= (np.roll(across, 3, axis=0) + np.roll(across, -3, axis=0)) / 2
    upward -= (np.roll(upward, 3, axis=1) + np.roll(upward, -3, axis=1)) / 2
    threads = 7 * (across + upward)
    return to_image(np.array(colour) + contrast * threads[..., None])


# Objects --------------------------------------------------------------------------------------------------------------


def carrot(size: int = 64, seed: int = 1) -> np.ndarray:
    """(size, size, 3) uint8: orange skin, redder towards the tip (top), with faint rings across."""
    rng = np.random.default_rng(seed)
    base = ramp([(0, (216, 92, 36)), (0.5, (246, 118, 40)), (1, (255, 136, 48))], height=size, width=size)
    rings = 4 * noise((size, size), (1, 20), rng) + 7 * noise((size, size), (10, 10), rng)
    return to_image(base + rings[..., None] * [0.8, 1, 0.6])


def spoon_handle(size: int = 64) -> np.ndarray:
    """(size, size, 3) uint8: lime green with two moulded rings; darker below (left and right) and at its end."""
    base = ramp([(0, (226, 248, 160)), (0.75, (236, 255, 150)), (0.93, (220, 244, 100)), (1, (170, 205, 45))],
                height=size, width=size)  # fmt: skip
    below = np.abs(np.linspace(-1, 1, size))[None, :, None] ** 2
    shade = np.repeat(1 - below * [0.25, 0.20, 0.55], size, axis=0)
    shade[[int(0.45 * size), int(0.7 * size)]] *= 0.9
    return to_image(base * shade)


def towel(size: int = 128, seed: int = 2) -> np.ndarray:
    """(size, size, 3) uint8: light blue terry."""
    rng = np.random.default_rng(seed)
    fluff = 4 * noise((size, size), (1, 1), rng) + 3 * noise((size, size), (20, 20), rng)
    return to_image(np.array([188, 223, 238]) + fluff[..., None])


def eggplant(size: int = 64) -> np.ndarray:
    """(size, size, 3) uint8: green cap at the stem (top), then purple."""
    green, purple = (48, 104, 44), (84, 34, 110)
    return to_image(ramp([(0, green), (0.16, green), (0.2, purple), (1, purple)], height=size, width=size))
