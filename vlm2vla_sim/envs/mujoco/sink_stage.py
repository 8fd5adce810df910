"""How the sink scene looks: a light-blue toy sink with a yellow drainer basket on a wooden table, as in SIMPLER's photo.

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
    "white_wall": (160, 143, 134),
    "tiles": (80, 68, 59),
    "joint": (60, 50, 44),
    "mat": (52, 42, 38),
    "pan": (38, 33, 32),
    "floor": (176, 158, 150),
}
_NAMES = list(_COLOURS)

_YELLOW = {"rim": (186, 164, 114), "wire": (176, 158, 106), "panel": (170, 145, 72), "well": (160, 134, 58)}
_YELLOW_NAMES = list(_YELLOW)

# The basins' colours: one row per ring from the outside of the rim to the middle of the floor, one column per corner
# (near left, far left, far right, near right).
_TUB_COLOURS = """
6e7371 6e7371 6e7371 6e7371
979e9b 8d9495 7b8787 969e9a
969f9e 8f9698 848f90 949c99
9aa19e 979e9d 8f9795 959d99
6c8488 78939a 5c7478 5a7070
738b8f 7f999e 66807f 5e7676
8fa2a5 94a6a9 7f9394 879896
919fa0 96a6a8 8b9a9a 8a9492
8c9899 8f9f9f 8d9999 8a9492
"""
_BASIN_COLOURS = """
6e7371 6e7371 6e7371 6e7371
979e9b 8d9495 8d9495 979e9b
969f9e 8f9698 8f9698 969f9e
969f9e 8f9698 8f9698 969f9e
7d877b 77837a 667065 707a6e
75807a 747f74 636d62 6c766c
838c80 7f887b 737c70 7b8478
848d80 818a7d 7b8478 7f887b
868f82 838c7f 7f887b 818a7d
"""


def add_sink_stage(spec: mujoco.MjSpec, on_plane: OnPlane) -> None:
    """Add sink, basket, faucet and surroundings. `on_plane` gives the points of a plane seen at pixels of the photo."""
    world = spec.worldbody
    for name, mesh, colours in (("tub", _tub(), _TUB_COLOURS), ("basin", _basin(), _BASIN_COLOURS)):
        picture = textures.to_picture(textures.spread(textures.colour_map(colours), (72, 32)))
        add_visual(world, spec, f"look_{name}", mesh=mesh, paint=Paint(picture, glow=0.85))
    add_visual(
        world, spec, "look_basket", mesh=_basket(), paint=Paint(textures.palette(list(_YELLOW.values())), glow=0.4)
    )
    parts = [*_fittings(), *_furniture(), *_surroundings(on_plane)]
    add_visual(
        world,
        spec,
        "look_fittings",
        mesh=merge(parts),
        paint=Paint(textures.palette(list(_COLOURS.values())), glow=0.6),
    )
    colours = textures.colour_map(
        "4a3018 634020 684422 68442b\n8f6a38 916939 9b7344 a07848\n a07848 9f7c4c 9a744a a07a4c"
    )
    wood = Paint(textures.wood(colours, (128, 256), seed=21, contrast=0.5), glow=0.7)
    add_visual(world, spec, "look_table", mesh=_wooden_table(), paint=wood)


def _part(mesh: Mesh, name: str) -> Mesh:
    return tinted(mesh, _NAMES.index(name), len(_NAMES))


def _rings(rings: list[tuple[float, float, float, float, float, tuple[float, float, float, float]]]) -> Mesh:
    """A surface through rounded rectangles (x0, x1, y0, y1, z, radii), outermost first, closed in the middle of the last."""
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
            (0.148, 0.436, -0.281, SEAM, 0.1130, square),
            (0.144, 0.440, -0.285, SEAM, 0.1210, square),
            (0.148, 0.436, -0.281, SEAM, COUNTER, square),
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
            (0.148, 0.436, SEAM, 0.104, 0.1130, square),
            (0.144, 0.440, SEAM, 0.108, 0.1210, square),
            (0.148, 0.436, SEAM, 0.104, COUNTER, square),
            (0.176, 0.366, -0.026, 0.084, COUNTER, (0.022,) * 4),
            (0.180, 0.362, -0.023, 0.081, 0.1190, (0.02,) * 4),
            (0.190, 0.350, -0.016, 0.074, 0.0880, (0.02,) * 4),
            (0.194, 0.346, -0.013, 0.071, 0.0800, (0.02,) * 4),
            (0.202, 0.338, -0.006, 0.064, 0.0755, (0.018,) * 4),
        ]
    )


def _basket() -> Mesh:
    """The drainer: a thick rim, ribs across, bars along, hoops for plates and a box for cutlery at the far end."""
    radius, z = 0.0052, 0.1315

    def yellow(mesh: Mesh, name: str) -> Mesh:
        return tinted(mesh, _YELLOW_NAMES.index(name), len(_YELLOW_NAMES))

    def wire(*points: tuple[float, float, float], thickness: float = 0.0021) -> Mesh:
        return yellow(tube(np.array(points), thickness, around=5), "wire")

    rim = rounded_rectangle((0.1735, -0.0305), (0.3680, 0.0855), z, (0.022,) * 4)
    parts = [yellow(tube(rim, radius, around=8), "rim")]
    for x in (0.200, 0.2255, 0.251, 0.276, 0.2985, 0.3070, 0.3150, 0.3230, 0.3300):
        parts.append(
            wire((x, 0.083, z), (x, 0.079, 0.126), (x, 0.066, 0.086), (x, 0.060, 0.0805), (x, -0.008, 0.0805),
                 (x, -0.014, 0.086), (x, -0.026, z))
        )  # fmt: skip
    for y in (0.057, 0.0335, 0.010):
        parts.append(wire((0.176, y, z), (0.181, y, 0.126), (0.194, y, 0.0835), (0.200, y, 0.0805), (0.300, y, 0.0805)))
    for x in (0.3000, 0.3090, 0.3180, 0.3270):
        hoop = [(x, 0.002, 0.081), (x, 0.008, 0.108), (x, 0.013, 0.1125), (x, 0.018, 0.108), (x, 0.026, 0.081)]
        parts.append(wire(*hoop))
    parts += [
        yellow(box((0.3400, -0.027, 0.080), (0.3415, 0.081, 0.1270)), "panel"),
        yellow(box((0.3650, -0.027, 0.080), (0.3665, 0.081, 0.1300)), "panel"),
        yellow(box((0.3415, -0.027, 0.080), (0.3650, 0.081, 0.1050)), "well"),
        yellow(box((0.3415, 0.026, 0.080), (0.3650, 0.0275, 0.1260)), "rim"),
    ]
    return merge(parts)


def _fittings() -> list[Mesh]:
    """What sits on and in the sink: drain, screw holes, faucet, the rack's ribs."""
    parts = []
    for centre, radius, z in (((0.2605, -0.1545), 0.0098, 0.0706), ((0.272, 0.024), 0.0105, 0.0761)):
        parts.append(_part(_disc(centre, 0.0, radius, z), "black"))
    for inner, outer in ((0.0205, 0.0217), (0.0300, 0.0315)):
        parts.append(_part(_disc((0.2605, -0.1545), inner, outer, 0.0704), "ring"))
    for centre in ((0.1625, 0.0225), (0.2985, -0.2755)):
        parts.append(_part(_disc(centre, 0.0, 0.0016, COUNTER + 0.0004), "black"))
    # Of the box below the rim only its front and left side are ever seen.
    edge = [(0.430, 0.075), (0.190, 0.065), (0.170, 0.055), (0.160, 0.035), (0.160, -0.275)]
    skirt = np.array([[(x, y, z) for x, y in edge] for z in (0.114, 0.074)])
    parts.append(_part(sheet(skirt), "underside"))
    for left, right in ((0.0835, 0.0520), (0.0420, 0.0225), (0.0130, -0.0080), (-0.0180, -0.0345)):
        parts.append(_part(_lobe(left, right, 0.1490), "rack"))
    parts.append(_part(_lobe(0.0800, -0.0300, 0.1360), "groove"))
    return parts + _faucet()


def _faucet() -> list[Mesh]:
    rings = [rounded_rectangle((0.363, -0.2525), (0.430, -0.1660), z, (0.012,) * 4) for z in (COUNTER, 0.1370, 0.1395)]
    rings[2] = rings[2] + (rings[2].mean(axis=0) - rings[2]) * [0.05, 0.05, 0]
    plate = sheet(np.stack([rings[1], rings[0]]))
    top = sheet(np.stack([rings[1], rings[2], np.broadcast_to(rings[2].mean(axis=0), rings[2].shape)]))
    steps = [(0.0, 0.13), (0.0170, 0.13), (0.0168, 0.176), (0.0155, 0.1785), (0.0135, 0.1785), (0.0133, 0.199)]
    steps += [(0.0125, 0.201), (0.0112, 0.201), (0.0110, 0.42), (0.0, 0.42)]
    column = moved(lathe(np.array(steps), around=16), (0.4045, -0.1895, 0))
    valve = loft(np.array([(0, 0.013, -0.013, 0.013), (0.040, 0.0125, -0.0125, 0.0125), (0.044, 0.009, -0.009, 0.009)]))
    lever = tube(np.array([(0.419, -0.2260, 0.178), (0.424, -0.2300, 0.200), (0.428, -0.2330, 0.218)]), 0.0045)
    return [
        _part(plate, "faucet_front"),
        _part(top, "faucet"),
        _part(column, "column"),
        _part(moved(valve, (0.408, -0.192, 0.166), yaw=-1.25), "lever"),
        _part(lever, "lever"),
    ]


def _lobe(left: float, right: float, top: float) -> Mesh:
    """One of the rack's ribs, between two y, rising from the rim at x = 0.374."""
    half = (left - right) / 2
    height = top - COUNTER
    profile = [(0.374, 0.02), (0.3765, 0.45), (0.382, 0.82), (0.390, 0.97), (0.400, 1.0), (0.430, 0.95)]
    sections = [(x, half, COUNTER - 0.002, COUNTER + height * share) for x, share in profile]
    return moved(loft(np.array(sections), around=12, power=4), (0, (left + right) / 2, 0))


def _furniture() -> list[Mesh]:
    """The dark blue tower behind the tub and the post at the far left."""
    tower = box((0.386, -0.1480, COUNTER), (0.424, -0.0505, 0.45))
    side = np.array(
        [[(0.386, -0.1482, 0.45), (0.424, -0.1482, 0.45)], [(0.386, -0.1482, 0.129), (0.424, -0.1482, 0.129)]]
    )
    recess = np.array(
        [[(0.3858, -0.060, 0.45), (0.3858, -0.128, 0.45)], [(0.3858, -0.060, 0.137), (0.3858, -0.128, 0.137)]]
    )
    post = box((0.395, 0.0885, COUNTER), (0.432, 0.1035, 0.45))
    return [_part(tower, "navy"), _part(sheet(side), "navy_side"), _part(sheet(recess), "recess"), _part(post, "navy")]


def _surroundings(on_plane: OnPlane) -> list[Mesh]:
    """Flat pieces behind and below, each where the photo shows it: (colour, a point, a normal, four pixels)."""
    ahead, level, aside = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
    pieces = [
        ("white_wall", (0.62, 0, 0), ahead, [(170, -80), (760, -80), (150, 160), (760, 260)]),
        ("pan", (0.60, 0, 0), ahead, [(528, 0), (760, 0), (520, 11), (760, 52)]),
        ("pan", (0.55, 0, 0), ahead, [(617, 119), (760, 132), (618, 123), (760, 160)]),
        ("tiles", (0, 0.18, 0), aside, [(-160, -80), (250, -80), (-160, 330), (178, 80)]),
        ("joint", (0, 0.179, 0), aside, [(88, -10), (90, -10), (119, 92), (121, 92)]),
        ("mat", (0, 0, 0.09), level, [(158, 54), (192, 50), (-60, 236), (-60, 290)]),
        ("floor", (0, 0, -0.30), level, [(-120, 300), (260, 460), (-120, 620), (260, 620)]),
    ]  # fmt: skip
    return [
        _part(sheet(on_plane(np.array(point), normal, pixels).reshape(2, 2, 3)), name)
        for name, point, normal, pixels in pieces
    ]


def _disc(centre: tuple[float, float], inner: float, outer: float, z: float) -> Mesh:
    """A level ring (a disc where `inner` is 0), seen from above."""
    angle = np.linspace(2 * np.pi, 0, 25)
    around = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
    middle = np.array([*centre, z])
    return sheet(np.stack([middle + outer * around, middle + inner * around]))


def _wooden_table() -> Mesh:
    """The table under the sink: its front edge is seen, the rest goes out of sight."""
    corners = np.array([[(0.60, 0.50, 0.0), (0.60, -0.60, 0.0)], [(0.109, 0.50, 0.0), (0.109, -0.60, 0.0)]])
    return sheet(corners)
