"""The picture of the densities shows what is drawn: two peaks as two, each curve in its colour, at its place."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from vlm2vla_sim.analysis.density import COLOURS, FRAME, density, draw_densities


def test_a_density_sums_to_one_and_peaks_where_the_values_are():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(-2, 0.1, 300), rng.normal(-1, 0.1, 300)])
    at = np.linspace(-4, 1, 2000)
    curve = density(values, at)
    assert curve.sum() * (at[1] - at[0]) == pytest.approx(1, abs=0.01)
    peaks = at[1:-1][(curve[1:-1] > curve[:-2]) & (curve[1:-1] > curve[2:])]
    np.testing.assert_allclose(peaks, [-2, -1], atol=0.1)
    assert np.isfinite(density([3.0, 3.0, 3.0], at)).all(), "also where all are the same"


def test_each_curve_stands_where_its_values_are(tmp_path):
    rng = np.random.default_rng(0)
    groups = {"tokens": rng.normal(-11, 0.2, 200).tolist(), "language": rng.normal(-1, 0.3, 200).tolist()}
    path = draw_densities(groups, tmp_path / "d.png", title="t", axis="nats per token")
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    left, top, right, bottom = FRAME
    for colour, (low, high) in zip(COLOURS, ((0, 0.2), (0.8, 1)), strict=False):
        inside = np.abs(picture[top + 40 : bottom - 40, left:right] - ImageColor.getrgb(colour)).sum(-1) < 30
        where = np.nonzero(inside)[1] / (right - left)
        assert len(where) > 100
        assert low <= np.median(where) <= high
