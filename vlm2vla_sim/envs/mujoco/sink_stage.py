"""How the sink scene looks: a light-blue toy sink with a yellow drainer on a wooden table, as in SIMPLER's photo.

What carries the eggplant is in `scenery`; here is what the camera sees of it. The two differ by a centimetre where
SIMPLER's photo and SIMPLER's collision mesh do. Lengths [m], base frame.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco import textures
from vlm2vla_sim.envs.mujoco.paint import Paint, add_visual
from vlm2vla_sim.envs.mujoco.shapes import (
    Mesh,
    box,
    lathe,
    loft,
    merge,
    moved,
    rounded_rectangle,
    sheet,
    tinted,
    tube,
)

OnPlane = Callable[[np.ndarray, tuple[float, float, float], list[tuple[float, float]]], np.ndarray]

COUNTER = 0.1275
"""Height of the sink's rim."""
SEAM = -0.037
"""y where the two basins' meshes meet."""

# 8-bit RGB, read off simpler-env/ManiSkill2_real2sim@ef7a4d4 data/real_inpainting/bridge_sink.png
_COLOURS = {
    "black": (8, 10, 18),
    "underside": (33, 30, 32),
    "lip": (140, 147, 144),
    "ring": (124, 141, 144),
    "rack": (142, 152, 153),
    "groove": (112, 134, 137),
    "navy": (8, 16, 31),
    "recess": (3, 10, 22),
    "navy_side": (46, 41, 38),
    "faucet": (112, 100, 92),
    "faucet_front": (86, 82, 81),
    "column": (88, 84, 81),
    "lever": (100, 92, 86),
    "joint": (55, 46, 40),
    "mat": (48, 38, 35),
    "straw": (98, 82, 70),
    "pan": (38, 33, 32),
}
_NAMES = list(_COLOURS)

_YELLOW = {"rim": (186, 164, 114), "wire": (176, 158, 106), "panel": (192, 164, 82), "well": (166, 139, 60)}
_YELLOW_NAMES = list(_YELLOW)

# The basins' colours: one row per ring from the outside of the rim to the middle of the floor, one column per corner
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

# The wooden table, seen from above: rows of 5 cm from x = 0.359 to 0.109, columns of 12.8 cm from y = 0.26 to -0.38.
_WOOD_COLOURS = """
a0804e a0804e a0804e a0804e a5834f
a0804e a0804e a0804e a0804e a5834f
a0783f 5a3c1e 583a1e 56381e a5834f
a88350 7a5630 744e2a 744e2c a5834f
aa8451 a27c48 a57e4d a98455 a5834f
"""

_AHEAD, _ASIDE, _LEVEL = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_Place = tuple[tuple[float, float, float], tuple[float, float, float], list[tuple[float, float]]]
"""A point and the normal of a plane, and four pixels of the photo: top left, top right, bottom left, bottom right."""
_BACKGROUND: dict[str, tuple[_Place, str]] = {
    "white_wall": (
        ((0.62, 0, 0), _AHEAD, [(150, -80), (760, -80), (130, 160), (760, 260)]),
        "a18f86 a0928a 988880\n ac9b91 a99a91 a3938a\n a6958c aa9b92 ad9d93",
    ),
    "tiles": (
        (((0, 0.18, 0)), _ASIDE, [(-160, -80), (250, -80), (-160, 330), (178, 80)]),
        "766759 69594e\n 50423a 4b3f36",
    ),
    "floor": (
        ((0, 0, -0.30), _LEVEL, [(-120, 300), (260, 460), (-120, 620), (260, 620)]),
        "b09e95 b09e95\n b09e95 b09e95",
    ),
}
# Flat pieces that stand in for shapes of which only the front is ever seen: colour, place.
_BILLBOARDS: list[tuple[str, _Place]] = [
    ("pan", ((0.61, 0, 0), _AHEAD, [(530, 2), (760, 28), (530, 13), (760, 56)])),
    ("pan", ((0.55, 0, 0), _AHEAD, [(617, 119), (760, 132), (618, 123), (760, 160)])),
    ("joint", ((0, 0.179, 0), _ASIDE, [(88, -10), (90, -10), (119, 92), (121, 92)])),
    ("mat", ((0, 0, 0.09), _LEVEL, [(158, 54), (192, 50), (-60, 236), (-60, 290)])),
    ("straw", ((0, 0, 0.0905), _LEVEL, [(164, 56), (165, 56), (-60, 245), (-60, 248)])),
    ("straw", ((0, 0, 0.0905), _LEVEL, [(171, 56), (172, 56), (-60, 257), (-60, 260)])),
    ("straw", ((0, 0, 0.0905), _LEVEL, [(177, 56), (178, 56), (-60, 267), (-60, 270)])),
    ("navy", ((0.387, 0, 0), _AHEAD, [(335, -40), (471, -40), (338, 109), (459, 135)])),
    ("navy_side", ((0.387, 0, 0), _AHEAD, [(471, -40), (487, -40), (459, 135), (474, 113)])),
    ("recess", ((0.3865, 0, 0), _AHEAD, [(352, -40), (452, -40), (353, 105), (441, 127)])),
    ("navy", ((0.410, 0, 0), _AHEAD, [(158, -40), (196, -40), (187, 70), (217, 52)])),
]


def add_sink_stage(spec: mujoco.MjSpec, on_plane: OnPlane) -> None:
    """Add sink, basket, faucet and surroundings. `on_plane` gives the points of a plane seen at pixels of the photo."""
    world = spec.worldbody
    for name, mesh, colours in (("tub", _tub(), _TUB_COLOURS), ("basin", _basin(), _BASIN_COLOURS)):
        picture = textures.to_picture(textures.spread(textures.colour_map(colours), (72, 32)))
        add_visual(world, spec, f"look_{name}", mesh=mesh, paint=Paint(picture, glow=0.85))
    yellow, plain = (textures.palette(list(table.values())) for table in (_YELLOW, _COLOURS))
    add_visual(world, spec, "look_basket", mesh=_basket(), paint=Paint(yellow, glow=0.7))
    parts = [*_fittings(), *_billboards(on_plane)]
    add_visual(world, spec, "look_fittings", mesh=merge(parts), paint=Paint(plain, glow=0.8))
    for name, (place, colours) in _BACKGROUND.items():
        shade = textures.to_picture(textures.spread(textures.colour_map(colours), (32, 32)))
        add_visual(world, spec, f"look_{name}", mesh=_quad(on_plane, place), paint=Paint(shade, glow=0.95))
    wood = Paint(textures.wood(textures.colour_map(_WOOD_COLOURS), (256, 512), seed=21, contrast=0.8), glow=0.7)
    add_visual(world, spec, "look_table", mesh=_wooden_table(), paint=wood)


def _part(mesh: Mesh, name: str) -> Mesh:
    return tinted(mesh, _NAMES.index(name), len(_NAMES))


def _rings(rings: list[tuple[float, float, float, float, float, tuple[float, float, float, float]]]) -> Mesh:
    """A surface through rounded rectangles (x0, x1, y0, y1, z, radii), outermost first, closed in the last's middle."""
    curves = [rounded_rectangle((x0, y0), (x1, y1), z, radii) for x0, x1, y0, y1, z, radii in rings]
    curves.append(np.broadcast_to(curves[-1].mean(axis=0), curves[-1].shape))
    points = np.stack(curves)
    v = (np.arange(len(curves)) + 0.5) / len(curves)
    # The corners' middles are a quarter turn apart; shifted so that each lies on its column's middle.
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


def _basket() -> Mesh:
    """The drainer: a thick rim, ribs across, bars along, hoops for plates and a box for cutlery at the far end."""
    z = 0.1315

    def yellow(mesh: Mesh, name: str) -> Mesh:
        return tinted(mesh, _YELLOW_NAMES.index(name), len(_YELLOW_NAMES))

    def wire(*points: tuple[float, float, float]) -> Mesh:
        return yellow(tube(np.array(points), 0.0023, around=5), "wire")

    rim = rounded_rectangle((0.1700, -0.0325), (0.3700, 0.0835), z, (0.022,) * 4)
    # The curve's ends are pressed together by a middle point, so that the rod closes without a notch.
    rim = np.concatenate([rim[:1] * 0.5 + rim[-2:-1] * 0.5, rim[:-1], rim[:1] * 0.5 + rim[-2:-1] * 0.5])
    parts = [yellow(tube(rim, 0.0050, around=8), "rim")]
    for x in (0.1975, 0.2240, 0.2500, 0.2755, 0.2985, 0.3070, 0.3150, 0.3230, 0.3310):
        parts.append(
            wire((x, 0.082, z + 0.003), (x, 0.077, z + 0.002), (x, 0.074, 0.126), (x, 0.062, 0.086), (x, 0.056, 0.0805),
                 (x, -0.008, 0.0805), (x, -0.014, 0.086), (x, -0.026, z))
        )  # fmt: skip
    for y in (0.072, 0.054, 0.0315, 0.008, -0.012):
        front = [(0.172, y, z + 0.003), (0.177, y, z + 0.002), (0.180, y, 0.127), (0.189, y, 0.088)]
        parts.append(wire(*front, *([(0.194, y, 0.0805), (0.300, y, 0.0805)] if 0 < y < 0.06 else [])))
    for x in (0.2985, 0.3080, 0.3170, 0.3260):
        hoop = [(x, 0.000, 0.081), (x, 0.006, 0.110), (x, 0.010, 0.1155), (x, 0.015, 0.1160), (x, 0.019, 0.111)]
        parts.append(wire(*hoop, (x, 0.026, 0.081)))
    return merge(parts + [yellow(box(low, high), name) for name, low, high in _CUTLERY_BOX])


_CUTLERY_BOX = (
    ("panel", (0.3435, -0.027, 0.080), (0.3445, 0.079, 0.1280)),
    ("panel", (0.3660, -0.027, 0.080), (0.3670, 0.079, 0.1315)),
    ("well", (0.3445, -0.027, 0.080), (0.3660, 0.079, 0.1080)),
    ("rim", (0.3445, 0.0255, 0.080), (0.3660, 0.0270, 0.1270)),
)


def _fittings() -> list[Mesh]:
    """What sits on and in the sink: drain, screw holes, faucet, the rack's ribs, the dark box below the rim."""
    parts = []
    for centre, radius, z in (((0.2605, -0.1545), 0.0098, 0.0706), ((0.269, 0.022), 0.0100, 0.0761)):
        parts.append(_part(_disc(centre, 0.0, radius, z), "black"))
    for inner, outer in ((0.0205, 0.0217), (0.0300, 0.0315)):
        parts.append(_part(_disc((0.2605, -0.1545), inner, outer, 0.0704), "ring"))
    for centre in ((0.1625, 0.0225), (0.2985, -0.2755)):
        parts.append(_part(_disc(centre, 0.0, 0.0016, COUNTER + 0.0004), "black"))
    # Of the box below the rim only its front and left side are ever seen.
    edge = [(0.430, 0.075), (0.190, 0.065), (0.170, 0.055), (0.160, 0.035), (0.160, -0.275)]
    parts.append(_part(sheet(np.array([[(x, y, z) for x, y in edge] for z in (0.114, 0.074)])), "underside"))
    rim = [(0.004, 0.1130), (0.0, 0.1210), (0.004, COUNTER)]
    lip = [rounded_rectangle((0.144 + d, -0.281 + d), (0.440 - d, 0.108 - d), z, (0.02,) * 4) for d, z in rim]
    parts.append(_part(sheet(np.stack(lip)), "lip"))
    for left, right in ((0.0835, 0.0520), (0.0420, 0.0225), (0.0130, -0.0080), (-0.0180, -0.0345)):
        parts.append(_part(_lobe(left, right, 0.1455), "rack"))
    parts.append(_part(_lobe(0.0800, -0.0300, 0.1340), "groove"))
    return parts + _faucet()


def _faucet() -> list[Mesh]:
    low, high = (0.3765, -0.2540), (0.4230, -0.1660)
    foot, edge = (rounded_rectangle(low, high, z, (0.012,) * 4) for z in (COUNTER, 0.1395))
    middle = np.broadcast_to(edge.mean(axis=0), edge.shape)
    steps = [(0.0, 0.13), (0.0170, 0.13), (0.0168, 0.176), (0.0155, 0.1785), (0.0135, 0.1785), (0.0133, 0.199)]
    steps += [(0.0125, 0.201), (0.0112, 0.201), (0.0110, 0.42), (0.0, 0.42)]
    column = lathe(np.array(steps), around=16)
    # The photo's faucet leans.
    column.vertices[:, 1] += 0.079 * (column.vertices[:, 2] - 0.1424)
    valve = loft(np.array([(0, 0.013, -0.013, 0.013), (0.028, 0.0125, -0.0125, 0.0125), (0.032, 0.009, -0.009, 0.009)]))
    lever = tube(np.array([(0.415, -0.2079, 0.180), (0.415, -0.2079, 0.200), (0.415, -0.2075, 0.2208)]), 0.0042)
    return [
        _part(sheet(np.stack([foot, edge])), "faucet_front"),
        _part(sheet(np.stack([edge, middle])), "faucet"),
        _part(moved(column, (0.4045, -0.1893, 0)), "column"),
        _part(moved(valve, (0.408, -0.188, 0.169), yaw=-1.15), "lever"),
        _part(lever, "lever"),
    ]


def _lobe(left: float, right: float, top: float) -> Mesh:
    """One of the rack's ribs, between two y, rising from the rim at x = 0.374."""
    height = top - COUNTER
    profile = [(0.374, 0.02), (0.3765, 0.45), (0.382, 0.82), (0.390, 0.97), (0.398, 1.0), (0.406, 0.95), (0.412, 0.0)]
    sections = [(x, (left - right) / 2, COUNTER - 0.002, COUNTER + height * share) for x, share in profile]
    return moved(loft(np.array(sections), around=12, power=4), (0, (left + right) / 2, 0))


def _billboards(on_plane: OnPlane) -> list[Mesh]:
    return [_part(_quad(on_plane, place), name) for name, place in _BILLBOARDS]


def _quad(on_plane: OnPlane, place: _Place) -> Mesh:
    point, normal, pixels = place
    return sheet(on_plane(np.array(point), normal, pixels).reshape(2, 2, 3))


def _disc(centre: tuple[float, float], inner: float, outer: float, z: float) -> Mesh:
    """A level ring (a disc where `inner` is 0), seen from above."""
    angle = np.linspace(2 * np.pi, 0, 25)
    around = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
    middle = np.array([*centre, z])
    return sheet(np.stack([middle + outer * around, middle + inner * around]))


def _wooden_table() -> Mesh:
    """The part of the table under the sink that is ever seen; its front edge is in the picture."""
    corners = np.array([[(0.359, 0.26, 0.0), (0.359, -0.38, 0.0)], [(0.109, 0.26, 0.0), (0.109, -0.38, 0.0)]])
    return sheet(corners)
