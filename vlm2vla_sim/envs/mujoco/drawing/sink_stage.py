"""The look of the sink scene: a light-blue toy sink with a yellow basket on a wooden table, as in SIMPLER's photo.

The collision geoms are in `sink_supports`. Drawn and collision surfaces differ by a centimetre where SIMPLER's photo
and SIMPLER's collision mesh do. Lengths [m], base frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco.drawing import sink_fittings, textures
from vlm2vla_sim.envs.mujoco.drawing.paint import Paint, add_visual
from vlm2vla_sim.envs.mujoco.drawing.photo import AHEAD, LEFT, UP, Patch, Photo
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh, merge, rounded_rectangle, sheet, tinted
from vlm2vla_sim.envs.mujoco.drawing.sink_fittings import COUNTER

SEAM = -0.037
"""y where the two basins' meshes meet."""

# Colours were read off simpler-env/ManiSkill2_real2sim@ef7a4d4 data/real_inpainting/bridge_sink.png
# Of the basins one row per ring from the outside of the rim to the middle of the floor, one column per corner
# (near left, far left, far right, near right).
_TUB_COLOURS = """
969f9e 8f9698 848f90 949c99
9aa19e 979e9d 8f9795 959d99
6c8488 78939a 5c7478 5a7070
738b8f 7f999e 66807f 5e7676
8fa2a5 94a6a9 7f9394 879896
919fa0 96a6a8 8b9a9a 8a9492
8c9899 8f9f9f 8d9999 8a9492
"""
_BASIN_COLOURS = """
969f9e 8f9698 8f9698 969f9e
969f9e 8f9698 8f9698 969f9e
7d877b 77837a 667065 707a6e
75807a 747f74 636d62 6c766c
8b9488 879083 7d867a 89928a
8f988c 8a9388 869084 909a90
929b90 8d968b 8a948a 929c92
"""

# The wooden table, seen from above: rows of 5 cm from x = 0.409 to 0.109, columns of 12.8 cm from y = 0.26 to -0.38.
_WOOD_COLOURS = """
a0804e a0804e a0804e a0804e a5834f
a0804e a0804e a0804e a0804e a5834f
a0804e a0804e a0804e a0804e a5834f
a0783f 5a3c1e 583a1e 56381e a5834f
a88350 7a5630 744e2a 744e2c a5834f
aa8451 a27c48 a57e4d a98455 a5834f
"""

# Behind everything: colours from left to right and top to bottom, place.
_BACKGROUND = {
    "white_wall": (
        "a18f86 a0928a 988880\n ac9b91 a99a91 a3938a\n a6958c aa9b92 ad9d93",
        Patch((0.62, 0, 0), AHEAD, ((150, -80), (760, -80), (130, 160), (760, 260))),
    ),
    "tiles": (
        "766759 69594e\n 50423a 4b3f36",
        Patch((0, 0.18, 0), LEFT, ((-160, -80), (250, -80), (-160, 330), (178, 80))),
    ),
    "floor": (
        "b09e95 b09e95\n b09e95 b09e95",
        Patch((0, 0, -0.30), UP, ((-120, 300), (260, 460), (-120, 620), (260, 620))),
    ),
}
_PAN, _JOINT, _MAT, _STRAW = (38, 33, 32), (55, 46, 40), (48, 38, 35), (98, 82, 70)
_NAVY, _NAVY_SIDE, _RECESS = (8, 16, 31), (46, 41, 38), (3, 10, 22)
# Flat pieces for things of which only the front is visible: 8-bit RGB, place.
_FRONTS = (
    (_PAN, Patch((0.61, 0, 0), AHEAD, ((530, 2), (760, 28), (530, 13), (760, 56)))),
    (_PAN, Patch((0.55, 0, 0), AHEAD, ((617, 119), (760, 132), (618, 123), (760, 160)))),
    (_JOINT, Patch((0, 0.179, 0), LEFT, ((88, -10), (90, -10), (119, 92), (121, 92)))),
    (_MAT, Patch((0, 0, 0.09), UP, ((158, 54), (192, 50), (-60, 236), (-60, 290)))),
    (_STRAW, Patch((0, 0, 0.0905), UP, ((164, 56), (165, 56), (-60, 245), (-60, 248)))),
    (_STRAW, Patch((0, 0, 0.0905), UP, ((171, 56), (172, 56), (-60, 257), (-60, 260)))),
    (_STRAW, Patch((0, 0, 0.0905), UP, ((177, 56), (178, 56), (-60, 267), (-60, 270)))),
    (_NAVY, Patch((0.387, 0, 0), AHEAD, ((335, -40), (471, -40), (338, 109), (459, 135)))),
    (_NAVY_SIDE, Patch((0.387, 0, 0), AHEAD, ((471, -40), (487, -40), (459, 135), (474, 113)))),
    (_RECESS, Patch((0.3865, 0, 0), AHEAD, ((352, -40), (452, -40), (353, 105), (441, 127)))),
    (_NAVY, Patch((0.410, 0, 0), AHEAD, ((158, -40), (196, -40), (187, 70), (217, 52)))),
)


def add_sink_stage(spec: mujoco.MjSpec, photo: Photo) -> None:
    """Add sink, basket, faucet, table and what stands around."""
    world = spec.worldbody
    for name, mesh, colours in (("tub", _tub(), _TUB_COLOURS), ("basin", _basin(), _BASIN_COLOURS)):
        add_visual(world, spec, f"look_{name}", mesh=mesh, paint=_shaded(colours, glow=0.85))
    add_visual(world, spec, "look_basket", mesh=sink_fittings.basket(), paint=sink_fittings.paint())
    add_visual(world, spec, "look_fittings", mesh=sink_fittings.fittings(), paint=sink_fittings.paint())
    for name, (colours, patch) in _BACKGROUND.items():
        add_visual(world, spec, f"look_{name}", mesh=photo.mesh(patch), paint=_shaded(colours, glow=0.95))
    fronts = [tinted(photo.mesh(patch), index, len(_FRONTS)) for index, (_, patch) in enumerate(_FRONTS)]
    plain = Paint(textures.palette([colour for colour, _ in _FRONTS]), glow=0.9)
    add_visual(world, spec, "look_fronts", mesh=merge(fronts), paint=plain)
    wood = Paint(textures.wood(textures.colour_map(_WOOD_COLOURS), (256, 512), seed=21, contrast=0.8), glow=0.7)
    add_visual(world, spec, "look_table", mesh=_wooden_table(), paint=wood)


def _shaded(colours: str, *, glow: float) -> Paint:
    return Paint(textures.to_image(textures.spread(textures.colour_map(colours), (72, 32))), glow=glow)


def _rings(rings: list[tuple[float, float, float, float, float, tuple[float, ...]]]) -> Mesh:
    """A surface through rounded rectangles (x0, x1, y0, y1, z, radii), outermost first, closed in the last's middle."""
    curves = [rounded_rectangle((x0, y0), (x1, y1), z, radii) for x0, x1, y0, y1, z, radii in rings]
    curves.append(np.broadcast_to(curves[-1].mean(axis=0), curves[-1].shape))
    points = np.stack(curves)
    v = (np.arange(len(curves)) + 0.5) / len(curves)
    # Shifted so that the middle of each corner lies on the middle of its column.
    u = np.linspace(0, 1, points.shape[1]) + 1 / 48
    return sheet(points, np.stack(np.meshgrid(u, v), axis=-1))


def _tub() -> Mesh:
    square = (0.0, 0.0, 0.02, 0.02)
    return _rings(
        [
            (0.148, 0.436, -0.277, SEAM, COUNTER, square),
            (0.168, 0.359, -0.264, -0.045, COUNTER, (0.032,) * 4),
            (0.173, 0.354, -0.259, -0.050, 0.1200, (0.030,) * 4),
            (0.186, 0.344, -0.245, -0.062, 0.0830, (0.026,) * 4),
            (0.190, 0.340, -0.240, -0.067, 0.0740, (0.026,) * 4),
            (0.200, 0.330, -0.229, -0.080, 0.0700, (0.026,) * 4),
        ]
    )


def _basin() -> Mesh:
    square = (0.02, 0.02, 0.0, 0.0)
    return _rings(
        [
            (0.148, 0.436, SEAM, 0.104, COUNTER, square),
            (0.174, 0.370, -0.028, 0.083, COUNTER, (0.022,) * 4),
            (0.178, 0.369, -0.025, 0.080, 0.1190, (0.02,) * 4),
            (0.188, 0.366, -0.018, 0.073, 0.0880, (0.02,) * 4),
            (0.192, 0.360, -0.015, 0.070, 0.0800, (0.02,) * 4),
            (0.200, 0.350, -0.008, 0.063, 0.0755, (0.018,) * 4),
        ]
    )


def _wooden_table() -> Mesh:
    """The visible part of the table under the sink; its front edge is in the image."""
    corners = np.array([[(0.409, 0.26, 0.0), (0.409, -0.38, 0.0)], [(0.109, 0.26, 0.0), (0.109, -0.38, 0.0)]])
    return sheet(corners)
