"""Rows that are there already are trained on only if they were made as is asked for now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from labelled_fakes import make_labelled

from vlm2vla_sim.cli import training_rows
from vlm2vla_sim.cli.commands import train as command
from vlm2vla_sim.data.examples.folder import read_examples
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import ActionStatistics
from vlm2vla_sim.training import row_settings
from vlm2vla_sim.training.settings import preset

SETTINGS = preset("small", "model")


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(training_rows, "read_labelled", lambda path: iter([make_labelled(0)]))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "labels.jsonl").write_text("{}\n")
    return folder


def rows_of(data: Path, **changed: Any) -> Path:
    return command.prepare_rows(data, data.with_name("out"), SETTINGS, changed, report=False)


def test_rows_are_made_once_and_used_again_for_the_same_training_run(data, monkeypatch):
    rows = rows_of(data)
    made = (rows / "rows.jsonl").read_bytes()
    monkeypatch.setattr(training_rows, "read_labelled", lambda path: pytest.fail("made again"))
    assert rows_of(data) == rows
    monkeypatch.chdir(data.parent)
    assert rows_of(Path("data")) == Path("out.rows")
    assert (rows / "rows.jsonl").read_bytes() == made


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": "prose"}, "made with format vlm2vla, not prose"),
        ({"reasoning": False}, "made with reasoning True, not False"),
        ({"languages": ("en", "hi")}, "made with languages en, not en, hi"),
        ({"state": True}, "made with state False, not True"),
    ],
)
def test_rows_made_in_another_way_are_refused(data, changed, said):
    rows_of(data)
    with pytest.raises(SettingError, match=rf"The rows in .*out\.rows were {said}.*--out DIR"):
        rows_of(data, **changed)


def test_rows_of_another_data_set_or_of_other_labels_are_refused(data, tmp_path):
    rows_of(data)
    with pytest.raises(SettingError, match=r"made with data .*data, not .*other"):
        command.prepare_rows(_copy(data, tmp_path / "other"), tmp_path / "out", SETTINGS, {}, report=False)
    (data / "labels.jsonl").write_text("{}\n{}\n")
    with pytest.raises(SettingError, match="made with labels_sha256 "):
        rows_of(data)


def _copy(data: Path, to: Path) -> Path:
    to.mkdir()
    (to / "labels.jsonl").write_bytes((data / "labels.jsonl").read_bytes())
    return to


def test_rows_with_other_rare_tokens_or_other_prompts_are_refused(data, monkeypatch):
    monkeypatch.setattr(row_settings, "symbols_of", lambda model, dtype: tuple("abcdefghij"))
    rows_of(data, format="tokens")
    monkeypatch.setattr(row_settings, "symbols_of", lambda model, dtype: tuple("jihgfedcba"))
    with pytest.raises(SettingError, match=r"made with symbols a, b, .*, not j, i, "):
        rows_of(data, format="tokens")
    monkeypatch.setattr(row_settings, "symbols_of", lambda model, dtype: tuple("abcdefghij"))
    monkeypatch.setattr(row_settings, "prompts_hash", lambda: "0f")
    with pytest.raises(SettingError, match=r"made with prompts_sha256 .*, not 0f"):
        rows_of(data, format="tokens")


def test_rows_of_an_earlier_version_are_used_again(data):
    rows = rows_of(data)
    about = json.loads((rows / "about.json").read_text())
    del about["labels_sha256"], about["state"]
    (rows / "about.json").write_text(json.dumps({**about, "a field that was removed": 1}))
    assert rows_of(data) == rows
    with pytest.raises(SettingError, match="made with format vlm2vla, not prose"):
        rows_of(data, format="prose")


def test_finished_rows_take_no_other_settings(data):
    rows = rows_of(data, format="prose")
    assert rows_of(rows) == rows
    assert rows_of(rows, format="prose") == rows
    with pytest.raises(SettingError, match="made with format prose, so format vlm2vla cannot be applied to them"):
        rows_of(rows, format="vlm2vla")  # the default, given explicitly
    with pytest.raises(SettingError, match="made with reasoning True, so reasoning False cannot be applied to them"):
        rows_of(rows, reasoning=False)
    (rows / "about.json").unlink()
    with pytest.raises(SettingError, match="do not record format, so format prose cannot be applied"):
        rows_of(rows, format="prose")
    assert len(list(read_examples(rows))) > 4


def test_rows_with_other_prompts_than_evaluation_sends_are_refused(data, monkeypatch):
    rows = rows_of(data)
    assert rows_of(rows) == rows
    monkeypatch.setattr(row_settings, "prompts_hash", lambda: "0f" * 32)
    with pytest.raises(SettingError, match=r"were made with the prompts [0-9a-f]{16}, and this version sends 0f0f"):
        rows_of(rows)
    about = json.loads((rows / "about.json").read_text())
    del about["prompts_sha256"]  # rows of one's own: nobody says
    (rows / "about.json").write_text(json.dumps(about))
    assert rows_of(rows) == rows


def test_the_range_of_the_recorded_commands_is_kept_with_the_rows_that_need_it(data, monkeypatch):
    monkeypatch.setattr(row_settings, "read_labels", lambda path: iter([make_labelled(0)]))
    about = json.loads((rows_of(data, format="vla0") / "about.json").read_text())
    assert about["statistics"]["low"] == about["statistics"]["high"] == [0] * 7
    assert (about["statistics"]["actions"], about["statistics"]["source"]) == (14, "data")
    assert rows_of(data, format="vla0") == data.with_name("out.rows")
    wider = ActionStatistics((-1,) * 6 + (0,), (1,) * 7)
    monkeypatch.setattr(row_settings, "_statistics", lambda path: wider)
    with pytest.raises(SettingError, match="made with statistics low="):
        rows_of(data, format="vla0")
