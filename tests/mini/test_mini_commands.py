"""`python -m vlm2vla_sim.mini`: commands, and the names that commands and flags had before."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm2vla_sim.mini.__main__ import main, renamed
from vlm2vla_sim.mini.scenes import rendered_dataset


def test_old_commands_and_flags_are_renamed_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["lessons", "DIR", "--others", "0.5", "--rehearsed=0.25", "--out", "base"]
    assert renamed(old) == ["labels", "DIR", "--easy-share", "0.5", "--rehearsal-share=0.25", "--out", "base"]
    assert capsys.readouterr().err.splitlines() == [
        "lessons is now called labels.",
        "--others is now called --easy-share.",
        "--rehearsed is now called --rehearsal-share.",
    ]
    assert renamed(["album", "album"]) == ["render", "album"], "only the command is renamed, not a folder"
    assert renamed(["base", "DIR", "--looks", "4", "--updates", "5"]) == [
        "pretrain", "DIR", "--vision-updates", "4", "--qa-updates", "5",
    ]  # fmt: skip


def test_names_of_today_bring_no_notice(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["questions", "DIR", "--scenes", "3", "--shapes", "2"]
    assert renamed(words) == words
    assert capsys.readouterr().err == ""


def test_scenes_labels_and_questions_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rendered_dataset, "SHARD_SIZE", 8)
    folder, held_out = str(tmp_path / "scenes"), rendered_dataset.HELD_OUT
    rendered_dataset.render_shards(Path(folder), [0, held_out])
    assert main(["labels", folder, "--shards", "1", "--out", str(tmp_path / "rows")]) == 0
    assert "rows=" in capsys.readouterr().out
    assert main(["questions", folder, "--views", "8", "--shapes", "2", "--out", str(tmp_path / "questions")]) == 0
    written = capsys.readouterr()
    assert int(written.out) > 8
    assert written.err == "--views is now called --scenes.\n"
    assert main(["questions", folder, "--shard", "0", "--out", str(tmp_path / "more")]) == 2
    assert capsys.readouterr().err == "Shard 0 may have been used in training; choose one from 900000 on.\n"
