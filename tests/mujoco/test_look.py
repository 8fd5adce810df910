"""The twin looks like SIMPLER: its first images are held against those of the original.

The golden frames are the first frames of the original SimplerEnv (ManiSkill 2), episode 0, halved to 320 x 240.
Positions are given in pixels of the full 640 x 480 image.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import mujoco
import numpy as np
import pytest
from PIL import Image

from vlm2vla_sim.envs.mujoco.backend import MujocoBackend
from vlm2vla_sim.envs.mujoco.drawing import textures
from vlm2vla_sim.envs.tasks import TASKS

GOLDEN = Path(__file__).parents[1] / "data" / "simpler_frames"


@cache
def ours(task: str, quality: str = "fast", size: tuple[int, int] = (480, 640)) -> np.ndarray:
    """(H, W, 3) int64: the twin's first image of episode 0."""
    backend = MujocoBackend(TASKS[task], image_size=size, quality=quality)
    backend.reset(TASKS[task].layout(0), np.random.default_rng(0))
    image = backend.observe()["pixels"]["primary"].astype(int)
    backend.close()
    return image


def halved(image: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))


@cache
def golden(task: str) -> np.ndarray:
    """(240, 320, 3) int64: SIMPLER's first image of episode 0."""
    return np.array(Image.open(GOLDEN / f"{task}.png").convert("RGB")).astype(int)


def mean_colour(half_picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Mean RGB in a box (left, top, right, bottom), in pixels of the full image."""
    left, top, right, bottom = (edge // 2 for edge in box)
    return half_picture[top:bottom, left:right].reshape(-1, 3).mean(axis=0)


# Where table and walls meet ------------------------------------------------------------------------------------------


def first_wood(half_picture: np.ndarray, column: int) -> int:
    """The first row, from above, of reddish pixels (four in a row) in a column of the full image."""
    strip = half_picture[:, column // 2]
    wood = strip[:, 0] - strip[:, 2] > 30
    return 2 * int(np.argmax(wood[:-3] & wood[1:-2] & wood[2:-1] & wood[3:]))


def last_wood(half_picture: np.ndarray, column: int) -> int:
    """The last row of reddish pixels before the dark cloth below the table."""
    strip = half_picture[:, column // 2]
    return 2 * int(np.flatnonzero(strip[:, 0] - strip[:, 2] > 30).max())


@pytest.mark.parametrize("column", [4, 40, 80, 120, 200, 240, 430, 480, 540, 600, 636])
def test_the_far_edges_of_the_table_are_where_simpler_has_them(column):
    there = first_wood(golden("stack_cube"), column)
    assert 70 < there < 240, "the golden edge was found"
    assert abs(first_wood(halved(ours("stack_cube")), column) - there) <= 4


@pytest.mark.parametrize("column", [4, 30, 60, 90])
def test_the_near_edge_of_the_table_is_where_simpler_has_it(column):
    there = last_wood(golden("stack_cube"), column)
    assert 340 < there < 440, "the golden edge was found"
    assert abs(last_wood(halved(ours("stack_cube")), column) - there) <= 4


def test_the_walls_meet_where_simpler_has_their_corner():
    def corner(image: np.ndarray) -> int:
        """The column, in the rows above the table, left of which it is brightest against what is right of it."""
        row = image[5:25, 60:130].mean(axis=(0, 2))
        jumps = [row[i - 8 : i].mean() - row[i : i + 8].mean() for i in range(10, 60)]
        return 120 + 2 * (10 + int(np.argmax(jumps)))

    assert abs(corner(halved(ours("stack_cube"))) - corner(golden("stack_cube"))) <= 12


# Colours -------------------------------------------------------------------------------------------------------------

REGIONS = [
    ("stack_cube", "table, left", (60, 200, 180, 300), 8),
    ("stack_cube", "table, middle", (220, 300, 420, 440), 8),
    ("stack_cube", "table, right", (500, 240, 620, 420), 8),
    ("stack_cube", "back wall", (440, 10, 620, 120), 8),
    ("stack_cube", "left wall", (20, 20, 140, 70), 8),
    ("stack_cube", "below the table", (10, 396, 70, 440), 8),
    ("stack_cube", "green cube, top", (272, 170, 286, 178), 10),
    ("stack_cube", "green cube, front", (262, 190, 276, 200), 10),
    ("stack_cube", "yellow cube, top", (376, 206, 392, 214), 10),
    ("stack_cube", "yellow cube, front", (366, 230, 380, 242), 10),
    ("stack_cube", "gripper", (310, 10, 340, 50), 12),
    ("carrot_on_plate", "plate", (390, 210, 460, 250), 10),
    ("carrot_on_plate", "carrot", (250, 166, 268, 180), 20),
    ("spoon_on_towel", "towel", (390, 200, 450, 260), 12),
    ("spoon_on_towel", "spoon", (242, 182, 262, 196), 25),
    ("eggplant_in_basket", "counter, front", (260, 320, 330, 340), 12),
    ("eggplant_in_basket", "counter, right", (606, 300, 626, 380), 12),
    ("eggplant_in_basket", "tub, floor", (450, 260, 520, 350), 10),
    ("eggplant_in_basket", "tub, back wall", (420, 170, 520, 190), 12),
    ("eggplant_in_basket", "tub, right wall", (560, 310, 580, 350), 12),
    ("eggplant_in_basket", "drainer, near side", (40, 180, 140, 270), 20),
    ("eggplant_in_basket", "drainer, far side", (190, 115, 250, 140), 20),
    ("eggplant_in_basket", "faucet", (570, 135, 620, 150), 12),
    ("eggplant_in_basket", "tower", (370, 20, 430, 90), 15),
    ("eggplant_in_basket", "wooden table", (20, 360, 100, 410), 18),
    ("eggplant_in_basket", "tiles", (20, 20, 120, 100), 15),
]


@pytest.mark.parametrize(("task", "what", "box", "tolerance"), REGIONS, ids=[f"{r[0]}: {r[1]}" for r in REGIONS])
def test_a_region_has_simplers_colour(task, what, box, tolerance):
    difference = mean_colour(halved(ours(task)), box) - mean_colour(golden(task), box)
    assert np.abs(difference).max() <= tolerance, f"{what}: ours minus SIMPLER's is {difference.round()}"


@pytest.mark.parametrize("task", list(TASKS))
def test_the_whole_picture_is_near_simplers(task):
    """A flat grey image would be 30 to 45 away; the arm, edges and grain leave a little."""
    assert np.abs(halved(ours(task)) - golden(task)).mean() < 11


# Objects -------------------------------------------------------------------------------------------------------------


def plate(r, g, b):
    return (g > 200) & (b < 200) & (g > r)


def carrot(r, g, b):
    return (r > 190) & (r - b > 120) & (g < 190)


def towel(r, g, b):
    return (b > 150) & (b > r + 25)


def spoon(r, g, b):
    return (g > r + 8) & (g > b + 40)


def green(r, g, b):
    return (g > r + 12) & (g > b + 8)


def yellow(r, g, b):
    return (r > 195) & (g > 150) & (r - b > 50)


def eggplant(r, g, b):
    return (b > g + 20) & (r > g + 15)


@pytest.mark.parametrize(
    ("task", "belongs", "box"),
    [
        ("carrot_on_plate", plate, (340, 170, 500, 290)),
        ("carrot_on_plate", carrot, (220, 140, 300, 210)),
        ("spoon_on_towel", towel, (330, 170, 510, 300)),
        ("spoon_on_towel", spoon, (215, 140, 300, 220)),
        ("stack_cube", green, (240, 150, 320, 230)),
        ("stack_cube", yellow, (345, 185, 420, 265)),
        ("eggplant_in_basket", eggplant, (310, 240, 430, 360)),
    ],
)
def test_an_object_is_seen_where_simpler_shows_it(task, belongs, box):
    left, top, right, bottom = (edge // 2 for edge in box)
    centres, areas = [], []
    for image in (halved(ours(task)), golden(task)):
        rows, columns = np.nonzero(belongs(*np.moveaxis(image[top:bottom, left:right], -1, 0)))
        centres.append(2 * np.array([columns.mean(), rows.mean()]))
        areas.append(len(rows))
    assert areas[1] > 150, "the golden object was found"
    assert 0.7 < areas[0] / areas[1] < 1.4
    assert np.abs(centres[0] - centres[1]).max() <= 8


# The image's own rules ---------------------------------------------------------------------------------------------


def test_a_smaller_picture_shows_the_same_view():
    assert np.abs(ours("stack_cube", size=(240, 320)) - halved(ours("stack_cube"))).mean() < 4


def test_a_square_picture_shows_the_middle_of_the_view():
    square, wide = ours("stack_cube", size=(240, 240)), halved(ours("stack_cube"))[:, 40:280]
    assert np.abs(square - wide).mean() < 4
    assert np.abs(square - np.roll(wide, 12, axis=1)).mean() > 8, "another part of the view would not pass"


def test_only_high_quality_casts_shadows():
    box = (430, 270, 520, 470)  # the table beside the plate, where the arm's shadow falls
    fast = mean_colour(halved(ours("carrot_on_plate")), box)
    high = mean_colour(halved(ours("carrot_on_plate", quality="high")), box)
    assert np.all(high < 0.93 * fast)
    assert np.abs(fast - mean_colour(golden("carrot_on_plate"), box)).max() < 8, "as in SIMPLER, which casts none"


def test_two_builds_give_the_same_bytes():
    first = ours("spoon_on_towel")
    ours.cache_clear()
    assert np.array_equal(first, ours("spoon_on_towel"))


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: textures.wood(np.full((2, 2, 3), 128.0), (64, 96), seed=seed),
        lambda seed: textures.fabric((110, 110, 114), size=64, seed=seed),
        lambda seed: textures.carrot(32, seed=seed),
        lambda seed: textures.towel(32, seed=seed),
    ],
)
def test_a_texture_depends_on_its_seed_and_on_nothing_else(draw):
    assert draw(3).tobytes() == draw(3).tobytes()
    assert draw(3).tobytes() != draw(4).tobytes()
    assert draw(3).dtype == np.uint8


def test_fabric_repeats_without_a_seam():
    image = textures.fabric((110, 110, 114), size=64, seed=5).astype(float)
    inside = np.abs(np.diff(image, axis=0)).mean()
    seam = np.abs(image[0] - image[-1]).mean()
    assert seam < 2 * inside


def test_nothing_that_is_drawn_can_be_touched_or_weighs_anything():
    for task in TASKS.values():
        backend = MujocoBackend(task)
        model = backend._model
        drawn = model.geom_group == 2
        assert drawn.any()
        assert not model.geom_contype[drawn].any()
        assert not model.geom_conaffinity[drawn].any()
        assert (model.geom_type[drawn] == int(mujoco.mjtGeom.mjGEOM_MESH)).all()
