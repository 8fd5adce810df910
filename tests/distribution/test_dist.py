"""Wheel and sdist hold every file they must, and the wheel runs in a clean environment (`make test-dist`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from lane import cannot_run

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


if "dist" not in os.environ.get("VLM2VLA_REQUIRE", "").split():
    # Archives in dist/ may be those of another commit; `make test-dist` builds them first.
    cannot_run("dist", "needs new archives: make test-dist", module=True)


def find_archive(pattern: str) -> Path:
    (found,) = DIST.glob(pattern)
    return found


def tracked_files() -> set[str]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of a new environment with the wheel and the pinned dependencies, and nothing else."""
    wheel = find_archive("*.whl")
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    constraints = ("--constraint", ROOT / "constraints.txt")
    subprocess.run([*pip, "install", "--quiet", *constraints, wheel], check=True, cwd=folder)
    subprocess.run([*pip, "check"], check=True, cwd=folder)
    return folder / "bin"


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else():
    with zipfile.ZipFile(find_archive("*.whl")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in tracked_files() if name.startswith("vlm2vla_sim/")}
    assert any(name.endswith(".safetensors") for name in names), "the weights of the embedded model"
    assert any(name.startswith("vlm2vla_sim/training/configs/") for name in names)
    assert "vlm2vla_sim/py.typed" in names


def test_the_sdist_holds_every_tracked_file_but_those_of_continuous_integration():
    with tarfile.open(find_archive("*.tar.gz")) as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist.getmembers() if member.isfile()}
    assert tracked_files() - names == {".ci/run"}
    assert names - tracked_files() == {"PKG-INFO"}


def test_a_rollout_of_the_installed_wheel_leaves_a_video(installed, tmp_path):
    words = ("rollout", "--policy", "scripted", "--backend", "mujoco", "--out", "videos")
    done = run(installed / "vlm2vla", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "success at the last step" in done.stdout
    (video,) = (tmp_path / "videos").glob("*.mp4")
    code = f"import av; print(sum(1 for _ in av.open({str(video)!r}).decode(video=0)))"
    frames = run(installed / "python", "-c", code, cwd=tmp_path)
    assert int(frames.stdout) > 20, frames.stderr


def test_the_installed_package_is_the_wheel_and_its_tools_work(installed, tmp_path):
    where = run(installed / "python", "-c", "import vlm2vla_sim; print(vlm2vla_sim.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    doctor = run(installed / "vlm2vla", "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout
    assert "Everything required works." in doctor.stdout


def test_the_command_that_a_missing_extra_names_installs_it(installed, tmp_path):
    words = "record --backend point --policy hold --keep-failures --tasks carrot_on_plate --episodes 1 --out data"
    before = run(installed / "vlm2vla", *words.split(), "--image-size", 48, 64, cwd=tmp_path)
    assert before.returncode == 1
    assert "pip install 'vlm2vla_sim[data]'" in before.stderr
    pip = (installed / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    done = run(*pip, "--constraint", ROOT / "constraints.txt", "vlm2vla_sim[data]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = run(installed / "vlm2vla", *words.split(), "--image-size", 48, 64, cwd=tmp_path)
    assert after.returncode == 0, after.stderr
