"""A file appears complete or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from vlm2vla_sim.core import atomic


def test_text_and_bytes_replace_what_was_there_and_leave_no_draft(tmp_path):
    path = tmp_path / "new folder" / "a.json"
    atomic.write_text(path, "first")
    atomic.write_text(path, "grün \ud83d\n")
    assert path.read_bytes() == "grün \\ud83d\n".encode()
    atomic.write_bytes(path, b"\x00\xff", sync=False)
    assert path.read_bytes() == b"\x00\xff"
    assert [found.name for found in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("before")

    def write() -> None:
        with atomic.replacing(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_draft_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda file: calls.append("sync"))
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, target: calls.append("replace"))
    atomic.write_text(tmp_path / "a", "text")
    atomic.write_text(tmp_path / "a", "text", sync=False)
    assert calls == ["sync", "replace", "replace"]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    (tmp_path / "rows.new").mkdir()
    (tmp_path / "rows.new" / "left by a kill").touch()
    with atomic.creating_folder(tmp_path / "rows") as draft:
        (draft / "a").touch()
        assert not (tmp_path / "rows").exists()
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["a"]

    def fail() -> None:
        with atomic.creating_folder(tmp_path / "other") as draft:
            (draft / "a").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


WRITER = """
import sys
from pathlib import Path
from vlm2vla_sim.core.atomic import write_text
print("ready", flush=True)
for k in range(10**9):
    write_text(Path(sys.argv[1]), f"{k % 10}" * 200_000)
"""


def test_a_reader_never_sees_a_half_written_file_nor_does_a_kill_leave_one(tmp_path):
    path = tmp_path / "a"
    path.write_text("0" * 200_000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            text = path.read_text()
            assert text == text[0] * 200_000
        writer.kill()
    text = path.read_text()
    assert text == text[0] * 200_000
