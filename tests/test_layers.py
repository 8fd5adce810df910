"""Imports point down, heavy packages stay where they belong, and none of it is left to good intentions.

4 cli, commands · 3 rollout, suite, video, … · 2 envs, policies, data (never one another) · 1 language ·
0 types, errors, rotations, frames
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlm2vla_sim

ROOT = Path(vlm2vla_sim.__file__).parent
PACKAGE = "vlm2vla_sim"

LAYERS = {
    0: ("types", "errors", "rotations", "frames", "pickle_names", "pickle_reader"),
    1: ("language",),
    2: ("envs", "policies", "data"),
    3: (
        *("analysis", "caption", "demonstration", "doctor", "episodes", "live", "mini", "model_needs", "operator"),
        *("record", "report", "results", "rollout", "run_folder", "serving", "session", "subject", "suite", "testing"),
        *("training", "trials", "versions", "video", "watch", "workers"),
    ),
    4: ("cli", "commands"),
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
STRANGERS = LAYERS[2]
"""Siblings that must not know each other."""
FOR_ALL = ("numpy", "gymnasium")
MODELS = ("policies.hf_decode", "policies.hf_grammar", "policies.hf_model", "policies.hf_prompt", "policies.hf_random")
MINI = ("mini.checkpoint", "mini.crew", "mini.dense", "mini.material", "mini.model", "mini.packing", "mini.pretrain")
PICTURES = ("envs.bridge", "envs.mujoco", "envs.simpler", "caption", "live", "video")
HEAVY = {
    "mujoco": ("envs.mujoco", "envs.bridge.servo_twin", "mini.world"),
    "OpenGL": ("envs.mujoco",),
    "mani_skill": ("envs.simpler",),
    "sapien": ("envs.simpler",),
    "torch": ("envs.simpler", *MODELS, *MINI, "training", "analysis"),
    "transformers": (*MODELS, *MINI, "training", "analysis"),
    "peft": (*MODELS, "training"),
    "llguidance": MODELS,
    "trl": ("training",),
    "datasets": ("training",),
    "accelerate": ("training",),
    "websockets": ("policies.remote", "serving"),
    "msgpack": ("policies.remote",),
    "zmq": ("envs.bridge",),
    "lz4": ("envs.bridge",),
    "cv2": ("envs.bridge",),
    "pyarrow": ("data",),
    "tensorflow": ("data.rlds",),
    "tensorflow_datasets": ("data.rlds",),
    "PIL": (
        *(*PICTURES, "analysis.density", "data", "mini.album", "mini.drawings", "training.rows", "policies.chat_api"),
        *("policies.hf_prompt", "policies.model_server", "policies.remote"),
    ),
    "imageio": ("video",),
    "imageio_ffmpeg": ("video", "data.mp4"),
    "tqdm": ("suite", "commands", "envs.simpler", "training"),
    "tyro": ("cli", "commands", "mini.__main__"),
}
"""Package from elsewhere -> the only places that may import it, at the top of a module or in a function."""


def imports(root: Path) -> Iterator[tuple[str, str, str]]:
    """("path:line", importing module, imported module) for every import under `root`; modules without the package."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        importer = ".".join(part for part in parts if part != "__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(root.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((where, importer, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                for alias in node.names:
                    inner = root.joinpath(*base.split(".")[1:], alias.name)
                    is_module = base.startswith(PACKAGE) and (inner.with_suffix(".py").exists() or inner.is_dir())
                    yield where, importer, f"{base}.{alias.name}" if is_module else base


def complaints(root: Path) -> list[str]:
    """One sentence for every import that points the wrong way."""
    found = []
    for where, importer, imported in imports(root):
        top, target = importer.split(".")[0], imported.removeprefix(f"{PACKAGE}.").split(".")[0]
        if not importer:
            continue  # the package's own door imports lazily whatever it offers; `test_imports` watches it
        if imported.startswith("."):
            found.append(f"{where}: relative import; write the module's full name")
        elif top not in LAYER_OF:
            found.append(f"{where}: {top} is in no layer; say in LAYERS to which it belongs")
        elif imported == PACKAGE:
            if importer != "versions":
                found.append(f"{where}: imports the package's door; import from the module that holds the name")
        elif not imported.startswith(f"{PACKAGE}."):
            continue
        elif LAYER_OF[target] > LAYER_OF[top]:
            found.append(f"{where}: {importer} (layer {LAYER_OF[top]}) imports {target} (layer {LAYER_OF[target]})")
        elif top in STRANGERS and target in STRANGERS and top != target:
            found.append(f"{where}: {importer} imports its sibling {target}")
    return found


def heavy_complaints(root: Path) -> list[str]:
    """One sentence for every package that is imported where it does not belong."""
    found = []
    for where, importer, imported in imports(root):
        name = imported.split(".")[0]
        places = HEAVY.get(name, ())
        if name in HEAVY and not any(f"{importer}.".startswith(f"{place}.") for place in places):
            found.append(f"{where}: {importer} imports {name}, which belongs in {', '.join(places)}")
    return found


def test_imports_point_down():
    assert complaints(ROOT) == []


def test_heavy_packages_are_imported_only_where_they_belong():
    assert heavy_complaints(ROOT) == []


def test_every_import_was_looked_at():
    seen = list(imports(ROOT))
    assert len({importer for _, importer, _ in seen}) > 50
    assert any(importer == "rollout" and imported == "vlm2vla_sim.video" for _, importer, imported in seen)
    assert any(importer == "envs.mujoco.arm" and imported == "mujoco" for _, importer, imported in seen)


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("errors.py", "from vlm2vla_sim.types import Pose", None),
        ("types.py", "\nimport vlm2vla_sim.language.formats", "types.py:2: types (layer 0) imports language (layer 1)"),
        ("language/rows.py", "from vlm2vla_sim.envs import motion", "rows.py:1: language.rows (layer 1) imports envs"),
        (
            "envs/base.py",
            "def f():\n  from vlm2vla_sim import rollout",
            "base.py:2: envs.base (layer 2) imports rollout",
        ),
        ("envs/base.py", "from vlm2vla_sim.policies.base import Policy", "envs.base imports its sibling policies"),
        ("policies/mine.py", "from vlm2vla_sim.envs.base import WidowXEnv", "policies.mine imports its sibling envs"),
        ("rollout.py", "from vlm2vla_sim.cli import main", "rollout.py:1: rollout (layer 3) imports cli (layer 4)"),
        ("envs/base.py", "from . import motion", "relative import; write the module's full name"),
        ("envs/base.py", "from vlm2vla_sim import make_vec", "imports the package's door"),
        ("novel.py", "import json", "novel is in no layer"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found_with_file_and_line(tmp_path, file, code, complaint):
    root = tmp_path / PACKAGE
    for existing in ("rollout.py", "envs/motion.py", file):
        (root / existing).parent.mkdir(parents=True, exist_ok=True)
        (root / existing).write_text("")
    (root / file).write_text(code)
    found = complaints(root)
    assert len(found) == (complaint is not None)
    if complaint is not None:
        assert complaint in found[0]


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("envs/mujoco/arm.py", "import mujoco", None),
        ("envs/base.py", "def f():\n    import mujoco", "envs/base.py:2: envs.base imports mujoco, which belongs in"),
        ("envs/mujoco_two.py", "import mujoco", "envs.mujoco_two imports mujoco"),
        ("types.py", "from torch.nn import Module", "types imports torch"),
    ],
)
def test_a_heavy_package_in_the_wrong_place_is_found(tmp_path, file, code, complaint):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    found = heavy_complaints(tmp_path / PACKAGE)
    assert len(found) == (complaint is not None)
    if complaint is not None:
        assert complaint in found[0]
