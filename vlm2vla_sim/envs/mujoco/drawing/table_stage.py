"""The look of the table scene: a reddish wooden table in the corner of two cloth-covered walls, as in SIMPLER's photo.

Lengths [m], base frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco.drawing import textures
from vlm2vla_sim.envs.mujoco.drawing.paint import Paint, add_visual
from vlm2vla_sim.envs.mujoco.drawing.photo import AHEAD, UP, Patch, Photo
from vlm2vla_sim.envs.mujoco.drawing.photo import LEFT as ASIDE
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh, merge, sheet, tinted
from vlm2vla_sim.envs.tasks import TABLE

assert TABLE.top is not None
(NEAR, RIGHT), (FAR, LEFT) = TABLE.top
"""The table top's edges; the right one is outside the image, the top continues as far again."""
TOP = TABLE.support_height - TABLE.base.z
THICKNESS = 0.028
CORNER = 0.012
"""Radius of the far left corner."""

# Mean colours of the photo's table top, looked at from above: rows from the far edge to the near one, columns from left
# to right, 71 by 72 mm each. simpler-env/ManiSkill2_real2sim@ef7a4d4 data/real_inpainting/bridge_real_eval_1.png
_TOP_COLOURS = """
b78475 a86955 964e36 9a4b2f 9c4b2f 96482d 974f34 9d5941 9d5941
bb8270 bf897e ae6951 a8593b a55333 a35437 ac694e bc826c bc826c
b77b65 c18879 ba7b6b af6347 aa5a37 ad5e3d b6765b ca9683 ca9683
b17055 bc7f6a be806b ab664b ac5e3c ae6140 b4765c bd8b79 bd8b79
b37155 b67961 b57860 a8684f a95e3e ab603e b17155 bd8470 bd8470
"""


# Farther away than in the photo's room, so that they reach below the table top and cast no shadow on it.
_BACK_WALL = Patch((0.85, 0, 0), AHEAD, ((184.5, -120), (760, -120), (184, 120), (760, 330)))
_LEFT_WALL = Patch((0, 0.65, 0), ASIDE, ((-120, -120), (184.5, -120), (-120, 330), (184, 120)))
# Visible below the near edge of the table: 8-bit RGB and place.
_BELOW = (
    ((49, 53, 61), Patch((0, 0, -0.30), UP, ((-80, 300), (160, 400), (-80, 640), (95, 500)))),
    ((128, 105, 86), Patch((0, 0, -0.305), UP, ((100, 400), (330, 520), (80, 520), (330, 620)))),
    ((78, 62, 52), Patch((0, 0, -0.304), UP, ((148, 438), (160, 444), (158, 462), (176, 474)))),
    ((168, 145, 122), Patch((0, 0, -0.3035), UP, ((166, 447), (176, 452), (186, 478), (196, 482)))),
    ((30, 28, 28), Patch((0, 0, -0.303), UP, ((185, 462), (330, 540), (200, 500), (330, 600)))),
    ((84, 84, 88), Patch((0, 0, -0.29), UP, ((-40, 437), (0, 449), (-40, 466), (42, 500)))),
    ((24, 22, 26), Patch((0, 0, -0.2895), UP, ((-40, 433), (0, 446), (-40, 437), (0, 450)))),
    ((24, 22, 26), Patch((0, 0, -0.2895), UP, ((0, 446), (46, 484), (0, 450), (42, 486)))),
    ((196, 192, 188), Patch((0, 0, -0.288), UP, ((-40, 462), (0, 466), (-40, 520), (20, 490)))),
)


def add_table_stage(spec: mujoco.MjSpec, photo: Photo) -> None:
    """Add the table, the two walls and what is visible below the table."""
    world = spec.worldbody
    add_visual(world, spec, "look_table", mesh=_table(), paint=Paint(_wood(), glow=0.7))
    cloth = Paint(textures.fabric((112, 111, 115), seed=12, contrast=1.05), glow=0.95)
    add_visual(world, spec, "look_back_wall", mesh=_panel(photo.corners(_BACK_WALL), 0.25), paint=cloth)
    cloth = Paint(textures.fabric((126, 131, 137), seed=13, contrast=0.4), glow=0.95)
    add_visual(world, spec, "look_left_wall", mesh=_panel(photo.corners(_LEFT_WALL), 0.25), paint=cloth)
    pieces = [tinted(photo.mesh(patch), index, len(_BELOW)) for index, (_, patch) in enumerate(_BELOW)]
    plain = Paint(textures.palette([colour for colour, _ in _BELOW]), glow=0.95)
    add_visual(world, spec, "look_below", mesh=merge(pieces), paint=plain)


def _wood() -> np.ndarray:
    """(512, 512, 3) uint8: the top, and in the last rows the front below it."""
    image = textures.wood(textures.colour_map(_TOP_COLOURS), (512, 512), seed=11)
    front = round(512 * THICKNESS / (FAR - NEAR + THICKNESS))
    # The front is in shadow.
    image[-front:] = textures.to_image(image[-front:] * np.array([0.84, 0.66, 0.58]))
    return image


def _panel(corners: np.ndarray, tile: float) -> Mesh:
    """A flat piece of wall between (2, 2, 3) corners, with a texture repeated every `tile` metres."""
    across, down = corners[0, 1] - corners[0, 0], corners[1, 0] - corners[0, 0]
    across = across / np.linalg.norm(across)
    down = down - across * (down @ across)
    uv = (corners - corners[0, 0]) @ np.stack([across, down / np.linalg.norm(down)], axis=1) / tile
    return sheet(corners, uv)


def _table() -> Mesh:
    """The top with its rounded far left corner and the rounded edge in front, one texture over all of it."""
    # Rows from the far edge to the near one and down its front: x, z, and where the left edge is.
    turn = np.linspace(0, np.pi / 2, 5)
    corner = [(FAR - CORNER * (1 - np.sin(t)), LEFT - CORNER * (1 - np.cos(t))) for t in turn]
    rows = [(x, TOP, y) for x, y in corner[::-1]] + [(NEAR, TOP, LEFT)]
    radius = 0.005
    rows += [(NEAR - radius * np.sin(t), TOP - radius * (1 - np.cos(t)), LEFT) for t in turn[1:]]
    rows += [(NEAR - radius, TOP - THICKNESS, LEFT)]
    x, z, left = np.array(rows).T
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    y = np.stack([left, np.full(len(x), RIGHT), np.full(len(x), 2 * RIGHT - LEFT)], axis=1)
    u = (LEFT - y) / (LEFT - RIGHT)
    points = np.stack([np.broadcast_to(x[:, None], y.shape), y, np.broadcast_to(z[:, None], y.shape)], axis=-1)
    v = np.broadcast_to(length[:, None] / length[-1], y.shape)
    # Beyond the right edge the texture is mirrored.
    return sheet(points, np.stack([np.where(u > 1, 2 - u, u), v], axis=-1))
