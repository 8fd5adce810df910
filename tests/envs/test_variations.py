"""Painted objects and distractors: seen, apart from the rest, the same again from a seed, and harmless."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.envs.colours import COLOURS
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite

CARROT = TASKS["carrot_on_plate"]


def start(task: str, seed: int = 3, **options):
    env = gym.make(f"vlm2vla_sim:vlm2vla/{task}-v0", **options).unwrapped
    observation, _ = env.reset(seed=seed, options={"episode_id": 4})
    return env, observation["pixels"]["primary"]


@pytest.mark.parametrize(("which", "name"), [("source_colour", "carrot"), ("target_colour", "plate")])
def test_an_object_is_painted_and_nothing_else_changes(which, name):
    plain, before = start("WidowXCarrotOnPlate")
    painted, after = start("WidowXCarrotOnPlate", **{which: "magenta"})
    shown = painted._backend.segmentation()
    number = next(n for n in np.unique(shown) if painted._backend.body_name(int(n)) == name)
    inside = shown == number
    red, green, blue = after[inside].astype(float).mean(axis=0)
    assert min(red, blue) > 2 * green, "magenta"
    assert abs(red / blue - COLOURS["magenta"][0] / COLOURS["magenta"][2]) < 0.35
    changed = np.abs(before.astype(int) - after).max(axis=2) > 12
    assert (changed & ~inside).mean() < 0.002, "no more than the object's rim"
    plain.close(), painted.close()


def test_distractors_lie_apart_from_the_tasks_objects_and_anew_with_every_seed():
    env, _ = start("WidowXCarrotOnPlate", distractors=3)
    names = [other.name for other in env._backend._distractors]
    assert names == ["spoon", "green_cube", "yellow_cube"]
    places = []
    for seed in (3, 3, 4):
        env.reset(seed=seed, options={"layout": "random"})
        spots = {name: env._backend._com(name).position[:2].copy() for name in ("carrot", "plate", *names)}
        places.append(np.array(list(spots.values())))
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(places[-1]) for b in places[-1][:i]]
        assert min(gaps) > 0.03
    assert np.array_equal(places[0], places[1])
    assert not np.allclose(places[1], places[2])
    env.close()


def test_with_distractors_the_upper_bound_still_reaches_its_goal(tmp_path):
    settings = RunSettings(
        tasks=("carrot_on_plate",),
        episodes=2,
        image_size=None,
        backend_options={"distractors": 2, "source_colour": "navy"},
    )
    assert run_suite(settings, out=tmp_path / "run", video=False).summary.overall.success_at_end.k == 2


def middle_of_target(**options) -> tuple[float, float, float]:
    """Column and row of the target's middle, and its area, as shares of the image."""
    env, _ = start("WidowXCarrotOnPlate", image_size=(120, 160), **options)
    shown = env._backend.segmentation()
    number = next(n for n in np.unique(shown) if env._backend.body_name(int(n)) == "plate")
    rows, columns = np.nonzero(shown == number)
    env.close()
    return columns.mean() / 160, rows.mean() / 120, len(rows) / shown.size


def test_the_camera_moves_turns_and_zooms_in_the_directions_it_is_asked_to():
    column, row, area = middle_of_target()
    left, right = middle_of_target(camera_yaw=4), middle_of_target(camera_shift_y=-5)
    assert left[0] > column + 0.03
    assert right[0] < column - 0.03
    assert middle_of_target(camera_pitch=3)[1] > row + 0.05
    assert middle_of_target(camera_fov=34)[2] == pytest.approx(
        area * (np.tan(np.radians(21.05)) / np.tan(np.radians(17))) ** 2, rel=0.05
    )


def test_light_has_the_strength_colour_and_direction_that_it_is_given():
    plain, before = start("WidowXStackCube", image_size=(120, 160))
    dim, after = start("WidowXStackCube", image_size=(120, 160), light_strength=0.4, light_colour="#ff8040")
    share = after.reshape(-1, 3).mean(axis=0) / before.reshape(-1, 3).mean(axis=0)
    assert np.allclose(share, (0.4 * np.array([1, 0.502, 0.251])) ** (1 / 2.2), rtol=0.06)
    lit, side = start("WidowXStackCube", image_size=(120, 160), light_azimuth=-90, light_elevation=30)
    down = lit._backend._model.light_dir[lit._backend._model.light("lamp").id]
    assert np.allclose(down, [0, np.cos(np.radians(30)), -0.5], atol=1e-6), "from the right, to the left"
    assert np.abs(side.astype(int) - before).max() > 40
    plain.close(), dim.close(), lit.close()


def test_table_and_backdrop_are_painted_apart():
    _, before = start("WidowXCarrotOnPlate", image_size=(120, 160))
    env, table = start("WidowXCarrotOnPlate", image_size=(120, 160), table_texture="checker")
    other, wall = start("WidowXCarrotOnPlate", image_size=(120, 160), backdrop_colour="lime")
    stage = env._backend.segmentation() == 0
    on_table, behind = np.zeros_like(stage), np.zeros_like(stage)
    on_table[50:100, 50:120], behind[:10, 50:] = True, True
    for image, changed, kept in ((table, on_table, behind), (wall, behind, on_table)):
        assert (image[changed & stage] != before[changed & stage]).any(axis=-1).mean() > 0.9
        assert (image[kept & stage] == before[kept & stage]).all()
    env.close(), other.close()


def test_a_larger_object_is_larger_in_every_respect():
    plain, _ = start("WidowXCarrotOnPlate", image_size=(120, 160))
    large, _ = start("WidowXCarrotOnPlate", image_size=(120, 160), source_size=1.25, source_texture="dots")
    ratios = []
    for env in (plain, large):
        model, body = env._backend._model, env._backend._model.body("carrot")
        geoms = np.arange(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
        sizes = {group: model.geom_aabb[geoms[model.geom_group[geoms] == group], 3:].max(axis=0) for group in (2, 3)}
        scene = env.scene_state()
        height = scene.source.pose.position[2] - (CARROT.scene.support_height - CARROT.scene.base.z)
        ratios.append(np.array([*sizes[2], *sizes[3], body.mass[0] ** (1 / 3), *scene.source.extents, height]))
    assert np.allclose(ratios[1] / ratios[0], 1.25, rtol=0.04)
    plain.close(), large.close()


def test_noise_is_the_same_in_images_on_demand_and_leaves_the_layout_alone():
    side = {"side": {"position": (0.3, -0.6, 0.4), "look_at": (0.3, 0.0, 0.0)}}
    images, places = [], []
    for options, on_demand in (({"image_noise": 30}, False), ({"image_noise": 30}, True), ({}, False)):
        env = gym.make(
            "vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0", image_size=(48, 64), cameras=side, distractors=1, **options
        ).unwrapped
        env.images_on_demand = on_demand
        env.reset(seed=11, options={"layout": "random"})
        for _ in range(2):
            observation, *_ = env.step(np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32))
        images.append(dict(observation["pixels"]))
        scene = env.scene_state()
        places.append([scene.source.pose.position, *(other.pose.position for other in scene.others)])
        env.close()
    for name in ("primary", "side"):
        assert np.array_equal(images[0][name], images[1][name])
        assert np.std(images[0][name].astype(float) - images[2][name]) > 20
    assert np.array_equal(places[0], places[2])


@pytest.mark.parametrize(
    ("task", "options", "kind", "words"),
    [
        ("WidowXCarrotOnPlate", {"source_colour": "mauve"}, UnknownNameError, "magenta"),
        ("WidowXCarrotOnPlate", {"distractors": 9}, SettingError, "expected 0 to 4"),
        ("WidowXEggplantInBasket", {"distractors": 1}, SettingError, "no room"),
        ("WidowXEggplantInBasket", {"target_colour": "red"}, SettingError, "part of the scene"),
    ],
)
def test_what_cannot_be_varied_is_said(task, options, kind, words):
    with pytest.raises(kind, match=words):
        gym.make(f"vlm2vla_sim:vlm2vla/{task}-v0", **options)
