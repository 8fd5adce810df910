"""Draws how a figure is spread, one curve for each kind, as a PNG without a plotting library.

Two means can be equal where one kind is narrow and the other has two peaks, as the paper's figure does; a table hides
that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = (960, 520)
"""(width, height) [px]"""
FRAME = (80, 50, 930, 440)
"""Left, top, right, bottom of the drawing area [px]."""
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d5fd3", "#c98a00", "#5c5c5c")
INK = "#222222"


def density(values: Sequence[float], at: np.ndarray) -> np.ndarray:
    """The Gaussian kernel density of `values` at the places `at`, both 1-D; Silverman's bandwidth.

    (B. W. Silverman, Density Estimation for Statistics and Data Analysis, 1986, equation 3.31.)
    """
    given = np.asarray(values, float)
    spread = np.subtract(*np.quantile(given, [0.75, 0.25])) / 1.34
    width = 0.9 * min(given.std() or np.inf, spread or np.inf) * len(given) ** -0.2
    width = width if np.isfinite(width) and width > 0 else 0.05
    distance = (at[:, None] - given[None]) / width
    return np.exp(-0.5 * distance**2).sum(axis=1) / (len(given) * width * np.sqrt(2 * np.pi))


def draw_densities(groups: Mapping[str, Sequence[float]], path: Path, *, title: str, axis: str) -> Path:
    """A curve for each of `groups`, each as high as its own peak, because peaks differ tenfold."""
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    everything = np.concatenate([np.asarray(values, float) for values in groups.values()])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.06 * (high - low or 1.0)
    at = np.linspace(low - margin, high + margin, 700)
    left, top, right, bottom = FRAME
    for place, (colour, (name, values)) in enumerate(zip(COLOURS * 9, groups.items(), strict=False)):
        curve = density(values, at)
        xs = left + (at - at[0]) / (at[-1] - at[0]) * (right - left)
        ys = bottom - curve / curve.max() * (bottom - top - 30)
        points = list(zip(xs.tolist(), ys.tolist(), strict=True))
        pen.line(points, fill=colour, width=3)
        pen.text((left + 12, top + 10 + 20 * place), f"{name} (mean {np.mean(values):.2f})", colour, _font(14))
    pen.rectangle(FRAME, outline=INK)
    for number in _ticks(at[0], at[-1]):
        x = left + (number - at[0]) / (at[-1] - at[0]) * (right - left)
        pen.line([(x, bottom), (x, bottom + 6)], fill=INK)
        pen.text((x, bottom + 10), f"{number:g}", INK, _font(14), anchor="ma")
    pen.text((SIZE[0] / 2, 14), title, INK, _font(18), anchor="ma")
    pen.text((SIZE[0] / 2, SIZE[1] - 40), axis, INK, _font(15), anchor="ma")
    pen.text((left, bottom + 52), "Each curve is scaled to its own peak.", "#666666", _font(12))
    image.save(path)
    return path


def _ticks(low: float, high: float) -> np.ndarray:
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 10)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
