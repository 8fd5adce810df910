"""Labels are appended, counted, resumed, and laid on no other motion than they were made for."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from trajectory_fakes import trajectory, write_folder

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset
from vlm2vla_sim.data.relabel.labels import LabelFolder, LabelSettings, read_labels, to_json
from vlm2vla_sim.data.relabel.rules import relabel
from vlm2vla_sim.data.relabel.run import label_dataset
from vlm2vla_sim.errors import DataError

OPTIONS = DatasetOptions()


class Listed:
    """A source of what it is given."""

    kind = "listed"

    def __init__(self, *found) -> None:
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self):
        return iter(self._found)


def settings(data="somewhere", **changes) -> LabelSettings:
    return LabelSettings(str(data), OPTIONS, "rules", {}, **changes)


def test_labels_are_read_back_as_they_were_made(tmp_path):
    write_folder(tmp_path / "set", 3)
    source = open_dataset(tmp_path / "set")
    summary = label_dataset(source, relabel, settings(tmp_path / "set"), tmp_path / "words")
    assert (summary.labelled, summary.skipped, summary.phases, summary.subtasks) == (3, 0, 18, 4)
    for read, found in zip(read_labels(tmp_path / "words"), source, strict=True):
        made = relabel(found)
        assert to_json(read) == to_json(made)
        assert np.allclose(read.phases[0].chunk.deltas, made.phases[0].chunk.deltas, atol=1e-6)
        assert read.trajectory.images[2].shape == (48, 64, 3)


def test_trajectories_that_cannot_be_used_are_counted_with_their_reasons(tmp_path):
    source = Listed(
        trajectory(name="a"),
        Skipped("b", "It is broken."),
        trajectory(((1, (0, 0, 0), 0.0, 1.0),), name="c"),
        trajectory(name="d", instruction=" "),
        Skipped("e", "It is broken."),
    )
    seen = []
    summary = label_dataset(source, relabel, settings(), tmp_path / "words", on_done=seen.append)
    assert (summary.labelled, summary.skipped) == (1, 4)
    assert next(iter(summary.reasons.items())) == ("It is broken.", 2)
    skipped = [json.loads(line) for line in (tmp_path / "words/skipped.jsonl").read_text().splitlines()]
    assert [one["name"] for one in skipped] == ["b", "c", "d", "e"]
    assert "1 frame; expected at least 2" in skipped[1]["reason"]
    assert json.loads((tmp_path / "words/summary.json").read_text())["skipped"] == 4
    assert len(seen) == 5


def test_labelling_goes_on_where_it_stopped_and_does_nothing_twice(tmp_path):
    asked = []

    def label(found):
        asked.append(found.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return relabel(found)

    source = Listed(*(trajectory(name=f"t{number}") for number in range(6)))
    with pytest.raises(KeyboardInterrupt):
        label_dataset(source, label, settings(), tmp_path / "words", workers=1)
    done = (tmp_path / "words/labels.jsonl").read_bytes()
    with (tmp_path / "words/labels.jsonl").open("ab") as file:
        file.write(b'{"name": "t5", "dig')  # what a crash left of a line
    asked.clear()
    asked += ["", "", ""]
    summary = label_dataset(source, label, settings(), tmp_path / "words", workers=1, resume=True)
    assert summary.labelled == 6
    kept = [json.loads(line)["name"] for line in done.splitlines()]
    assert len(kept) < 6
    assert not set(asked[3:]) & set(kept)
    assert (tmp_path / "words/labels.jsonl").read_bytes().startswith(done)


def test_no_folder_is_used_twice_without_being_asked_to(tmp_path):
    label_dataset(Listed(trajectory()), relabel, settings(), tmp_path / "words")
    with pytest.raises(DataError, match=r"not empty.*--resume"):
        label_dataset(Listed(trajectory()), relabel, settings(), tmp_path / "words")
    with pytest.raises(DataError, match="made with data somewhere, not elsewhere"):
        label_dataset(Listed(trajectory()), relabel, settings("elsewhere"), tmp_path / "words", resume=True)


def test_only_one_process_writes_to_a_folder(tmp_path):
    folder = LabelFolder(tmp_path / "words", settings(), resume=False)
    with pytest.raises(DataError, match="Another process is writing"):
        LabelFolder(tmp_path / "words", settings(), resume=True)
    folder.close()
    LabelFolder(tmp_path / "words", settings(), resume=True).close()


def test_words_are_not_laid_on_motion_that_has_changed(tmp_path):
    label_dataset(Listed(trajectory(name="a")), relabel, settings(), tmp_path / "words")
    other = trajectory(((9, (0.02, 0, 0), 0.0, 1.0),), name="a")
    with pytest.raises(DataError, match="a has changed since it was labelled"):
        list(read_labels(tmp_path / "words", Listed(other)))
    with pytest.raises(DataError, match=r"1 trajectories in .* are not in the data set, such as 'a'"):
        list(read_labels(tmp_path / "words", Listed()))
    with pytest.raises(DataError, match=r"a was labelled, and cannot be used any more: The camera 'x' is absent"):
        list(read_labels(tmp_path / "words", Listed(Skipped("a", "The camera 'x' is absent."))))


def test_a_limit_bounds_how_many_are_looked_at(tmp_path):
    source = Listed(*(trajectory(name=f"t{number}") for number in range(6)))
    assert label_dataset(source, relabel, settings(limit=2), tmp_path / "words").labelled == 2


def test_no_more_trajectories_are_held_than_are_worked_on(tmp_path):
    """A slow labeller must not let the reader run ahead, or a large data set would be in memory as a whole."""
    read, gate = [], threading.Event()

    class Counting(Listed):
        def __iter__(self):
            for found in super().__iter__():
                read.append(found.name)
                if len(read) == 8:
                    gate.set()
                yield found

    waited = []

    def label(found):
        waited.append(gate.wait(0.3))  # with two workers the reader is never eight ahead
        return relabel(found)

    label_dataset(
        Counting(*(trajectory(name=f"t{number}") for number in range(8))), label, settings(), tmp_path / "w", workers=2
    )
    assert waited[0] is False
