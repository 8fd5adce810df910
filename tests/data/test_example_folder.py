"""Rows on disk are the rows that were written, each picture once, and nothing half-written is ever taken for whole."""

from __future__ import annotations

import numpy as np
import pytest
from labelled_fakes import make_labelled

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.folder import IMAGES, data_hash, read_examples, write_examples
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.language.formats import get_format

SETTINGS = ExampleSettings(get_format("vlm2vla"))


def make(number: int = 0) -> list[Example]:
    return list(ExampleMaker(SETTINGS).make([make_labelled(number)]))


def test_what_was_written_is_read_back_pixel_for_pixel_and_each_picture_is_there_once(tmp_path):
    rows = make()
    written = write_examples(rows, tmp_path / "data")
    read = list(read_examples(tmp_path / "data"))
    assert written.rows == len(rows) == len(read)
    assert written.stages == {"subtasks": 1, "plan": 4, "action": 4, "verify": 8, "direction": 4}
    for before, after in zip(rows, read, strict=True):
        assert (before.stage, before.prompt, before.completion) == (after.stage, after.prompt, after.completion)
        assert all(np.array_equal(a, b) for a, b in zip(before.images, after.images, strict=True))
    shown = {image.tobytes() for row in rows for image in row.images}
    assert len(list((tmp_path / "data" / IMAGES).iterdir())) == len(shown)


def test_the_same_data_has_the_same_hash_and_another_pixel_another(tmp_path):
    write_examples(make(), tmp_path / "a")
    write_examples(make(), tmp_path / "b")
    changed = make()
    picture = changed[0].images[0].copy()
    picture[0, 0, 0] ^= 1
    changed[0] = Example("subtasks", (picture,), changed[0].prompt, changed[0].completion)
    write_examples(changed, tmp_path / "c")
    assert data_hash(tmp_path / "a") == data_hash(tmp_path / "b") != data_hash(tmp_path / "c")


def test_bad_rows_are_left_out_each_counted_under_its_reason(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    bad = [
        Example("plan", (), "ask", "say"),
        Example("plan", (picture.astype(np.float32),), "ask", "say"),
        Example("plan", (np.zeros((0, 4, 3), np.uint8),), "ask", "say"),
        Example("plan", (picture,), " ", "say"),
        Example("plan", (picture,), "ask", "\n"),
    ]
    written = write_examples([*bad, *make()], tmp_path / "data")
    assert written.rows == len(make())
    assert written.skipped == {
        "no image": 1,
        "an image that is not (height, width, 3) uint8": 1,
        "an empty image": 1,
        "an empty prompt": 1,
        "an empty completion": 1,
    }


def test_a_stop_in_the_middle_leaves_no_folder_and_the_next_attempt_succeeds(tmp_path):
    def stopped():
        yield from make()[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_examples(stopped(), tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert write_examples(make(), tmp_path / "data").rows == len(make())
    with pytest.raises(RunFolderError, match="exists already"):
        write_examples(make(), tmp_path / "data")


def test_a_missing_and_a_broken_picture_are_told_by_name(tmp_path):
    write_examples(make(), tmp_path / "data")
    victim = next((tmp_path / "data" / IMAGES).iterdir())
    victim.write_bytes(b"\x89PNG broken")
    with pytest.raises(RunFolderError, match=victim.name):
        list(read_examples(tmp_path / "data"))
