"""How the table scene looks: a reddish wooden table in the corner of two cloth-covered walls, as in SIMPLER's photo.

The pixel positions below were read off that photo and become places in space by following the camera's rays, so that an
edge of the twin is seen where the edge of the photo is.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco import textures
from vlm2vla_sim.envs.mujoco.paint import Paint, add_visual
from vlm2vla_sim.envs.mujoco.shapes import Mesh, merge, sheet, tinted

OnPlane = Callable[[np.ndarray, tuple[float, float, float], list[tuple[float, float]]], np.ndarray]

FAR, NEAR, LEFT, RIGHT = 0.4925, 0.1360, 0.3260, -0.3140
"""The table top's edges [m], base frame; the right one is out of sight, the top goes on as far again."""
TOP = -0.00047
THICKNESS = 0.028
CORNER = 0.012
"""[m] radius of the rounded corner."""

# Mean colours of the photo's table top, looked at from above: rows from the far edge to the near one, columns from left
# to right, 71 by 72 mm each. simpler-env/ManiSkill2_real2sim@ef7a4d4 data/real_inpainting/bridge_real_eval_1.png
_TOP_COLOURS = """
b78475 a86955 964e36 9a4b2f 9c4b2f 96482d 974f34 9d5941 9d5941
bb8270 bf897e ae6951 a8593b a55333 a35437 ac694e bc826c bc826c
b77b65 c18879 ba7b6b af6347 aa5a37 ad5e3d b6765b ca9683 ca9683
b17055 bc7f6a be806b ab664b ac5e3c ae6140 b4765c bd8b79 bd8b79
b37155 b67961 b57860 a8684f a95e3e ab603e b17155 bd8470 bd8470
"""


def add_table_stage(spec: mujoco.MjSpec, on_plane: OnPlane) -> None:
    """Add table, walls and floor. `on_plane` gives the points of a plane that are seen at pixels of the photo."""
    world = spec.worldbody
    grain = textures.wood(textures.colour_map(_TOP_COLOURS), (512, 512), seed=11)
    # The front below the rounded edge is seen against the light.
    front = round(512 * THICKNESS / (FAR - NEAR + THICKNESS))
    grain[-front:] = textures.to_picture(grain[-front:] * np.array([0.84, 0.66, 0.58]))
    wood = Paint(grain, glow=0.7)
    add_visual(world, spec, "look_table", mesh=_table(), paint=wood)

    back = on_plane(np.array([0.545, 0, 0]), (1, 0, 0), [(184.5, -120), (760, -120), (184, 120), (760, 330)])
    left = np.stack([back[0] + [-0.75, 0.06, 0.1], back[0], back[2] + [-0.75, 0.02, -0.1], back[2]])
    cloth = Paint(textures.fabric((112, 111, 115), seed=12, contrast=1.05), glow=0.95)
    add_visual(world, spec, "look_back_wall", mesh=_panel(back, 0.16), paint=cloth)
    cloth = Paint(textures.fabric((126, 131, 137), seed=13, contrast=0.4), glow=0.95)
    add_visual(world, spec, "look_left_wall", mesh=_panel(left, 0.16), paint=cloth)
    pieces = [
        tinted(sheet(on_plane(np.array([0, 0, z]), (0, 0, 1), pixels).reshape(2, 2, 3)), index, len(_BELOW))
        for index, (_, z, pixels) in enumerate(_BELOW)
    ]
    plain = Paint(textures.palette([colour for colour, _, _ in _BELOW]), glow=0.95)
    add_visual(world, spec, "look_below", mesh=merge(pieces), paint=plain)


# What is seen below the table's near edge: 8-bit RGB, height [m], pixels (top left and right, bottom left and right).
_BELOW = (
    ((49, 53, 61), -0.30, [(-80, 300), (160, 400), (-80, 640), (95, 500)]),
    ((128, 105, 86), -0.305, [(100, 400), (330, 520), (80, 520), (330, 620)]),
    ((78, 62, 52), -0.304, [(148, 438), (160, 444), (158, 462), (176, 474)]),
    ((168, 145, 122), -0.3035, [(166, 447), (176, 452), (186, 478), (196, 482)]),
    ((30, 28, 28), -0.303, [(185, 462), (330, 540), (200, 500), (330, 600)]),
    ((84, 84, 88), -0.29, [(-40, 437), (0, 449), (-40, 466), (42, 500)]),
    ((24, 22, 26), -0.2895, [(-40, 433), (0, 446), (-40, 437), (0, 450)]),
    ((24, 22, 26), -0.2895, [(0, 446), (46, 484), (0, 450), (42, 486)]),
    ((196, 192, 188), -0.288, [(-40, 462), (0, 466), (-40, 520), (20, 490)]),
)


def _panel(corners: np.ndarray, tile: float) -> Mesh:
    """A flat piece of wall between corners, top left and right, bottom left and right; one picture per `tile` [m]."""
    right = (corners[1] - corners[0]) / np.linalg.norm(corners[1] - corners[0])
    down = corners[2] - corners[0]
    down = down - right * (down @ right)
    uv = (corners - corners[0]) @ np.stack([right, down / np.linalg.norm(down)], axis=1) / tile
    return sheet(corners.reshape(2, 2, 3), uv.reshape(2, 2, 2))


def _table() -> Mesh:
    """The top with its rounded far left corner and the rounded edge in front, one picture over all of it."""
    # Rows from the far edge to the near one and down its front: x, z, and how far down the picture.
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
    # Beyond the right edge the picture is repeated mirrored.
    return sheet(points, np.stack([np.where(u > 1, 2 - u, u), v], axis=-1))
