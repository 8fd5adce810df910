"""What an interpreter has and lacks of the original SIMPLER, as JSON on its standard output.

A script for that interpreter, which need not have this package: it imports the standard library only, and is written
for Python 3.8 or newer. With the argument `--renderer` it also has SAPIEN make a renderer, which takes some seconds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path

VERSIONS = {"numpy": (1, 2), "gymnasium": (0, 1), "sapien": (2, 3)}
"""Distribution -> lowest major version, and the first one that does not work."""
WHY = {
    "numpy": "with NumPy 2, SAPIEN 2 reads the rotation of every pose wrongly and says nothing",
    "gymnasium": "from 1.0 on, its wrappers hide what SIMPLER asks of them",
    "sapien": "the original SIMPLER is written for SAPIEN 2",
}
PACKAGES = ("simpler_env", "mani_skill2_real2sim")
STAGES = ("bridge_table_1_v1.glb", "bridge_table_1_v2.glb")
MODELS = (
    *("bridge_carrot_generated_modified", "bridge_plate_objaverse_larger", "bridge_spoon_generated_modified"),
    *("table_cloth_generated_shorter", "baked_green_cube_3cm", "baked_yellow_cube_3cm"),
    *("eggplant", "sink", "dummy_sink_target_plane"),
)
VISUALS = ("textured.obj", "textured.dae", "textured.glb")
PHOTOS = ("bridge_real_eval_1.png", "bridge_sink.png")


def find_versions() -> dict[str, str]:
    """Version of Python and of every package that decides results, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *VERSIONS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def find_problems(found: dict[str, str]) -> list[str]:
    """A sentence for everything that is missing or cannot work; found: `find_versions`."""
    problems = [f"{name} is not installed" for name in PACKAGES if not is_there(name)]
    for name, (low, high) in VERSIONS.items():
        if name not in found:
            problems.append(f"{name} is not installed")
        elif not low <= int(found[name].split(".")[0]) < high:
            problems.append(f"{name} {found[name]} is installed, and SIMPLER needs {low}.x: {WHY[name]}")
    if not is_there("pkg_resources"):
        problems.append("setuptools below 81 is missing: SAPIEN 2 imports its pkg_resources")
    missing = find_missing_assets()
    if missing:
        problems.append(f"{len(missing)} of SIMPLER's assets are missing, the first of them {missing[0]}")
    return problems


def is_there(module: str) -> bool:
    """Whether a module can be imported; it is not imported."""
    return importlib.util.find_spec(module) is not None


def find_missing_assets() -> list[Path]:
    """The files of the four tasks that are not where ManiSkill2_real2sim looks for them.

    The folder is that of simpler-env/ManiSkill2_real2sim@ef7a4d4 `mani_skill2_real2sim/__init__.py`.
    """
    spec = importlib.util.find_spec("mani_skill2_real2sim")
    if spec is None or not spec.submodule_search_locations:
        return []
    beside = Path(next(iter(spec.submodule_search_locations))).parent / "data"
    chosen = os.environ.get("MS2_REAL2SIM_ASSET_DIR")
    data = Path(chosen) if chosen else beside if beside.exists() else Path(os.environ.get("MS2_ASSET_DIR") or "data")
    wanted = [data / "real_inpainting" / name for name in PHOTOS]
    wanted += [data / "hab2_bench_assets" / "stages" / name for name in STAGES]
    wanted += [data / "custom" / "models" / name / "collision.obj" for name in MODELS]
    missing = [path for path in wanted if not path.is_file()]
    for folder in (data / "custom" / "models" / name for name in MODELS):
        if not any((folder / name).is_file() for name in VISUALS):
            missing.append(folder / VISUALS[1])
    return missing


def find_renderer_problems() -> list[str]:
    """Why SAPIEN cannot render; empty if it can."""
    try:
        import sapien.core

        sapien.core.SapienRenderer()
    except Exception as error:  # whatever it is, it is reported
        return [f"SAPIEN cannot render there ({type(error).__name__}: {error})"]
    return []


if __name__ == "__main__":
    versions = find_versions()
    problems = find_problems(versions)
    if "--renderer" in sys.argv and not problems:
        problems = find_renderer_problems()
    sys.stdout.write(json.dumps({"versions": versions, "problems": problems}) + "\n")
