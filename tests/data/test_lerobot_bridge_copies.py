"""LeRobot copies of BridgeData: black films stand for absent cameras, and actions of zeros at the ends for none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trajectory_fakes import motion, write_folder

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.lerobot_layout import ACTION, IMAGE
from vlm2vla_sim.data.datasets.lerobot_tables import read_tables, truth, whole_number
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.video.encoder import write_video

SIDE = "observation.images.image_1"
SIZE = (48, 64)


@pytest.fixture
def copy(tmp_path) -> Path:
    """Two episodes; the second camera is black in the first one, and sees something from frame 20 on in the other."""
    write_folder(tmp_path, 2)
    count = len(motion()[0])
    (tmp_path / f"videos/{SIDE}/chunk-000").mkdir(parents=True)
    for index in range(2):
        images = np.zeros((count, *SIZE, 3), np.uint8)
        images[20:] = 120 * index
        write_video(tmp_path / f"videos/{SIDE}/chunk-000/file-{index:03d}.mp4", iter(images), size=SIZE, fps=5)
    path = tmp_path / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][SIDE] = info["features"][IMAGE]
    path.write_text(json.dumps(info))
    for path in (tmp_path / "meta/episodes/chunk-000").glob("*.parquet"):
        (row,) = pq.read_table(path).to_pylist()
        row |= {key.replace(IMAGE, SIDE): value for key, value in row.items() if key.startswith(f"videos/{IMAGE}/")}
        pq.write_table(pa.Table.from_pylist([row]), path)
    return tmp_path


def test_a_black_film_is_no_camera(copy):
    absent, there = open_dataset(copy, DatasetOptions(picture=SIDE))
    assert isinstance(absent, Skipped)
    assert absent.name == "fake/00000"
    assert f"The camera '{SIDE}' is absent: its images are all black" in absent.reason
    assert not isinstance(there, Skipped)
    check_images(there)
    assert there.images[25].mean() == pytest.approx(120, abs=4)
    for one in open_dataset(copy):  # the camera that is there
        assert not isinstance(one, Skipped)


def test_the_ends_that_nobody_commanded_are_left_out_with_their_images(copy):
    path = copy / "data/chunk-000/file-001.parquet"
    table = pq.read_table(path)
    rows = table.column(ACTION).to_pylist()
    rows[0] = rows[-1] = [0.0] * 7
    at = table.column_names.index(ACTION)
    pq.write_table(table.set_column(at, ACTION, pa.array(rows, pa.list_(pa.float32(), 7))), path)
    _, one = open_dataset(copy, DatasetOptions(convention="bridge"))
    assert not isinstance(one, Skipped)
    states, actions = motion()
    assert len(one) == len(states) - 1
    assert np.allclose(one.actions[:-1], actions[1:-1], atol=1e-6)
    assert one.actions[-1].tolist() == [0, 0, 0, 0, 0, 0, 1]
    check_images(one)
    for frame in (0, 17, len(one) - 1):
        assert one.images[frame].mean(axis=(0, 1))[1] == pytest.approx(4 * ((frame + 1) % 60), abs=4)
    # In our own convention an action of zeros is one.
    _, ours = open_dataset(copy)
    assert not isinstance(ours, Skipped)
    assert ours.actions[[0, -1]].tolist() == [[0.0] * 7] * 2


def test_lists_whose_lengths_add_up_are_not_moved_from_row_to_row(tmp_path):
    rows = [[1.0] * 6, [2.0] * 8, [3.0] * 7]
    pq.write_table(pa.table({"x": rows, "episode_index": [0, 0, 1]}), tmp_path / "a.parquet")
    (_, first), (_, second) = read_tables(tmp_path / "a.parquet", ["x", "episode_index"], batch=64)
    assert first["x"] == rows[:2]
    assert second["x"].tolist() == rows[2:]


def test_an_episode_is_joined_across_batches_whatever_they_hold(tmp_path):
    rows = [[1.0] * 7, [2.0] * 6, [3.0] * 7, None, [5.0] * 7]
    pq.write_table(pa.table({"x": rows, "episode_index": [0] * 5}), tmp_path / "a.parquet")
    ((_, found),) = read_tables(tmp_path / "a.parquet", ["x", "episode_index"], batch=2)
    assert [None if row is None else list(row) for row in found["x"]] == rows


@pytest.mark.parametrize(("value", "meant"), [(True, True), ([0], False), (np.float32(1), True), (None, None)])
def test_a_cell_that_is_a_yes_or_no(value, meant):
    assert truth(value, "next.success") is meant


@pytest.mark.parametrize("value", ["yes", 0.5, [True, True], b"1"])
def test_a_cell_that_is_neither_is_named(value):
    with pytest.raises(DataError, match=r"The column next.success holds .*; expected yes or no"):
        truth(value, "next.success")


@pytest.mark.parametrize("value", [None, "3", 2.5, float("nan"), float("inf"), [3]])
def test_an_index_that_is_no_whole_number_is_named(value):
    with pytest.raises(DataError, match=r"The column task_index holds .*; expected a whole number"):
        whole_number([value], "task_index")
