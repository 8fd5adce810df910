"""SIMPLER's meshes and photos: where they are, what is missing, and how to download or link them.

They may not be redistributed, ManiSkill prompts at the terminal when they are absent (which blocks a job), and a
ManiSkill2_real2sim checkout has them in other folders. So they are checked before ManiSkill is imported. The folder has
ManiSkill 3's layout; `stages` makes the two table tops where they are missing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.envs.simpler import stages
from vlm2vla_sim.envs.tasks import TASKS, ObjectSpec, Task, is_built_in
from vlm2vla_sim.errors import AssetsError, missing_extra

VARIABLES = ("VLM2VLA_ASSETS", "MS_ASSET_DIR")
"""Environment variables that name the folder, the first that is set wins; MS_ASSET_DIR is ManiSkill's own."""
DATA_SET = Path("data/tasks/bridge_v2_real2sim_dataset")
ROBOT = Path("data/robots/widowx")
SOURCES = {"bridge_v2_real2sim": DATA_SET, "widowx250s": ROBOT}
"""ManiSkill's name of a download -> the folder it fills. mani_skill 3.0.1 utils/assets/data.py"""
URDF = "wx250s.urdf"
VISUALS = ("textured.obj", "textured.dae", "textured.glb")
"""What ManiSkill looks for, in its order; one is enough."""
MODELS = tuple(sorted({spec.model for task in TASKS.values() for spec in (task.source, task.target)} | {"sink"}))
LISTS = ("info_bridge_custom_v0.json", "info_bridge_custom_baked_tex_v0.json")
PHOTOS = ("bridge_real_eval_1.png", "bridge_sink.png")
HELP = (
    "Get them with `vlm2vla assets download`, or from a folder you have with `vlm2vla assets link DIR` (a ManiSkill "
    "asset folder or a ManiSkill2_real2sim checkout)."
)


@dataclass(frozen=True)
class Inventory:
    """What an asset folder holds."""

    root: Path
    missing: tuple[str, ...]
    """Paths below `root`."""
    made: tuple[str, ...]
    """Table tops that are our box instead of SIMPLER's mesh; the photo hides them."""

    def lines(self) -> list[str]:
        """The inventory as text."""
        state = "complete" if not self.missing else f"{len(self.missing)} missing"
        lines = [f"SIMPLER's assets in {self.root}: {state}."]
        lines += [f"  missing: {path}" for path in self.missing]
        lines += [f"  made by us, a plain box instead of SIMPLER's table: {path}" for path in self.made]
        return [*lines, HELP] if self.missing else lines

    def advice(self) -> str:
        """How to get what is missing; empty when nothing is."""
        return HELP if self.missing else ""


def folder() -> Path:
    """The asset folder in use: from the first of `VARIABLES` that is set, else ManiSkill's default, ~/.maniskill."""
    for variable in VARIABLES:
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser().resolve()
    return Path.home() / ".maniskill"


def inspect(root: Path | None = None) -> Inventory:
    """Look for every file the four scenes need."""
    root = root or folder()
    table_tops = [DATA_SET / "stages" / name for name in stages.TOPS]
    made = (path for path in table_tops if stages.is_made(root / path))
    return Inventory(root, tuple(str(path) for path in _missing(root)), tuple(str(path) for path in made))


def prepare() -> Path:
    """Make ManiSkill find the assets, before it is imported; AssetsError or MissingExtraError if it cannot work."""
    if importlib.util.find_spec("mani_skill") is None:
        raise missing_extra("The backend 'simpler'", "mani-skill", "simpler")
    inventory = inspect()
    if inventory.missing:
        raise AssetsError(
            f"The SIMPLER scenes need {len(inventory.missing)} files that are not in {inventory.root}, the first "
            f"of them {inventory.missing[0]}. {HELP} The environment variable {VARIABLES[0]} chooses another folder."
        )
    _point_maniskill_at(inventory.root)
    return inventory.root


def link(source: Path, root: Path | None = None) -> list[str]:
    """Link the assets found in `source` into `root` (copied where links are not supported); what was done.

    source: a ManiSkill asset folder, or a ManiSkill2_real2sim checkout or its `data` folder. Files that
    are already in `root` stay. Table tops that are missing are made.
    """
    root, source = root or folder(), source.expanduser().resolve()
    found = list(_find_assets(source))
    if not found:
        raise AssetsError(
            f"{source} holds none of SIMPLER's assets. Expected a ManiSkill asset folder (with {DATA_SET}) or a "
            "ManiSkill2_real2sim checkout (with data/custom and data/real_inpainting)."
        )
    done = [f"linked {target}" for origin, target in found if _place(origin, root / target)]
    robot = _find_description(source)
    if robot is not None and not (root / ROBOT).exists():
        stages.copy_description(robot, root / ROBOT)
        done.append(f"made {ROBOT} from {robot}")
    for name in stages.TOPS:
        path = root / DATA_SET / "stages" / name
        if not path.exists():
            stages.make_table_top(path)
            done.append(f"made {path.relative_to(root)}: a plain box, which the photo hides")
    return done


def download(root: Path | None = None) -> list[str]:
    """Download what is missing with ManiSkill's downloader; returns what was done. AssetsError if it fails."""
    root = root or folder()
    if importlib.util.find_spec("mani_skill") is None:
        raise missing_extra("`vlm2vla assets download`", "mani-skill", "simpler")
    wanted = [name for name, place in SOURCES.items() if any(path.is_relative_to(place) for path in _missing(root))]
    for name in wanted:
        if (root / SOURCES[name]).exists():
            raise AssetsError(
                f"{root / SOURCES[name]} exists but is not complete, and downloading would replace it. Move it away "
                "and run the command again, or add what is missing with `vlm2vla assets link DIR`."
            )
    _point_maniskill_at(root)
    return [f"downloaded {_fetch(name, root)}" for name in wanted]


def actor_name(task: Task, spec: ObjectSpec) -> str:
    """ManiSkill's name of an object: in its own four scenes that of the model; other scenes may have two of a model."""
    return spec.model if is_built_in(task) else spec.name


def _point_maniskill_at(root: Path) -> None:
    """Set ManiSkill's asset folder, which it reads once, when it is imported."""
    loaded = sys.modules.get("mani_skill")
    if loaded is not None and Path(loaded.ASSET_DIR).resolve() != (root / "data").resolve():
        raise AssetsError(
            f"mani_skill was imported before vlm2vla_sim and looks for its assets in {loaded.ASSET_DIR}, not in "
            f"{root / 'data'}. Set MS_ASSET_DIR={root} in the environment, or import mani_skill later."
        )
    os.environ["MS_ASSET_DIR"] = str(root)


def _fetch(name: str, root: Path) -> str:
    from mani_skill.utils import download_asset
    from mani_skill.utils.assets.data import DATA_SOURCES

    source = DATA_SOURCES[name]
    try:
        download_asset.download(source, verbose=False, non_interactive=True)
    except OSError as error:
        # ManiSkill makes the folder first; left empty it would count as complete.
        shutil.rmtree(root / SOURCES[name], ignore_errors=True)
        raise AssetsError(
            f"Could not download {source.url} ({error}). If you have the files, use `vlm2vla assets link DIR`."
        ) from error
    return str(SOURCES[name])


def _missing(root: Path) -> Iterator[Path]:
    wanted = [DATA_SET / "custom" / name for name in LISTS]
    wanted += [DATA_SET / "custom/models" / model / "collision.obj" for model in MODELS]
    wanted += [DATA_SET / "real_inpainting" / name for name in PHOTOS]
    wanted += [DATA_SET / "stages" / name for name in stages.TOPS]
    wanted += [ROBOT / URDF, *_robot_meshes(root)]
    yield from (path for path in wanted if not (root / path).is_file())
    for model in MODELS:
        place = DATA_SET / "custom/models" / model
        if not any((root / place / name).is_file() for name in VISUALS):
            yield place / VISUALS[1]


def _robot_meshes(root: Path) -> list[Path]:
    """The mesh files that the robot's description names, if it exists."""
    if not (root / ROBOT / URDF).is_file():
        return []
    text = re.sub(r"<!--.*?-->", "", (root / ROBOT / URDF).read_text(encoding="utf-8"), flags=re.DOTALL)
    return sorted({ROBOT / name for name in re.findall(r'filename="([^"]+)"', text)})


def _find_assets(source: Path) -> Iterator[tuple[Path, Path]]:
    """(a file or folder below `source`, its place below an asset folder), for every asset of SIMPLER found there."""
    for data in (source, source / "data"):
        for place in (DATA_SET, ROBOT):
            shipped = data / place.relative_to("data")
            if place == ROBOT and (shipped / URDF).is_file():
                yield shipped, ROBOT
            elif place == DATA_SET and shipped.is_dir():
                yield from _find_scene_assets(shipped, shipped / "stages")
        if (data / "custom/models").is_dir():
            yield from _find_scene_assets(data, data / "hab2_bench_assets/stages")


def _find_scene_assets(data: Path, table_tops: Path) -> Iterator[tuple[Path, Path]]:
    named = [(data / "custom" / name, "custom") for name in LISTS]
    named += [(data / "custom/models" / name, "custom/models") for name in MODELS]
    named += [(data / "real_inpainting" / name, "real_inpainting") for name in PHOTOS]
    named += [(table_tops / name, "stages") for name in stages.TOPS]
    yield from ((origin, DATA_SET / place / origin.name) for origin, place in named if origin.exists())


def _find_description(source: Path) -> Path | None:
    """The robot description of a ManiSkill2_real2sim checkout, beside `data`."""
    for checkout in (source, source.parent):
        folder = checkout / "mani_skill2_real2sim/assets/descriptions/widowx_description"
        if (folder / URDF).is_file():
            return folder
    return None


def _place(origin: Path, target: Path) -> bool:
    """Link or copy `origin` to `target`; False if `target` exists."""
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(origin, target_is_directory=origin.is_dir())
    except OSError:  # a file system without links
        (shutil.copytree if origin.is_dir() else shutil.copy)(origin, target)
    return True
