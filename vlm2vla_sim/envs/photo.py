"""SIMPLER's photo as the background of a varied scene: table, backdrop, light, and where the camera looks.

Table and backdrop are recoloured where the photo shows them, with the photo's own shading. Light multiplies the photo;
its direction does not reach it. A camera that only turns or zooms in sees another part of the same photo, exactly; one
that moves would see round corners, which no photo can show, and is refused.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from vlm2vla_sim.envs.colours import find_colour, hue
from vlm2vla_sim.envs.patterns import SIZE as TILE_PIXELS
from vlm2vla_sim.envs.patterns import pattern
from vlm2vla_sim.envs.simpler_camera import CENTRE, FOCAL, SIZE, focal
from vlm2vla_sim.envs.tasks import CameraPose, Scene
from vlm2vla_sim.envs.variation import Variation, axes_of, refuse
from vlm2vla_sim.errors import SettingError

EDGE = 0.028
"""[m] height of the table's front edge."""
TILE = 0.12
"""[m] side of one tile of a texture on the table."""
WALL_TILE = 60
"""[pixels] side of one tile on the backdrop, which has no one plane."""
GAMMA = 2.2
BLUR = 40
"""[pixels] over which shading is averaged where a texture hides what was there."""


def check_photo(scene: Scene, variation: Variation) -> None:
    """SettingError with a sentence for each option that SIMPLER's photo cannot follow."""
    refuse(
        variation.changes("camera_shift_"),
        "behind robot and objects is a photo, which is right from its own place only. Use the twin's drawn stage, or "
        "camera_yaw, camera_pitch and camera_fov.",
    )
    if scene.top is None:
        refuse(
            variation.changes("table_", "backdrop_"),
            f"in the photo of the scene {scene.name!r} table and backdrop cannot be told apart. Use the twin's drawn "
            "stage.",
        )
    if variation.changes("camera_"):
        _check_view(scene.camera, variation)


def vary_photo(photo: np.ndarray, scene: Scene, variation: Variation) -> np.ndarray:
    """The photo as the varied camera sees it. photo: (480, 640, 3) uint8 RGB; so is the result, a new array.

    Raises:
        SettingError: as `check_photo`.
    """
    check_photo(scene, variation)
    pixels = photo.astype(np.float64)
    if scene.top is not None and variation.changes("table_", "backdrop_"):
        table, places = _find_table(scene)
        if variation.table_colour or variation.table_texture:
            pixels = _cover(pixels, table, places / TILE, variation.table_texture, variation.table_colour)
        if variation.backdrop_colour or variation.backdrop_texture:
            columns, rows = _grid()
            places = np.stack([rows, columns], axis=-1) / WALL_TILE
            pixels = _cover(pixels, ~table, places, variation.backdrop_texture, variation.backdrop_colour)
    if variation.changes("light_strength", "light_colour"):
        pixels *= (variation.light_strength * np.array(hue(variation.light_colour))) ** (1 / GAMMA)
    changed = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return _turn(changed, scene.camera, variation) if variation.changes("camera_") else changed


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Column and row [pixels] of the middle of every pixel, (480, 640) each."""
    return np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)


def _find_table(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) bool: the table's top and front edge; (H, W, 2) x and y [m, base frame] on it."""
    assert scene.top is not None
    columns, rows = _grid()
    local = np.stack([np.ones_like(rows), (CENTRE[0] - columns) / FOCAL, (CENTRE[1] - rows) / FOCAL], axis=-1)
    rays = local @ axes_of(scene.camera.quaternion).T
    eye = np.array(scene.camera.position)
    (near, _), (far, left) = scene.top  # the right edge is outside the photo
    height = scene.support_height - scene.base.z
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = eye + rays * ((height - eye[2]) / rays[..., 2])[..., None]
        front = eye + rays * ((near - eye[0]) / rays[..., 0])[..., None]
    top = (rays[..., 2] < 0) & (flat[..., 0] >= near) & (flat[..., 0] <= far) & (flat[..., 1] <= left)
    edge = (front[..., 2] <= height) & (front[..., 2] >= height - EDGE) & (front[..., 1] <= left)
    edge &= ~top & (rays[..., 0] > 0)
    down = np.stack([near - (height - front[..., 2]), front[..., 1]], axis=-1)
    return top | edge, np.where(edge[..., None], down, flat[..., :2])


def _cover(pixels: np.ndarray, where: np.ndarray, places: np.ndarray, texture: str, colour: str) -> np.ndarray:
    """Paint the pixels of `where`. places: (H, W, 2) in tiles of the texture."""
    shade = pixels.mean(axis=-1)
    if texture:
        shade = _blur(np.where(where, shade, shade[where].mean()))
        at = np.floor(np.nan_to_num(places) % 1 * TILE_PIXELS).astype(int) % TILE_PIXELS
        paint = pattern(texture, colour)[at[..., 0], at[..., 1]].astype(np.float64)
    else:
        paint = np.broadcast_to(255 * np.array(find_colour(colour)), pixels.shape)
    shade = np.clip(shade / shade[where].mean(), 0.4, 1.6)
    return np.where(where[..., None], paint * shade[..., None], pixels)


def _blur(values: np.ndarray) -> np.ndarray:
    image = Image.fromarray(values.astype(np.float32))
    small = image.resize((SIZE[0] // BLUR, SIZE[1] // BLUR), Image.Resampling.BOX)
    return np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC), np.float64)


def _homography(camera: CameraPose, variation: Variation) -> np.ndarray:
    """(3, 3) that takes (column, row, 1) of the varied camera to that of SIMPLER's, up to scale."""
    before = axes_of(camera.quaternion)
    after = variation.turn_camera(before)
    # (column, row, 1) of a direction given as forward, left, up.
    project = np.array([[CENTRE[0], -FOCAL, 0], [CENTRE[1], 0, -FOCAL], [1, 0, 0]])
    zoomed = np.array([[CENTRE[0], -focal(variation), 0], [CENTRE[1], 0, -focal(variation)], [1, 0, 0]])
    return project @ before.T @ after @ np.linalg.inv(zoomed)


def _check_view(camera: CameraPose, variation: Variation) -> None:
    corners = np.array([[0, 0, 1], [SIZE[0], 0, 1], [0, SIZE[1], 1], [SIZE[0], SIZE[1], 1]])
    found = corners @ _homography(camera, variation).T
    found = found[:, :2] / found[:, 2:]
    if (found < -0.5).any() or (found > np.array(SIZE) + 0.5).any():
        given = ", ".join(f"{name}={getattr(variation, name):g}" for name in variation.changes("camera_"))
        raise SettingError(
            f"The camera would see more than SIMPLER's photo shows ({given} degrees). Make camera_fov smaller, or use "
            "the twin's drawn stage."
        )


def _turn(photo: np.ndarray, camera: CameraPose, variation: Variation) -> np.ndarray:
    numbers = _homography(camera, variation)
    numbers = (numbers / numbers[2, 2]).ravel()[:8]
    turned = Image.fromarray(photo).transform(
        SIZE, Image.Transform.PERSPECTIVE, tuple(numbers), Image.Resampling.BICUBIC
    )
    return np.asarray(turned)
