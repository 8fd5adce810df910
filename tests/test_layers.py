"""Imports point down, every folder has an order of its own, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlm2vla_sim

ROOT = Path(vlm2vla_sim.__file__).parent
PACKAGE = "vlm2vla_sim"

FLOORS = (
    ("types", "errors", "core"),
    ("robots", "language", "video"),
    ("envs", "policies"),
    ("evaluation", "testing"),
    ("data", "serving"),
    ("training", "analysis", "lerobot"),
    ("mini",),
    ("cli",),
)
"""From the bottom up. A room imports from the floors below it; rooms of one floor do not know each other."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms} | {"__main__": len(FLOORS)}

ORDER = {
    "": (("errors",), ("types",), ("core",), *FLOORS[1:]),
    "evaluation": (
        ("conditions",),
        ("settings", "metrics", "credit", "rates", "shard", "stop_record", "agreement", "failures"),
        ("outcome_shares", "event_log", "suite_file", "verdicts", "usage"),
        ("outcome_lines",),
        ("results",),
        ("setup", "with_suite"),
        ("run_folder", "episode"),
        ("merge", "comparison"),
        ("operator",),
        ("runner",),
        ("executors",),
        ("suite",),
    ),
    "data": (("episode",), ("datasets",), ("relabel", "examples"), ("inspect_page",), ("recording", "exports")),
    "policies": (
        ("base", "options"),
        ("models", "__init__"),
        ("remote", "baselines", "scripted", "verifier", "language_action"),
        ("zero_shot",),
        ("oracle", "vlm", "lerobot"),
        ("mini",),
    ),
    "mini": (("scenes",), ("model",), ("training",), ("__main__",)),
    "mini.scenes": (
        ("annotation", "object_catalog"),
        ("stages",),
        ("arrangement", "resting_poses"),
        ("arrangement_sampler",),
        ("scene_renderer",),
        ("rendered_dataset",),
    ),
    "mini.model": (("tokenizer", "checkpoint"), ("architecture",)),
    "mini.training": (
        ("question_answer", "recipe", "process_group"),
        ("scene_questions", "translations", "dense_targets", "packing"),
        ("vocabulary",),
        ("text_tasks",),
        ("synthetic_shapes", "expert_plans"),
        ("expert_labels",),
        ("data_loader", "adapter_examples"),
        ("pretraining_model", "held_out"),
        ("pretrain",),
    ),
    "cli": (("result",), ("flags", "dataset_flags", "diagnostics", "report"), ("commands",), ("main",)),
    "language": (
        ("words", "translations"),
        ("formats",),
        ("plan_words", "prompts"),
        ("answers", "label_prompt", "zero_shot_scene"),
        ("zero_shot",),
        ("zero_shot_answers",),
    ),
}
"""Folder -> its entries from the bottom up, where the order is part of the design. An entry that is listed may import
only entries below it; one that is not listed may import any, in no circle."""

COMMANDS = "cli.commands"
"""Commands do not import one another."""

FOR_ALL = ("numpy", "gymnasium")
MODELS = ("policies.models",)
PICTURES = (
    "envs.image_effects",
    "envs.photo",
    "envs.card_pictures",
    "envs.robot_link",
    "envs.mujoco",
    "envs.simpler",
    "evaluation.operator.live_view",
    "evaluation.report.pictures",
    "evaluation.robot_doctor.page",
    "evaluation.zero_shot_examples",
    "video",
)
HEAVY = {
    "mujoco": (
        "envs.mujoco",
        "envs.robot_link.mock.servo_twin",
        "envs.widowx_ai.arm_twin",
        "mini.scenes.resting_poses",
        "mini.scenes.scene_renderer",
    ),
    "OpenGL": ("envs.mujoco",),
    "mani_skill": ("envs.simpler",),
    "sapien": ("envs.simpler",),
    "torch": (
        *("envs.simpler", *MODELS, "mini.model", "mini.training", "training", "analysis"),
        *("lerobot", "policies.lerobot"),
    ),
    "lerobot": ("lerobot", "policies.lerobot"),
    "transformers": (*MODELS, "mini.model", "mini.training", "training", "analysis"),
    "peft": (*MODELS, "training"),
    "llguidance": MODELS,
    "trl": ("training",),
    "datasets": ("training",),
    "accelerate": ("training",),
    "huggingface_hub": ("policies.models.hub",),
    "httpx2": ("policies.models.http_client",),
    "websockets": ("policies.remote", "serving"),
    "msgpack": ("policies.remote",),
    "starlette": ("serving",),
    "uvicorn": ("serving",),
    "segno": ("cli.commands.watch",),
    "trossen_arm": ("envs.widowx_ai.driver",),
    "trossen_arm_sim": ("envs.widowx_ai.arm_twin", "envs.widowx_ai.mock"),
    "zmq": ("envs.robot_link", "policies.remote.groot"),
    "lz4": ("envs.robot_link",),
    "cv2": ("envs.robot_link",),
    "pyarrow": ("data",),
    "tensorflow": ("data.datasets.rlds",),
    "tensorflow_datasets": ("data.datasets.rlds",),
    "PIL": (
        *(*PICTURES, *MODELS, "data", "mini.scenes", "mini.training", "training.rows"),
        "policies.remote",
        "policies.zero_shot",
        "serving.chat_images",
    ),
    "filelock": ("core.store", "envs.robot_link.endpoint_lock"),
    "imageio": ("video",),
    "av": ("video",),
    "matplotlib": ("analysis.density",),
    "ray": ("evaluation.executors",),
    "rerun": ("evaluation.rerun_files",),
    "tensorboard": ("evaluation.trackers",),
    "trackio": ("evaluation.trackers",),
    "wandb": ("evaluation.trackers",),
    "tqdm": ("evaluation.progress", "cli", "envs.simpler", "training"),
    "tyro": ("cli", "mini.__main__"),
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


def ours(root: Path) -> Iterator[tuple[str, str, str]]:
    """As `imports`, those of this package's own modules, without the package's name."""
    for where, importer, imported in imports(root):
        if importer and imported.startswith(f"{PACKAGE}."):
            yield where, importer, imported.removeprefix(f"{PACKAGE}.")


def complaints(root: Path) -> list[str]:
    """One sentence for every import that points the wrong way between rooms."""
    found = []
    for where, importer, imported in imports(root):
        top, target = importer.split(".")[0], imported.removeprefix(f"{PACKAGE}.").split(".")[0]
        if not importer:
            continue  # the package's own __init__ imports lazily whatever it offers; `test_imports` covers it
        if imported.startswith("."):
            found.append(f"{where}: relative import; write the module's full name")
        elif top not in FLOOR_OF:
            found.append(f"{where}: {top} is on no floor; add it to FLOORS")
        elif imported == PACKAGE:
            if importer != "core.versions":
                found.append(f"{where}: imports the package itself; import from the module that holds the name")
        elif not imported.startswith(f"{PACKAGE}.") or top == target:
            continue
        elif target not in FLOOR_OF:
            found.append(f"{where}: {target} is on no floor; add it to FLOORS")
        elif FLOOR_OF[target] > FLOOR_OF[top]:
            found.append(f"{where}: {importer} (floor {FLOOR_OF[top]}) imports {target} (floor {FLOOR_OF[target]})")
        elif FLOOR_OF[target] == FLOOR_OF[top] > 0:
            found.append(f"{where}: {importer} imports its sibling {target}")
    return found


def entries(importer: str, imported: str) -> tuple[str, str, str]:
    """The innermost folder that holds both modules, and its two entries that lead to them."""
    here, there = importer.split("."), imported.split(".")
    depth = 0
    while depth < min(len(here), len(there)) - 1 and here[depth] == there[depth]:
        depth += 1
    if here[:depth] != there[:depth]:
        depth -= 1
    first = here[depth] if depth < len(here) else "__init__"
    second = there[depth] if depth < len(there) else "__init__"
    return ".".join(here[:depth]), first, second


def folder_complaints(root: Path) -> list[str]:
    """One sentence for every import that breaks its folder's order, and for every circle among a folder's entries."""
    found = []
    graphs: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for where, importer, imported in ours(root):
        path = root.joinpath(*importer.split("."))
        here = f"{importer}.__init__" if path.is_dir() else importer
        target = root.joinpath(*imported.split("."))
        there = f"{imported}.__init__" if target.is_dir() else imported
        folder, first, second = entries(here, there)
        if first == second:
            continue
        if folder == COMMANDS:
            found.append(f"{where}: the command {first} imports the command {second}")
        graphs[folder][first][second] = where
        levels = {name: level for level, names in enumerate(ORDER.get(folder, ())) for name in names}
        if first in levels and second in levels and levels[second] >= levels[first] and folder:
            found.append(f"{where}: in {folder}, {first} imports {second}, which is not below it")
    for folder, graph in graphs.items():
        circle = find_circle({name: set(targets) for name, targets in graph.items()})
        if circle:
            found.append(f"{folder or PACKAGE}: a circle of imports: {' -> '.join(circle)}")
    return found


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, its first node also last; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            circle = visit(target, [*path, name])
            if circle:
                return circle
        done.add(name)
        return []

    for start in sorted(graph):
        circle = visit(start, [])
        if circle:
            return circle
    return []


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


def test_every_folder_keeps_its_order_and_has_no_circle():
    assert folder_complaints(ROOT) == []


def test_heavy_packages_are_imported_only_where_they_belong():
    assert heavy_complaints(ROOT) == []


def test_there_are_at_most_eight_floors_and_every_room_is_on_one():
    assert len(FLOORS) <= 8
    code = [path for path in ROOT.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))]  # not suites: data
    rooms = {path.name.removesuffix(".py") for path in code}
    assert rooms - {"__init__", "__pycache__", "py.typed"} == set(FLOOR_OF)


def test_the_root_holds_only_what_everybody_shares():
    assert {path.name for path in ROOT.iterdir() if path.is_file()} == {
        "__init__.py", "__main__.py", "types.py", "errors.py", "testing.py", "py.typed",
    }  # fmt: skip


def test_every_listed_entry_exists():
    for folder, levels in ORDER.items():
        for name in (name for names in levels for name in names):
            path = ROOT.joinpath(*folder.split("."), name) if folder else ROOT / name
            assert path.is_dir() or path.with_suffix(".py").is_file(), f"{folder}: {name}"


def test_every_import_was_looked_at():
    seen = list(imports(ROOT))
    assert len({importer for _, importer, _ in seen}) > 50
    assert any(importer == "evaluation.suite" and imported == f"{PACKAGE}.errors" for _, importer, imported in seen)
    assert any(importer == "envs.mujoco.arm" and imported == "mujoco" for _, importer, imported in seen)


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("types.py", "from vlm2vla_sim.errors import Vlm2VlaError", None),
        ("types.py", "\nimport vlm2vla_sim.language.formats", "types.py:2: types (floor 0) imports language (floor 1)"),
        ("language/rows.py", "from vlm2vla_sim.envs import motion", "rows.py:1: language.rows (floor 1) imports envs"),
        (
            "envs/base.py",
            "def f():\n  from vlm2vla_sim.evaluation import suite",
            "base.py:2: envs.base (floor 2) imports evaluation",
        ),
        ("envs/base.py", "from vlm2vla_sim.policies.base import Policy", "envs.base imports its sibling policies"),
        ("policies/mine.py", "from vlm2vla_sim.envs.base import WidowXEnv", "policies.mine imports its sibling envs"),
        ("data/open.py", "from vlm2vla_sim.serving import server", "data.open imports its sibling serving"),
        ("envs/base.py", "from . import motion", "relative import; write the module's full name"),
        ("envs/base.py", "from vlm2vla_sim import make_vec", "imports the package itself"),
        ("novel.py", "import json", "novel is on no floor"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found_with_file_and_line(tmp_path, file, code, complaint):
    root = tmp_path / PACKAGE
    for existing in ("evaluation/suite.py", "envs/motion.py", file):
        (root / existing).parent.mkdir(parents=True, exist_ok=True)
        (root / existing).write_text("")
    (root / file).write_text(code)
    found = complaints(root)
    assert len(found) == (complaint is not None)
    if complaint is not None:
        assert complaint in found[0]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"evaluation/suite.py": "from vlm2vla_sim.evaluation.runner import Item", "evaluation/runner.py": ""}, None),
        (
            {"evaluation/runner.py": "from vlm2vla_sim.evaluation import suite", "evaluation/suite.py": ""},
            "in evaluation, runner imports suite, which is not below it",
        ),
        (
            {"envs/a.py": "from vlm2vla_sim.envs import b", "envs/b.py": "from vlm2vla_sim.envs import a"},
            "envs: a circle of imports: a -> b -> a",
        ),
        (
            {"cli/commands/a.py": "from vlm2vla_sim.cli.commands.b import b", "cli/commands/b.py": ""},
            "the command a imports the command b",
        ),
        (
            {"data/relabel/run.py": "from vlm2vla_sim.data.recording import record", "data/recording/record.py": ""},
            "in data, relabel imports recording, which is not below it",
        ),
    ],
)
def test_an_import_against_its_folders_order_is_found(tmp_path, files, complaint):
    root = tmp_path / PACKAGE
    for name, code in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code)
    found = folder_complaints(root)
    assert len(found) == (complaint is not None), found
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
