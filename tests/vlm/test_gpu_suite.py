"""The suite for a GPU is rehearsed in tiny sizes: every part that runs, every key of its JSON, and the tables."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vlm_lane import need_vlm

need_vlm()

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_suite.py"
PARTS = ("latency-4b", "lora", "drawing", "study")
KEYS = {"part", "rehearsal", "complete", "reason", "seconds", "machine", "about", "rows"}
MACHINE = {"gpu", "gpu_memory_bytes", "cpus", "python", "torch", "transformers", "peft", "llguidance", "mujoco"}
MACHINE |= {"trl", "datasets"}
COMPARISON = {"speed_up", "equal_answers"}
ROWS = {
    "latency-4b": {"way", "batch", "cycles", "cycle_seconds", "seconds", "cpu_seconds", "tokens_per_second", "tokens"}
    | {"read_tokens", "peak_memory_bytes", "reasons"}
    | COMPARISON,
    "lora": {"rows", "steps", "estimated_bytes", "step_seconds", "rows_per_second", "tokens_per_second", "loss"}
    | {"peak_memory_bytes", "reasons"},
    "drawing": {"height", "width", "quality", "device", "images", "images_per_second", "reasons"},
}


def suite(*words: str) -> str:
    """The output of the script."""
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsed")
    about = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    words = ["bash", str(SCRIPT.with_suffix(".sh")), str(folder), "--rehearse", "--parts", *PARTS]
    done = subprocess.run(words, env=about, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def read(folder: Path, part: str) -> dict[str, Any]:
    return json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", PARTS)
def test_every_key_is_there_and_what_is_unknown_has_a_reason(rehearsed, part):
    values = read(rehearsed, part)
    assert values.keys() == KEYS
    assert values["machine"].keys() == MACHINE
    assert values["part"] == part
    assert values["rehearsal"] is True
    assert values["complete"] is (values["reason"] is None)
    for row in values["rows"]:
        assert row.keys() == ROWS[part]
        unknown = {name for name, value in row.items() if value is None}
        assert unknown == row["reasons"].keys()
        assert 0 not in [value for name, value in row.items() if name not in {"reasons", *COMPARISON}]


def test_the_parts_measure(rehearsed):
    latency, lora, drawing = (read(rehearsed, part) for part in PARTS[:3])
    assert [(row["batch"], row["way"][:3]) for row in latency["rows"]] == [
        (1, "thr"),
        (1, "+ f"),
        (2, "thr"),
        (2, "+ f"),
    ]
    assert latency["about"]["dtype"] == "bfloat16"
    for plain, ours in zip(latency["rows"][::2], latency["rows"][1::2], strict=True):
        assert plain["reasons"].keys() >= COMPARISON
        assert ours["reasons"].keys() <= {"peak_memory_bytes"}
    assert [row["rows"] for row in lora["rows"]] == [1, 2]
    assert lora["about"]["trained"] == 49152, "rank 16 on the seven linear layers of each of three blocks"
    assert lora["rows"][1]["estimated_bytes"] > lora["rows"][0]["estimated_bytes"]
    assert [row["images"] > 0 for row in drawing["rows"]] == [True]


def test_a_part_that_cannot_run_says_why(rehearsed):
    study = read(rehearsed, "study")
    assert study["rows"] == []
    assert "no folder of `make mini` was given" in study["reason"]


def test_the_table_shows_what_is_there_and_that_it_is_a_rehearsal(rehearsed):
    shown = suite("table", str(rehearsed))
    assert shown.count("a rehearsal in tiny sizes") == len(PARTS)
    assert "proportions of gemma-3-12b**\n\nnot measured.\n" in shown, "the part that did not run"
    assert "| 2 | three plain generate calls |" in shown
    assert "no folder of `make mini` was given" in shown


def test_a_part_that_is_stopped_is_not_complete(tmp_path, monkeypatch):
    """Both parts are real; the first is stopped while it imports torch, and then no time is left."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu_suite

    monkeypatch.setattr(gpu_suite, "LEAST", 0.6)
    options = argparse.Namespace(folder=tmp_path, parts=["latency-4b", "study"], limit=0.7, rehearse=True, mini=None)
    gpu_suite.run(options)
    first, second = read(tmp_path, "latency-4b"), read(tmp_path, "study")
    assert first["reason"] == "stopped after 1 s; the rows before that are kept"
    assert second["reason"] == "not measured: no time was left"
    assert not first["complete"]
    assert not second["complete"]


def test_a_row_is_in_the_file_before_the_part_ends(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from gpu_parts.report import Report

    report = Report(tmp_path / "lora.json", "lora", rehearsal=True)
    report.add({"loss": "nobody asked"}, rows=1, loss=None)
    kept = read(tmp_path, "lora")
    assert (kept["rows"], kept["complete"]) == ([{"rows": 1, "loss": None, "reasons": {"loss": "nobody asked"}}], False)
    with pytest.raises(AssertionError, match="unknown are"):
        report.add({}, rows=1, loss=None)


def test_the_readme_shows_what_was_measured():
    """The tables of the folder that is kept in the repository, or that nobody has measured."""
    kept = ROOT / "benchmarks" / "gpu_results"
    made = suite("table", *([str(kept)] if kept.exists() else []))
    assert made in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_the_wheels_are_pinned():
    listed = suite("pack", "unused", "--print-wheels").split()
    assert all("==" in line for line in listed)
    assert {line.partition("==")[0].lower() for line in listed} >= {"gymnasium", "llguidance", "transformers", "mujoco"}
    assert not Path("unused").exists()
