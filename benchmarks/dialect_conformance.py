"""Runs the published readers and writers of VLA-0 and LAP beside ours, on random actions and texts.

    git clone https://github.com/NVlabs/vla0 && git clone https://github.com/lihzha/lap
    python benchmarks/dialect_conformance.py --vla0 vla0 --lap lap

Both have to give the same text for the same action, and the same action for the same text: VLA-0's to the last bit of
float32, LAP's to 1e-6 m and rad. Their code is read from these folders and is no part of this package. VLA-0's needs
torch, LAP's scipy.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import euler_sxyz_to_matrix, euler_sxyz_to_rotvec, rotvec_to_euler_sxyz
from vlm2vla_sim.language.formats import ActionStatistics, get_format
from vlm2vla_sim.language.formats.lap import LapCompactFormat, LapFormat, LapGripperFormat
from vlm2vla_sim.language.formats.statistics import BRIDGE
from vlm2vla_sim.policies.ensemble import Ensemble

TOLERANCE = 1e-6


def main() -> None:
    """Compare, print, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vla0", type=Path, required=True, help="a checkout of NVlabs/vla0")
    parser.add_argument("--lap", type=Path, required=True, help="a checkout of lihzha/lap")
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--golden", type=int, default=0, help="print so many texts of theirs, for the tests")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    found = {
        **compare_vla0(_load_vla0(options.vla0), rng, options.actions, options.golden),
        "vla0 ensemble steps": sum(compare_ensemble(_load_eval(options.vla0), rng, size=size) for size in (2, 4, 8)),
        **compare_lap(*_load_lap(options.lap), rng, options.actions, options.golden),
    }
    print(json.dumps({"benchmark": "dialect_conformance", "actions": options.actions, "different": found}, indent=1))
    sys.exit(any(found.values()))


def compare_vla0(actor: Any, rng: np.random.Generator, count: int, golden: int) -> dict[str, int]:
    """How many texts and actions differ, of `count` chunks of 8 steps each way."""
    import torch

    different = {"vla0 texts": 0, "vla0 actions": 0}
    ranges = (BRIDGE, ActionStatistics((-0.4, -0.14, -0.23, -3.2, -1.9, -6.3, 0), (0.42, 0.26, 0.21, 3.1, 1.9, 6.3, 1)))
    for number in range(count):
        statistics = ranges[number % 2]
        ours = get_format("vla0", statistics=statistics)
        low, high = (np.array(end, np.float32) for end in (statistics.low, statistics.high))
        actor.dataset_stats = {"min": list(statistics.low), "max": list(statistics.high)}
        for name in ("_min_act", "_max_act"):
            actor.__dict__.pop(name, None)
        actions = np.clip(low + rng.random((8, 7), dtype=np.float32) * (high - low), low, high)
        theirs = actor.get_text_action(torch.tensor(actions)[None])[0]
        different["vla0 texts"] += ours.write(actions) != theirs
        text = " ".join(map(str, rng.integers(0, 1001, 56)))
        read = actor.get_action_from_text_action([text])[0].numpy()
        different["vla0 actions"] += not np.array_equal(ours.read(text).deltas, np.clip(read, None, [*[9] * 6, 1]))
        if number < golden:
            print(json.dumps({"vla0": statistics.source or "min..max", "actions": actions.tolist(), "text": theirs}))
    return different


def compare_ensemble(eval_run: Any, rng: np.random.Generator, *, size: int, steps: int = 50) -> int:
    """How many of `steps` control steps differ, the mean of `size` predictions of random length being carried out."""
    import torch

    predictions = [rng.normal(0, 0.02, (rng.integers(1, 10), 7)) for _ in range(steps)]
    for prediction in predictions:
        prediction[:, 6] = rng.uniform(-1, 1, len(prediction))
    left, acted = [torch.tensor(np.resize(one, (8, 7))) for one in predictions], []
    sent = [one.numpy().copy() for one in left]

    class Env:
        def reset(self) -> None: ...

        def set_init_state(self, state: None) -> None: ...

        def step(self, action: list[float]) -> tuple[dict[str, None], float, bool, dict[str, None]]:
            acted.append(action)
            return {"agentview_image": None}, 0.0, len(acted) == steps, {}

    def model(**_: Any) -> dict[str, Any]:
        return {"out_ori_act": left.pop(0)[None]}

    how = {"frame_skip": 0, "action_horizon": 1, "log_file_name": "", "save_all_data": False, "ensemble_version": 1}
    how |= {"ensemble_prediction": size, "ensemble_2_weight": 0.5}
    eval_run(Env(), model, None, "", None, steps, **how)
    ours, different = Ensemble(size), 0
    for prediction, theirs in zip(sent, acted, strict=True):
        prediction[:, 6] = (prediction[:, 6] + 1) / 2
        step = ours.add(prediction)[0]
        ours.carried_out(1)
        different += not np.allclose([*step[:6], 2 * step[6] - 1], theirs, atol=1e-9)
    return different


def compare_lap(lap: Any, words: Any, rng: np.random.Generator, count: int, golden: int) -> dict[str, int]:
    """How many texts and actions differ, of `count` each way, in the formats lap, lap-gripper and lap-compact."""
    verbose, compact = lap.VERBOSE_WITH_ROTATION_FORMAT, lap.LanguageActionFormat("c", "compact", include_rotation=True)
    in_gripper = lap.VERBOSE_EEF_WITH_ROTATION_FORMAT
    names = ("lap texts", "lap actions", "lap-gripper actions", "lap-compact texts", "lap-compact actions")
    different: dict[str, int] = dict.fromkeys(names, 0)
    for number in range(count):
        euler = rng.normal(0, [0.5, 0.4, 0.7]) * rng.integers(0, 2, 3)
        row = np.array([*(rng.normal(0, 0.08, 3) * rng.integers(0, 2, 3)).clip(-0.49, 0.49), *euler, rng.random()])
        mine = np.array([[*row[:3], *euler_sxyz_to_rotvec(euler), row[6]]])
        said = words.summarize_numeric_actions(row, "0f", include_rotation=True)
        short = words.summarize_numeric_actions(row, "compact", include_rotation=True)
        different["lap texts"] += LapFormat().write(mine) != said
        different["lap-compact texts"] += LapCompactFormat().write(mine) != short
        if number % 3 == 0:
            said = words.describe_language_action_scale(words.summarize_numeric_actions(row, "1f"))
        elif number % 3 == 1:
            said = said.replace("tilt forward", "tilt up").replace("tilt back", "tilt down")
            said = said.replace("open gripper", f"set gripper to {rng.random():.2f}")
        different["lap actions"] += not _same(LapFormat().read(said), verbose.parse_language_to_deltas(said))
        different["lap-compact actions"] += not _same(
            LapCompactFormat().read(short), compact.parse_language_to_deltas(short)
        )
        pose = np.array([0.3, 0, 0.2, *rng.normal(0, 0.5, 3), 1])
        turn = euler_sxyz_to_matrix(pose[3:6]) @ np.diag([1, -1, -1])  # LAP's gripper frame has z along the fingers
        state = np.concatenate([pose[:3], turn[:, 0], turn[:, 1], [1]])
        theirs = in_gripper.parse_language_to_deltas(said, initial_state=state)
        different["lap-gripper actions"] += not _same(LapGripperFormat().read(said, pose=pose), theirs)
        if number < golden:
            print(json.dumps({"lap": said, "compact": short, "pose": pose.tolist(), "action": row.tolist()}))
            print(json.dumps({"read": [*theirs[0].tolist(), theirs[1]]}))
    return different


def _same(chunk: Any, theirs: tuple[np.ndarray, float | None]) -> bool:
    movement, gripper = theirs
    row = chunk.deltas[0].astype(np.float64)
    euler = rotvec_to_euler_sxyz(row[3:6])
    wanted = euler_sxyz_to_matrix(movement[3:6])
    turned = np.abs(euler_sxyz_to_matrix(euler) - wanted).max()
    return bool(
        np.abs(row[:3] - movement[:3]).max() < TOLERANCE and turned < 1e-5 and abs(row[6] - (gripper or 0)) < 1e-6
    )


def _load_vla0(folder: Path) -> Any:
    """An object with VLA-0's two methods; the rest of their class loads a model."""
    import torch

    path = folder / "rv_train/models/qwen/model.py"
    tree = ast.parse(path.read_text())
    (actor,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "QwenActor")
    wanted = ("get_text_action", "get_action_from_text_action")
    actor.body = [node for node in actor.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    actor.bases = []
    names: dict[str, Any] = {"torch": torch}
    exec(compile(ast.Module([actor], []), str(path), "exec"), names)
    made = names["QwenActor"]()
    made.num_bins_actions, made.act_dim, made.horizon = 1000, 7, 8
    return made


def _load_eval(folder: Path) -> Any:
    """VLA-0's function that runs an episode; the rest of its module needs LIBERO."""
    path = folder / "libs/RoboVerse/roboverse/evals/libero/eval.py"
    tree = ast.parse(path.read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "eval_run"]
    names: dict[str, Any] = {"np": np, "tqdm": iter, "print": lambda *_: None}
    names |= {"LIBERO_DUMMY_ACTION": None, "_img_to_numpy": lambda image: image}
    names |= {"libero_to_rv_obs": lambda *_: {}}
    exec(compile(ast.Module(list(found), []), str(path), "exec"), names)
    return names["eval_run"]


def _load_lap(folder: Path) -> tuple[Any, Any]:
    """LAP's formats and its writer, without the packages around them."""
    root = folder / "src/lap/policies"
    for name in ("lap", "lap.policies", "lap.policies.transforms"):
        package = types.ModuleType(name)
        package.__path__ = []
        sys.modules[name] = package
    modules = {}
    for name in ("transforms.frame_transforms", "transforms.action_text", "lang_action_formats"):
        spec = importlib.util.spec_from_file_location(f"lap.policies.{name}", root / f"{name.replace('.', '/')}.py")
        assert spec is not None
        assert spec.loader is not None
        modules[name] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    return modules["lang_action_formats"], modules["transforms.action_text"]


if __name__ == "__main__":
    main()
