"""The options of a variation: their bounds, what is computed from them, and the suite that is made of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vlm2vla_sim.envs.backends import make_backend, own_options, takes_variation
from vlm2vla_sim.envs.colours import find_colour
from vlm2vla_sim.envs.distractors import choose_distractors, place_distractors
from vlm2vla_sim.envs.image_effects import ImageEffects
from vlm2vla_sim.envs.patterns import PATTERNS, pattern
from vlm2vla_sim.envs.photo import vary_photo
from vlm2vla_sim.envs.reset_options import choose_layout
from vlm2vla_sim.envs.simpler.backend import check_variation
from vlm2vla_sim.envs.tasks import TASKS, Task
from vlm2vla_sim.envs.variation import OPTIONS, Variation
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.suite_file import get_suite
from vlm2vla_sim.robots.kinematics import ArmKinematics

CARROT, SINK = TASKS["carrot_on_plate"], TASKS["eggplant_in_basket"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"light_strength": 0}, "light_strength is 0; expected 0.1 to 3 times"),
        ({"light_elevation": 5}, "15 to 90 degrees"),
        ({"camera_shift_x": "far"}, "camera_shift_x is 'far'; expected -15 to 15 cm"),
        ({"source_size": True}, "source_size is True"),
        ({"source_size": float("nan")}, "source_size is nan"),
        ({"distractors": 1.5}, "a whole number"),
        ({"jpeg_quality": 101}, "0 to 100"),
        ({"table_colour": "mauve"}, "magenta"),
        ({"table_colour": 3}, "expected the name of a colour"),
        ({"light_colour": "#12345"}, "#rrggbb"),
        ({"source_texture": "tartan"}, "checker"),
        ({"start_x": 15, "start_z": 15}, "out of the arm's reach"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(options, words):
    with pytest.raises((SettingError, UnknownNameError), match=words):
        Variation(**options).home(CARROT)


def test_the_defaults_change_nothing():
    same = Variation()
    assert same.changed == ()
    assert same.scale(CARROT) == CARROT
    assert np.array_equal(same.home(CARROT), CARROT.setup.home)
    images = {"primary": np.zeros((2, 2, 3), np.uint8)}
    assert ImageEffects(same).apply(images)["primary"] is images["primary"]


def test_a_scaled_object_has_the_mass_and_the_inertia_of_its_size():
    scaled = Variation(source_size=1.2).scale(CARROT)
    before, after = CARROT.source, scaled.source
    assert np.allclose(after.extents, 1.2 * np.array(before.extents))
    assert before.inertia is not None
    assert after.inertia is not None
    assert after.inertia.mass == pytest.approx(1.2**3 * before.inertia.mass)
    # Moments are per kilogram, so that the whole goes with the fifth power.
    assert np.allclose(after.inertia.moments, 1.2**2 * np.array(before.inertia.moments))
    assert scaled.target is CARROT.target
    with pytest.raises(SettingError, match="part of the scene"):
        Variation(target_size=1.1).scale(SINK)


def test_the_gripper_starts_where_it_is_asked_to():
    chain = ArmKinematics(CARROT.arm)
    usual, moved = (chain.forward(v.home(CARROT)) for v in (Variation(), Variation(start_x=4, start_y=-5, start_z=3)))
    assert np.allclose(moved.position - usual.position, [0.04, -0.05, 0.03], atol=1e-4)
    assert abs(usual.quaternion @ moved.quaternion) == pytest.approx(1, abs=1e-6)


def test_random_layouts_leave_the_region_by_the_margin_and_no_more():
    low = np.array(CARROT.region.source_low)
    below = []
    for seed in range(60):
        plain = CARROT.random_layout(np.random.default_rng(seed))
        layout, number = choose_layout(CARROT, {"layout": "random"}, "grid", np.random.default_rng(seed), 3.0)
        assert number == -1
        assert plain == choose_layout(CARROT, {"layout": "random"}, "grid", np.random.default_rng(seed))[0]
        below.append((low - layout.source_xy).max())
    assert 0.015 < max(below) <= 0.03
    for options in ({"episode_id": 3}, {}):
        with pytest.raises(SettingError, match="for random layouts"):
            choose_layout(CARROT, options, "grid", np.random.default_rng(0), 3.0)


def test_four_distractors_fit_beside_the_widest_layouts():
    task = TASKS["stack_cube"]
    for layout in task.layouts[4::10]:
        places = place_distractors(task, choose_distractors(task, 4), layout, np.random.default_rng(1))
        spots = np.array([xy for xy, _ in places] + [layout.source_xy, layout.target_xy])
        apart = np.linalg.norm(spots[:, None] - spots, axis=-1)[np.triu_indices(6, 1)]
        assert apart.min() > 0.05


def test_noise_depends_on_step_and_camera_and_not_on_who_looks():
    flat = {name: np.full((40, 60, 3), 128, np.uint8) for name in ("primary", "side")}
    seen, skipping = (ImageEffects(Variation(image_noise=20)) for _ in range(2))
    for effects in (seen, skipping):
        effects.start(np.random.default_rng(7))
    first = seen.apply(flat)
    assert np.std(first["primary"].astype(float)) == pytest.approx(20, rel=0.05)
    assert not np.array_equal(first["primary"], first["side"])
    seen.advance(), skipping.advance()
    second = seen.apply(flat)
    assert not np.array_equal(first["primary"], second["primary"])
    assert np.array_equal(second["primary"], skipping.apply(flat)["primary"])
    seen.start(np.random.default_rng(8))
    assert not np.array_equal(first["primary"], seen.apply(flat)["primary"])


def test_colour_shifts_and_compression():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, :8], image[:, 8:] = (200, 100, 50), (40, 80, 120)

    def change(**options: float | str) -> np.ndarray:
        return ImageEffects(Variation(**options)).apply({"primary": image})["primary"]  # pyright: ignore[reportArgumentType]

    assert change(image_brightness=0.5)[0, 0].tolist() == [100, 50, 25]
    grey = change(image_saturation=0)
    assert (grey == grey[..., :1]).all()
    assert np.ptp(change(image_contrast=0.5).astype(int)) == pytest.approx(np.ptp(image.astype(int)) / 2, abs=2)
    assert change(image_tint="#ff8000")[0, 0].tolist() == [200, 50, 0]
    assert np.abs(change(jpeg_quality=5).astype(int) - image).max() > 0
    assert image[0, 0].tolist() == [200, 100, 50]


def test_the_photo_turns_with_the_camera():
    columns, rows = np.meshgrid(np.arange(640), np.arange(480))
    photo = np.stack([columns / 640 * 255, rows / 480 * 255, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    middle, zoomed = photo[240, 320].astype(float), vary_photo(photo, CARROT.scene, Variation(camera_fov=34))
    assert np.allclose(zoomed[240, 320], middle, atol=2)
    scale = 623.588 * np.tan(np.radians(17)) / 240
    assert zoomed[240, 0, 0] == pytest.approx((320 - 320 * scale) / 640 * 255, abs=2)
    left = vary_photo(photo, CARROT.scene, Variation(camera_fov=34, camera_yaw=4))[240, 320].astype(float)
    up = vary_photo(photo, CARROT.scene, Variation(camera_fov=34, camera_pitch=3))[240, 320].astype(float)
    # The camera looks down by 45 degrees, so that a turn about the vertical moves the image by cos(45) of it.
    assert middle[0] - left[0] == pytest.approx(623.588 * np.tan(np.radians(4)) * 0.72 / 640 * 255, abs=4)
    assert middle[1] - up[1] == pytest.approx(623.588 * np.tan(np.radians(3)) / 480 * 255, abs=2)


def test_the_photo_is_recoloured_where_the_table_is():
    photo = np.full((480, 640, 3), 120, np.uint8)
    navy = vary_photo(photo, CARROT.scene, Variation(table_colour="navy"))
    table, wall = (slice(200, 400), slice(200, 500)), (slice(0, 40), slice(200, 600))
    assert np.allclose(navy[table], 255 * np.array(find_colour("navy")), atol=1)
    assert (navy[wall] == 120).all()
    striped = vary_photo(photo, CARROT.scene, Variation(backdrop_texture="stripes"))
    assert (striped[table] == 120).all()
    assert len(np.unique(striped[wall].reshape(-1, 3), axis=0)) > 1
    dark = vary_photo(photo, CARROT.scene, Variation(light_strength=0.5))
    assert dark.mean() == pytest.approx(120 * 0.5 ** (1 / 2.2), abs=1)


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        (CARROT, {"camera_shift_y": 3}, "camera_shift_y: behind robot and objects is a photo"),
        (CARROT, {"camera_yaw": 4}, "more than SIMPLER's photo shows"),
        (SINK, {"table_colour": "red"}, "cannot be told apart"),
        (SINK, {"target_colour": "red"}, "part of the scene"),
    ],
)
def test_what_the_true_scenes_cannot_show_is_said(task: Task, options, words):
    with pytest.raises(SettingError, match=words):
        check_variation(task, "simpler", Variation(**options))
    with pytest.raises(SettingError, match="profile 'maniskill3'"):
        check_variation(task, "maniskill3", Variation(source_size=1.1))


class MyTwin:
    """Hands on what it does not know."""

    def __init__(self, task: Task, **options: object) -> None:
        self.options = options

    reset = move = observe = status = close = lambda self: None


def test_the_options_are_found_by_name_and_reach_the_backend_as_a_record():
    for backend in ("mujoco", "simpler"):
        names = own_options(backend)
        assert names is not None
        assert set(OPTIONS) < set(names)
        assert "variation" not in names
    assert not takes_variation("point")
    assert make_backend(MyTwin, CARROT, image_size=None, quality="fast", distractors=2).options["distractors"] == 2


def test_every_pattern_is_seamless_and_in_its_colour():
    for name in PATTERNS:
        tile = pattern(name, "#40c080").astype(float)
        assert tile.std() > 5, name
        assert np.allclose(tile / np.array([0x40, 0xC0, 0x80]), tile[..., :1] / 0x40, atol=0.03), name


def test_the_suite_names_what_each_simulator_can_do():
    suite = get_suite("widowx-va")
    assert len(suite.rows) - 1 >= 24
    for row in suite.rows:
        variation = Variation(**row.condition.options)
        for place in row.condition.tasks:
            task = TASKS[place]
            variation.scale(task), variation.home(task), choose_distractors(task, variation.distractors)
            if row.offered_on("simpler"):
                check_variation(task, "simpler", variation)
        if not row.offered_on("simpler"):
            with pytest.raises(SettingError):
                check_variation(TASKS[row.condition.tasks[0]], "simpler", variation)
    page = (Path(__file__).parents[2] / "docs/variations.md").read_text(encoding="utf-8")
    assert not [name for name in OPTIONS if not re.search(rf"`{name}`", page)]
    assert not [row.condition.factor for row in suite.rows if row.condition.factor not in page]
