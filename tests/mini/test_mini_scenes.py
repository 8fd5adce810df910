"""Rendered scenes show what their annotations say, are reproducible, and survive storage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import GRIPPER
from vlm2vla_sim.mini.scenes.object_catalog import CATALOG, CLASSES, HELD_OUT_COLOURS
from vlm2vla_sim.mini.scenes.scene_renderer import RenderedScene, SceneRenderer, open_renderers
from vlm2vla_sim.mini.scenes.stages import STAGES
from vlm2vla_sim.mini.training import scene_questions

BASKET = "basket"
"""Part of the sink: it has no body, and so no pixels of its own."""


@pytest.fixture(scope="module")
def renderers() -> Iterator[tuple[SceneRenderer, SceneRenderer]]:
    opened = open_renderers()
    yield opened
    for renderer in opened:
        renderer.close()


@pytest.fixture(scope="module")
def scenes(renderers: tuple[SceneRenderer, SceneRenderer]) -> list[RenderedScene]:
    rng = np.random.default_rng(3)
    return [renderers[index % 4 == 3].sample(rng) for index in range(48)]


def test_the_same_seed_gives_the_same_scene_and_image(renderers: tuple[SceneRenderer, SceneRenderer]) -> None:
    first, again = (renderers[0].sample(np.random.default_rng(9)) for _ in range(2))
    assert first.annotation == again.annotation
    assert np.array_equal(first.image, again.image)


def test_pixel_counts_agree_with_the_class_map(scenes: list[RenderedScene]) -> None:
    for scene in scenes:
        for item in scene.annotation.objects:
            if item.class_name != BASKET:
                assert item.pixels == int((scene.class_map == CLASSES.index(item.class_name)).sum())
    assert sum(len(scene_questions.visible(scene.annotation)) for scene in scenes) > len(scenes)


def test_an_object_farther_to_the_robots_left_is_farther_left_in_the_image(scenes: list[RenderedScene]) -> None:
    ordered = []
    for scene in scenes:
        items = [item for item in scene_questions.visible(scene.annotation) if item.class_name != BASKET]
        for one in items:
            for other in items:
                if one.position[1] - other.position[1] > 0.06 and GRIPPER not in (one.support, other.support):
                    maps = [scene.class_map == CLASSES.index(item.class_name) for item in (one, other)]
                    columns = [np.nonzero(seen)[1].mean() for seen in maps]
                    ordered.append(columns[0] < columns[1])
    assert len(ordered) > 10
    assert np.mean(ordered) > 0.8  # the camera looks at an angle, so not every pair


def test_only_a_held_object_is_at_the_gripper(scenes: list[RenderedScene]) -> None:
    held = 0
    for scene in scenes:
        annotation = scene.annotation
        for item in annotation.objects:
            if item.support == GRIPPER:
                held += 1
                assert float(np.linalg.norm(np.subtract(item.position, annotation.tcp_position))) < 0.05
        assert (annotation.held != "") == any(item.support == GRIPPER for item in annotation.objects)
    assert held > 3


def test_held_out_colours_are_never_used(scenes: list[RenderedScene]) -> None:
    assert not {item.colour for scene in scenes for item in scene.annotation.objects} & set(HELD_OUT_COLOURS)


def test_a_cell_of_the_stored_class_map_has_its_most_frequent_class() -> None:
    class_map = np.zeros((4, 8), np.uint8)
    class_map[:2, :4], class_map[0, 0] = 3, 5
    assert rendered_dataset.majority_classes(class_map, 2).tolist() == [[3, 0], [0, 0]]


def test_answers_follow_from_the_annotation(scenes: list[RenderedScene]) -> None:
    rng = np.random.default_rng(0)
    for scene in scenes:
        for one in scene_questions.sample(scene.annotation, rng, count=5):
            if one.category == "held":
                assert one.answer == (scene.annotation.held.replace("cube", "block") or "nothing")
            if one.category == "where" and "nowhere" not in one.answer:
                name = re.findall(r"here (?:is )?the (.+?)(?: is\.|\?)", one.question)[0]
                item = next(item for item in scene.annotation.objects if scene_questions.spoken(item) == name)
                sentence = f"the {name} is at " if one.question.startswith("Say") else ""
                assert one.answer.startswith(sentence)
                x, y, _ = (int(word) for word in one.answer.removeprefix(sentence).split(",")[:3])
                assert abs(x - 100 * item.position[0]) <= 0.5 + 1e-6
                assert abs(y - 100 * item.position[1]) <= 0.5 + 1e-6


def test_every_object_and_stage_of_the_tasks_is_in_the_catalog() -> None:
    specs = [item.spec for item in CATALOG]
    for task in TASKS.values():
        assert task.source in specs
        assert task.target in specs
        assert CATALOG[specs.index(task.source)].grasp is not None
        assert CATALOG[specs.index(task.target)].placement is not None
        assert task.scene.name in STAGES
    assert CLASSES == (
        "stage", "robot", "carrot", "plate", "spoon", "towel", "green cube", "yellow cube", "eggplant", "basket",
    ), "the shipped weights and stored class maps depend on the class numbers"  # fmt: skip


def test_a_shard_is_read_as_it_was_rendered_and_not_rendered_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered_dataset, "SHARD_SIZE", 3)
    rendered_dataset.render_shards(tmp_path, [4])
    assert list(rendered_dataset.shard_numbers(tmp_path)) == [4]
    shard = rendered_dataset.read_shard(tmp_path, 4)
    assert (shard.images.shape, shard.class_maps.shape) == ((3, 224, 224, 3), (3, 56, 56))
    assert all(isinstance(item.position, tuple) for item in shard.annotations[0].objects)
    before = (tmp_path / "000004.images.npy").stat().st_mtime_ns
    rendered_dataset.render_shards(tmp_path, [4])
    assert (tmp_path / "000004.images.npy").stat().st_mtime_ns == before


def test_a_shard_with_the_old_file_and_key_names_is_read(tmp_path: Path) -> None:
    images = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(1, 224, 224, 3)
    np.save(tmp_path / "000001.pictures.npy", images)
    np.save(tmp_path / "000001.seen.npy", np.full((1, 56, 56), 2, np.uint8))
    carrot = {
        "name": "red cube", "kind": "green cube", "position": [0.3, 0.1, 0.02], "yaw": 5.0, "on": GRIPPER,
        "pixels": 900, "colour": "red",
    }  # fmt: skip
    scene = {"stage": "table", "things": [carrot], "gripper": [0.3, 0.0, 0.1], "turn": 30.0, "opening": 0.4}
    (tmp_path / "000001.jsonl").write_text(json.dumps(scene), encoding="utf-8")
    shard = rendered_dataset.read_shard(tmp_path, 1)
    assert np.array_equal(shard.images, images)
    assert (shard.class_maps == 2).all()
    (annotation,) = shard.annotations
    assert (annotation.tcp_position, annotation.gripper_yaw, annotation.gripper_opening) == ((0.3, 0.0, 0.1), 30.0, 0.4)
    (item,) = annotation.objects
    assert (item.name, item.class_name, item.support) == ("red cube", "green cube", GRIPPER)


def test_rendering_is_refused_before_it_starts_if_the_disk_is_too_small(tmp_path: Path) -> None:
    rendered_dataset.check_disk_space(tmp_path, [1])
    with pytest.raises(RunFolderError, match=r"100000 shards need 154\d\d\.\d GB .* free some space, or render fewer"):
        rendered_dataset.check_disk_space(tmp_path, range(100_000))
