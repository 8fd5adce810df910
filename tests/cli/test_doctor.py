"""`vlm2vla doctor` runs real checks, survives those that crash, and says what to install."""

from __future__ import annotations

import json

import pytest

from vlm2vla_sim.cli import diagnostics, main
from vlm2vla_sim.cli.diagnostics import Check
from vlm2vla_sim.video import encoder


@pytest.fixture
def by_name(monkeypatch):
    """Checks by name, without those that run in a subprocess and take seconds."""
    monkeypatch.setattr(diagnostics, "_run_isolated", lambda code, environment: (True, "not run"))

    def examine() -> dict[str, Check]:
        return {check.name: check for check in diagnostics.examine()}

    return examine


def test_on_this_machine_everything_that_is_needed_works(capsys):
    status = main.main(["doctor", "--json"])
    values = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in values["checks"]}
    assert values["usable"], [check for check in values["checks"] if check["needed"] and not check["works"]]
    assert status == 0
    assert "carrot on plate at 640x480" in checks["MuJoCo twin"]["found"]
    assert checks["video (H.264)"]["found"].startswith("wrote 5 frames")
    assert any(check["works"] for name, check in checks.items() if name.startswith("OpenGL"))


def test_a_missing_package_comes_with_its_pip_line(by_name, monkeypatch):
    installed = diagnostics.distribution_version
    absent = {"mujoco", "mani-skill"}
    monkeypatch.setattr(diagnostics, "distribution_version", lambda name: None if name in absent else installed(name))
    checks = by_name()
    assert checks["mujoco"].needed
    assert not checks["mujoco"].works
    assert checks["mujoco"].advice == "pip install 'vlm2vla_sim'"
    assert not checks["mani-skill [simpler]"].needed
    assert checks["mani-skill [simpler]"].advice == "pip install 'vlm2vla_sim[simpler]'"
    assert checks["numpy"].works
    assert checks["numpy"].advice == ""


def test_every_declared_package_is_looked_for(by_name):
    names = list(by_name())
    assert {"av", "filelock", "gymnasium", "imageio", "mujoco", "numpy", "pillow", "rtb-data", "tqdm", "tyro"} <= set(
        names
    )
    (torch,) = [name for name in names if name.startswith("torch ")]
    assert {"train", "vlm"} <= set(torch.removeprefix("torch [").removesuffix("]").split(", ")), "once, with its extras"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os; os.abort()", "crashed (signal 6)"),
        ("raise OSError('libEGL.so.1 is not there')", "failed: OSError: libEGL.so.1 is not there"),
        ("raise SystemExit(5)", "ended with status 5"),
    ],
)
def test_a_check_that_crashes_is_reported(code, found):
    assert diagnostics._run_isolated(code, {}) == (False, found)


def test_a_check_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(diagnostics, "TIMEOUT", 0.2)
    assert diagnostics._run_isolated("import time; time.sleep(60)", {}) == (False, "did not end within 0.2 s")


def test_opengl_that_does_not_work_names_the_packages_to_install(monkeypatch):
    monkeypatch.setattr(diagnostics, "RENDER", "raise OSError('no library')")
    checks = {check.name: check for check in diagnostics._check_opengl()}
    assert "libegl1 libopengl0 libgl1-mesa-dri" in checks["OpenGL (egl)"].advice
    assert not checks["OpenGL (egl)"].works


def test_each_opengl_platform_is_checked_in_its_own_environment(monkeypatch):
    monkeypatch.setattr(diagnostics, "RENDER", "import json, os; print(json.dumps(os.environ['MUJOCO_GL']))")
    assert [check.found for check in diagnostics._check_opengl()][:2] == ["egl", "osmesa"]


def test_when_something_needed_fails_it_says_so_and_exits_1(by_name, monkeypatch, capsys):
    monkeypatch.setattr(diagnostics, "_run_isolated", lambda code, environment: (False, "crashed (signal 11)"))
    assert main.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert " FAILS  MuJoCo twin" in out
    assert "absent  OpenGL (egl)" in out
    assert "Something required does not work" in out


def test_a_video_that_cannot_be_written_says_how_to_go_on_without(by_name, monkeypatch):
    monkeypatch.setattr(encoder, "CODEC", "no_such_codec")
    check = by_name()["video (H.264)"]
    assert not check.works
    assert check.needed
    assert "This build of PyAV has no encoder 'no_such_codec'" in check.found
    assert "--no-video" in check.advice
