"""Textures that a scene may be given: seamless patterns, made with NumPy. The same name gives the same pattern."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlm2vla_sim.envs.colours import find_colour

SIZE = 128
"""[pixels] side of one tile."""


def _places() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    return rows / SIZE, columns / SIZE


def _checker() -> np.ndarray:
    down, across = _places()
    return np.where((2 * down).astype(int) % 2 == (2 * across).astype(int) % 2, 1.0, 0.35)


def _stripes() -> np.ndarray:
    return np.where((4 * _places()[1]).astype(int) % 2 == 0, 1.0, 0.4)


def _dots() -> np.ndarray:
    down, across = ((2 * place) % 1 - 0.5 for place in _places())
    return np.where(np.hypot(down, across) < 0.27, 0.3, 1.0)


def _waves(rng: np.random.Generator, count: int, highest: int) -> np.ndarray:
    """Seamless smooth noise of mean 0 and deviation 1: waves of whole numbers of periods."""
    down, across = _places()
    total = np.zeros((SIZE, SIZE))
    for _ in range(count):
        rows, columns = rng.integers(-highest, highest + 1, 2)
        total += np.cos(2 * np.pi * (rows * down + columns * across + rng.random())) / np.sqrt(
            1 + np.hypot(rows, columns)
        )
    return (total - total.mean()) / total.std()


def _marble() -> np.ndarray:
    veins = np.abs(np.sin(2 * np.pi * _places()[0] + 1.6 * _waves(np.random.default_rng(5), 24, 4)))
    return 0.55 + 0.45 * np.minimum(1.0, 2.2 * veins)


def _granite() -> np.ndarray:
    rng = np.random.default_rng(6)
    return np.clip(0.72 + 0.13 * _waves(rng, 60, 24) + 0.10 * rng.standard_normal((SIZE, SIZE)), 0.2, 1.0)


PATTERNS: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "checker": (_checker, "#e8e8e4"),
    "stripes": (_stripes, "#7fa6d8"),
    "dots": (_dots, "#f2d7dc"),
    "marble": (_marble, "#efece6"),
    "granite": (_granite, "#8d9096"),
}
"""Name -> the function that makes one tile, 0..1, and the colour it has where none is given."""


def pattern(name: str, colour: str = "") -> np.ndarray:
    """(SIZE, SIZE, 3) uint8 RGB: one tile of the pattern, in `colour` or in its own; a plain colour for no name."""
    make, own = PATTERNS.get(name, (lambda: np.ones((SIZE, SIZE)), "white"))
    return np.round(255 * make()[..., None] * find_colour(colour or own)).astype(np.uint8)
