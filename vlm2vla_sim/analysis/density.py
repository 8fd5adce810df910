"""Plots the distribution of a score as one density curve per group, with matplotlib (the extra `plots`).

Two groups can have equal means while one is narrow and the other has two peaks, as in the paper's figure. A table does
not show that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import missing_extra

SIZE = (9.6, 5.2)
"""(width, height) [inch] at 100 dpi."""


def density(values: Sequence[float], at: np.ndarray) -> np.ndarray:
    """The Gaussian kernel density estimate of `values` at the points `at`, both 1-D, with Silverman's bandwidth.

    (B. W. Silverman, Density Estimation for Statistics and Data Analysis, 1986, equation 3.31.)
    """
    given = np.asarray(values, float)
    spread = np.subtract(*np.quantile(given, [0.75, 0.25])) / 1.34
    width = 0.9 * min(given.std() or np.inf, spread or np.inf) * len(given) ** -0.2
    width = width if np.isfinite(width) and width > 0 else 0.05
    distance = (at[:, None] - given[None]) / width
    return np.exp(-0.5 * distance**2).sum(axis=1) / (len(given) * width * np.sqrt(2 * np.pi))


def plot_densities(groups: Mapping[str, Sequence[float]], path: Path, *, title: str, label: str) -> Any:
    """Write a plot with one curve per group to `path` (PNG, SVG or PDF) and return matplotlib's figure.

    Each curve is scaled to its own maximum, because the maxima differ tenfold. label: of the horizontal axis.
    MissingExtraError if matplotlib is not installed.
    """
    figure = figure_class()(figsize=SIZE, dpi=100, layout="constrained")
    axes = figure.subplots()
    scores = np.concatenate([np.asarray(values, float) for values in groups.values()])
    low, high = float(scores.min()), float(scores.max())
    margin = 0.06 * (high - low or 1.0)
    at = np.linspace(low - margin, high + margin, 700)
    for name, values in groups.items():
        curve = density(values, at)
        axes.plot(at, curve / curve.max(), label=f"{name} (mean {np.mean(values):.2f})")
    axes.set(title=title, xlabel=label, ylabel="density, scaled to its maximum", ylim=(0, 1.08), xlim=(at[0], at[-1]))
    axes.legend()
    figure.savefig(path)
    return figure


def figure_class() -> Any:
    """Matplotlib's Figure, used without pyplot and so without a display; MissingExtraError if it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise missing_extra("Plotting densities (--no-plots skips it)", "matplotlib", "plots") from error
    return Figure
