"""`vlm2vla assets` and the doctor say what is there, in words and in JSON, and with the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlm2vla_sim.cli import diagnostics
from vlm2vla_sim.cli.main import main
from vlm2vla_sim.envs.simpler import assets


def test_assets_says_what_is_missing_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLM2VLA_ASSETS", str(tmp_path))
    assert main(["assets"]) == 1
    said = capsys.readouterr().out
    assert f"SIMPLER's assets in {tmp_path}:" in said
    assert "missing: data/robots/widowx/wx250s.urdf" in said


def test_assets_link_fills_the_chosen_folder_and_says_how_to_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLM2VLA_ASSETS", str(tmp_path / "other"))
    for name in assets.PHOTOS:
        photo = tmp_path / "checkout/data/real_inpainting" / name
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_text(name)
    (tmp_path / "checkout/data/custom/models").mkdir(parents=True)
    assert main(["assets", "link", str(tmp_path / "checkout"), "--to", str(tmp_path / "mine")]) == 1
    said = capsys.readouterr().out
    assert f"export VLM2VLA_ASSETS={tmp_path / 'mine'}" in said
    assert (tmp_path / "mine" / assets.DATA_SET / "real_inpainting/bridge_sink.png").read_text() == "bridge_sink.png"
    assert main(["assets", "--to", str(tmp_path / "mine"), "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert not [path for path in values["missing"] if "real_inpainting" in path]
    assert len(values["made"]) == 2


@pytest.mark.parametrize("words", [["link"], ["status", "somewhere"], ["download", "somewhere"]])
def test_a_folder_goes_with_link_and_with_nothing_else(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", *words]) == 1
    assert "expected `vlm2vla assets link DIR`, or status or download without a folder" in capsys.readouterr().err


@pytest.mark.simpler
def test_the_doctor_reports_assets_and_renderer_where_maniskill_is_installed(
    true_scenes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {check.name: check for check in diagnostics._check_simpler()}
    assert found["SIMPLER assets"].works
    assert found["SIMPLER renderer"].works
    assert found["SIMPLER renderer"].advice == ""
    monkeypatch.setenv("VLM2VLA_ASSETS", str(tmp_path))
    absent = diagnostics._check_simpler()[0]
    assert not absent.works
    assert "vlm2vla assets download" in absent.advice
    assert not absent.needed
