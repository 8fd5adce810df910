"""The page shows every phase with its picture and words, asks nothing of the network, and believes no text it shows."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from trajectory_fakes import PICK_AND_PLACE, trajectory

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.inspect_page.page import write_page
from vlm2vla_sim.data.inspect_page.section import WIDTH
from vlm2vla_sim.data.relabel.rules import relabel


def pictures(page: str) -> list[np.ndarray]:
    stored = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in stored]


def test_every_phase_is_on_the_page_with_the_picture_it_began_with(tmp_path):
    labelled = relabel(trajectory())
    assert write_page(tmp_path / "page.html", "a set", [labelled], [Skipped("bad/1", "It is broken.")]) == 1
    page = (tmp_path / "page.html").read_text()
    shown = pictures(page)
    assert [round(float(one[..., 1].mean()) / 4) for one in shown] == [*(p.start for p in labelled.phases), 35]
    assert all(one.shape[1] == WIDTH for one in shown)
    for phase in labelled.phases:
        assert phase.plan in page
        assert phase.chunk.text in page
    assert "Skipped: 1" in page
    assert "bad/1: It is broken." in page
    assert "move down 10 cm, open gripper" in page


def test_the_drawn_path_goes_the_way_the_gripper_went(tmp_path):
    """From above, forward is up and left is left: 12 cm forward and 6 left end higher and further left."""
    write_page(tmp_path / "page.html", "a set", [relabel(trajectory(PICK_AND_PLACE))])
    line = re.search(r'points="([^"]+)"', (tmp_path / "page.html").read_text())
    assert line is not None
    places = np.array([[float(number) for number in pair.split(",")] for pair in line[1].split()])
    across, up = places[-1] - places[0]
    assert across < -10
    assert up < -2 * 10  # a picture's y grows downwards
    assert up / across == pytest.approx(2.0, rel=0.05)


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    write_page(tmp_path / "page.html", "a set", [relabel(trajectory())])
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"https?:|<script|<link|url\(|@import|\bsrc=\"(?!data:)", page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_words_from_a_data_set_are_shown_and_not_run(tmp_path):
    wicked = relabel(trajectory(name="<script>x", instruction="put <img src=x onerror=alert(1)> on plate"))
    write_page(tmp_path / "page.html", "<b>", [wicked], [Skipped("<i>", "<script>y</script>")])
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;y" in page
