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
from vlm2vla_sim.envs.mujoco.shapes import Mesh, merge, sheet

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
    wood = Paint(textures.wood(textures.colour_map(_TOP_COLOURS), (512, 512), seed=11), glow=0.7)
    add_visual(world, spec, "look_table", mesh=_table(), paint=wood)

    back = on_plane(np.array([0.545, 0, 0]), (1, 0, 0), [(184.5, -60), (720, -60), (184, 120), (720, 300)])
    left = np.stack([back[0] + [-0.65, 0.06, 0.0], back[0], back[2] + [-0.65, 0.02, -0.1], back[2]])
    cloth = Paint(textures.fabric((110, 110, 114), seed=12, contrast=0.8), glow=0.95)
    add_visual(world, spec, "look_back_wall", mesh=_panel(back, 0.22), paint=cloth)
    cloth = Paint(textures.fabric((120, 124, 129), seed=13, contrast=0.4), glow=0.95)
    add_visual(world, spec, "look_left_wall", mesh=_panel(left, 0.3), paint=cloth)


def _panel(corners: np.ndarray, tile: float) -> Mesh:
    """A flat piece of wall between four corners (top left, top right, bottom left, bottom right); a picture per `tile` [m]."""
    width, height = np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[0])
    uv = np.array([[[0, 0], [width, 0]], [[0, height], [width, height]]]) / tile
    return sheet(corners.reshape(2, 2, 3), uv)


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
