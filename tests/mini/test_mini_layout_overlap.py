"""Layouts that a model was trained on are found by where their objects are, whatever seeds made them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE
from vlm2vla_sim.mini.scenes.arrangement import Arrangement, PlacedObject
from vlm2vla_sim.mini.scenes.layout_overlap import (
    evaluated_positions,
    find_overlaps,
    positions_in_scenes,
    training_arrangements,
)
from vlm2vla_sim.mini.scenes.object_catalog import CATALOG
from vlm2vla_sim.mini.scenes.rendered_dataset import read_shard, render_shards, shard_arrangements
from vlm2vla_sim.mini.scenes.scene_renderer import open_renderers
from vlm2vla_sim.policies.mini import WEIGHTS
from vlm2vla_sim.types import Pose

UPRIGHT = np.array([1.0, 0, 0, 0])
TWO = ("carrot_on_plate", "stack_cube")
BY_NAME = {item.spec.name: item for item in CATALOG}


def scene(task: str, row: np.ndarray, *, support: str = TABLE, shift: float = 0.0) -> Arrangement:
    """The task's two objects at (4,) x, y of source and target, moved by `shift` [m]."""
    names = (TASKS[task].source.name, TASKS[task].target.name)
    places = row.reshape(2, 2) + shift
    objects = tuple(
        PlacedObject(BY_NAME[name], Pose(np.array([*xy, 0.0]), UPRIGHT), support if k == 0 else TABLE)
        for k, (name, xy) in enumerate(zip(names, places, strict=True))
        if TASKS[task].target.fixed is None or k == 0
    )
    return Arrangement(objects, Pose(np.zeros(3), UPRIGHT), 1.0)


def test_scenes_are_made_again_without_rendering(tmp_path, monkeypatch):
    monkeypatch.setattr(rendered_dataset, "SHARD_SIZE", 30)
    render_shards(tmp_path, [5])
    made = list(shard_arrangements(5, open_renderers()))
    annotations = read_shard(tmp_path, 5).annotations
    assert len(made) == len(annotations) == 30
    for arrangement, annotation in zip(made, annotations, strict=True):
        assert annotation.gripper_opening == arrangement.gripper_opening
        for one, seen in zip(arrangement.objects, annotation.objects, strict=False):
            assert (one.item.class_name, one.support) == (seen.class_name, seen.support)
            assert seen.position == pytest.approx(tuple(one.pose.position), abs=1e-12)


@pytest.mark.parametrize(
    ("shift", "support", "leak"),
    [(0.0, TABLE, True), (0.003, TABLE, True), (0.006, TABLE, False), (0.0, GRIPPER, False)],
)
def test_a_model_trained_on_the_evaluated_layouts_is_found(shift, support, leak):
    """Of carrot_on_plate only; half a centimetre of distance in each of x and y is too far."""
    rows = evaluated_positions(TASKS["carrot_on_plate"], seeds=(3,), episodes=10)[0]
    leaked = [scene("carrot_on_plate", row, support=support, shift=shift) for row in rows]
    overlaps = {one.task: one for one in find_overlaps(leaked, seed=3, episodes=10, tasks=TWO)}
    assert overlaps["carrot_on_plate"].is_leak is leak
    assert overlaps["carrot_on_plate"].evaluated.k == (10 if leak else 0)
    assert not overlaps["stack_cube"].is_leak
    other = {one.task: one for one in find_overlaps(leaked, seed=4, episodes=10, tasks=TWO[:1])}
    assert not other["carrot_on_plate"].is_leak, "other layouts than it was trained on"


def test_the_layouts_are_those_of_a_run():
    """As `vlm2vla evaluate --layouts random --seed 3` starts them."""
    from vlm2vla_sim.evaluation.settings import RunSettings
    from vlm2vla_sim.evaluation.setup import episode_seed, make_env

    settings = RunSettings(tasks=("stack_cube",), layouts="random", seed=3, image_size=None)
    env = make_env(settings, "stack_cube")
    env.reset(seed=episode_seed(3, "stack_cube", 1), options={"layout": "random"})
    state = env.unwrapped.scene_state()
    expected = [*state.source.pose.position[:2], *state.target.pose.position[:2]]
    assert evaluated_positions(TASKS["stack_cube"], seeds=(3,), episodes=2)[0][1] == pytest.approx(expected)


def test_where_every_layout_is_near_a_scene_by_chance_nothing_is_found():
    """The sink: eggplants lie within two centimetres of one another."""
    rows = evaluated_positions(TASKS["eggplant_in_basket"], seeds=(3,), episodes=10)[0]
    grid = [
        scene("eggplant_in_basket", rows[0] + np.array([x, y, 0.0, 0.0]))
        for x in np.arange(-0.06, 0.06, 0.004)
        for y in np.arange(-0.06, 0.06, 0.004)
    ]
    overlaps = {one.task: one for one in find_overlaps(grid, seed=3, episodes=10, tasks=("eggplant_in_basket",))}
    found = overlaps["eggplant_in_basket"]
    assert found.evaluated.k == 10
    assert found.control.k == found.control.n == 40
    assert not found.is_leak
    assert "10 of 10 layouts are within 0.5 cm of a training scene, by chance 40 of 40" in str(found)


def test_a_scene_without_both_objects_says_nothing_about_a_task(monkeypatch):
    monkeypatch.setattr(rendered_dataset, "SHARD_SIZE", 40)
    found = positions_in_scenes(training_arrangements([0]))
    assert set(found) == set(TASKS)
    assert all(rows.shape[1] == 4 for rows in found.values())
    assert 0 < sum(map(len, found.values())) < 4 * 40
    assert positions_in_scenes([])["stack_cube"].shape == (0, 4)


def test_the_benchmark_refuses_a_model_that_saw_the_layouts(tmp_path, monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "mini_success.py"
    spec = importlib.util.spec_from_file_location("mini_success", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shards = module.trained_on(WEIGHTS / "base", WEIGHTS / "adapter")
    assert shards == [number for number in range(58) if number != 32]
    rows = evaluated_positions(TASKS["stack_cube"], seeds=(9,), episodes=12)[0]
    monkeypatch.setattr(module, "training_arrangements", lambda numbers: [scene("stack_cube", row) for row in rows])
    with pytest.raises(AssertionError, match="was trained on layouts of stack_cube that seed 9 evaluates"):
        module.check_unseen(9, 12, WEIGHTS / "base", WEIGHTS / "adapter")
    assert "stack_cube: 12 of 12 layouts" in capsys.readouterr().out
    module.check_unseen(10, 12, WEIGHTS / "base", WEIGHTS / "adapter")
    (tmp_path / "recipe.json").write_text(json.dumps({"shards": []}))
    with pytest.raises(AssertionError, match="does not record its training data"):
        module.trained_on(tmp_path, WEIGHTS / "adapter")
