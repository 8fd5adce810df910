"""Collects what a machine without a network lacks: wheels, and the robot's meshes out of a package of 45 MB."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

WHEELS = (
    "gymnasium",
    "Farama-Notifications",
    "llguidance",
    "transformers",
    "mujoco",
    "mujoco-core",
    "glfw",
    "PyOpenGL",
    "trl",
    "datasets",
    "dill",
    "multiprocess",
    "tyro",
    "docstring_parser",
    "typeguard",
)
"""Not on a machine with PyTorch, peft, accelerate, pandas and pyarrow; and transformers, which may be too old there."""
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 27, 24, 17)), "manylinux2014_x86_64")
LIMIT = 50 * 2**20
"""[bytes] of all together."""
ROOT = Path(__file__).parents[2]


def requirements() -> list[str]:
    """The wheels as `name==version`, in the versions of constraints.txt."""
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if "==" in line and not line.startswith("#"):
            pinned[_plain(line.partition("==")[0])] = line.split("#")[0].strip()
    return [pinned[_plain(name)] for name in WHEELS]


def command(folder: Path, *, python: str = "3.12") -> list[str]:
    """The command that downloads the wheels for Linux on x86-64."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    words += ["--implementation", "cp", "--python-version", python]
    words += [word for name in PLATFORMS for word in ("--platform", name)]
    return [*words, "--dest", str(folder), *requirements()]


def pack(folder: Path, *, python: str = "3.12") -> int:
    """Download the wheels to `folder` and copy the meshes there; returns the size of all [bytes]."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command(folder, python=python), check=True)
    copy_meshes(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LIMIT:
        raise SystemExit(f"{folder} has {size / 2**20:.1f} MiB; the limit is {LIMIT / 2**20:.0f} MiB.")
    return size


def copy_meshes(folder: Path) -> None:
    """Copy the robot's mesh files to where the twin looks for them, as a package without the other robots' files."""
    from vlm2vla_sim.envs.mujoco.arm import find_mesh
    from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S as ROBOT

    assert ROBOT.meshes is not None
    package = folder / ROBOT.meshes.package
    target = package / ROBOT.meshes.folder
    target.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    for name in sorted({link.mesh for link in ROBOT.links if link.mesh}):
        shutil.copy(find_mesh(ROBOT.meshes, name), target)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")
