"""The density plot shows the data: each curve peaks where its values are, and is named in the legend."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vlm2vla_sim.analysis.density import density, plot_densities


def test_a_density_integrates_to_one_and_peaks_where_the_values_are():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(-2, 0.1, 300), rng.normal(-1, 0.1, 300)])
    at = np.linspace(-4, 1, 2000)
    curve = density(values, at)
    assert curve.sum() * (at[1] - at[0]) == pytest.approx(1, abs=0.01)
    peaks = at[1:-1][(curve[1:-1] > curve[:-2]) & (curve[1:-1] > curve[2:])]
    np.testing.assert_allclose(peaks, [-2, -1], atol=0.1)
    assert np.isfinite(density([3.0, 3.0, 3.0], at)).all(), "also for equal values"


def test_each_curve_peaks_at_its_values_and_is_drawn_in_its_own_colour(tmp_path):
    colors = pytest.importorskip("matplotlib.colors", reason="needs the extra plots")
    rng = np.random.default_rng(0)
    groups = {"tokens": rng.normal(-11, 0.2, 200).tolist(), "language": rng.normal(-1, 0.3, 200).tolist()}
    figure = plot_densities(groups, tmp_path / "d.png", title="a title", label="nats per token")
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_xlabel()) == ("a title", "nats per token")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{name} (mean {np.mean(values):.2f})" for name, values in groups.items()
    ]
    image = np.asarray(Image.open(tmp_path / "d.png").convert("RGB")).astype(int)
    assert image.shape == (520, 960, 3)
    for line, centre in zip(axes.lines, (-11, -1), strict=True):
        x, y = line.get_data()
        assert x[np.argmax(y)] == pytest.approx(centre, abs=0.3)
        colour = 255 * np.array(colors.to_rgb(line.get_color()))
        column, row = axes.transData.transform((x[np.argmax(y)], y.max()))
        window = image[520 - int(row) - 4 : 520 - int(row) + 5, int(column) - 4 : int(column) + 5]
        assert (np.abs(window - colour).sum(axis=-1) < 60).any(), "the peak is drawn where the axis says it is"


def test_without_matplotlib_the_command_says_how_to_install_it_before_a_model_is_loaded(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from vlm2vla_sim.cli.main import main\n"
        f"sys.exit(main(['logprob', '--model', 'no/such', '--out', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install 'vlm2vla_sim[plots]'" in done.stderr
    assert "--no-plots" in done.stderr
    assert not (tmp_path / "out").exists()
