"""Parts of the toy sink that are drawn only: basket, faucet, drain, plate rack. Lengths [m], base frame."""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.envs.mujoco.drawing import textures
from vlm2vla_sim.envs.mujoco.drawing.paint import Paint
from vlm2vla_sim.envs.mujoco.drawing.shapes import (
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

COUNTER = 0.1275
"""Height of the sink's rim."""

# 8-bit RGB, read off simpler-env/ManiSkill2_real2sim@ef7a4d4 data/real_inpainting/bridge_sink.png
_COLOURS = {
    "black": (8, 10, 18),
    "underside": (33, 30, 32),
    "lip": (140, 147, 144),
    "ring": (124, 141, 144),
    "rack": (142, 152, 153),
    "groove": (112, 134, 137),
    "faucet": (112, 100, 92),
    "faucet_front": (86, 82, 81),
    "column": (88, 84, 81),
    "lever": (100, 92, 86),
    "rim": (197, 172, 116),
    "wire": (190, 168, 112),
    "panel": (192, 164, 82),
    "well": (166, 139, 60),
}


def paint() -> Paint:
    """The paint of both meshes of this module."""
    return Paint(textures.palette(list(_COLOURS.values())), glow=0.75)


def basket() -> Mesh:
    """The basket: a thick rim, ribs across, bars along, hoops for plates and a box for cutlery at the far end."""
    z = 0.1315

    def wire(*points: tuple[float, float, float]) -> Mesh:
        return _part(tube(np.array(points), 0.0023, around=5), "wire")

    rim = rounded_rectangle((0.1710, -0.0320), (0.3690, 0.0820), z, (0.022,) * 4)
    # Starts and ends in the middle of a straight side, where the rod's two ends meet without a kink.
    middle = (rim[:1] + rim[-2:-1]) / 2
    rim = np.concatenate([middle, rim[:-1], middle])
    parts = [_part(tube(rim, 0.0043, around=8), "rim")]
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
    return merge([*parts, *(_part(box(low, high), name) for name, low, high in _CUTLERY_BOX)])


_CUTLERY_BOX = (
    ("panel", (0.3435, -0.027, 0.080), (0.3445, 0.079, 0.1280)),
    ("panel", (0.3660, -0.027, 0.080), (0.3670, 0.079, 0.1315)),
    ("well", (0.3445, -0.027, 0.080), (0.3660, 0.079, 0.1080)),
    ("rim", (0.3445, 0.0255, 0.080), (0.3660, 0.0270, 0.1270)),
)


def fittings() -> Mesh:
    """What sits on and in the sink: drain, screw holes, faucet, the rack's ribs, the dark box below the rim."""
    parts = []
    for centre, radius, z in (((0.2605, -0.1545), 0.0098, 0.0706), ((0.269, 0.022), 0.0100, 0.0761)):
        parts.append(_part(_disc(centre, 0.0, radius, z), "black"))
    for inner, outer in ((0.0205, 0.0217), (0.0300, 0.0315)):
        parts.append(_part(_disc((0.2605, -0.1545), inner, outer, 0.0704), "ring"))
    for centre in ((0.1625, 0.0225), (0.2985, -0.2755)):
        parts.append(_part(_disc(centre, 0.0, 0.0016, COUNTER + 0.0004), "black"))
    # Only the front and the left side of the box below the rim are visible.
    edge = [(0.430, 0.075), (0.190, 0.065), (0.170, 0.055), (0.160, 0.035), (0.160, -0.275)]
    parts.append(_part(sheet(np.array([[(x, y, z) for x, y in edge] for z in (0.114, 0.074)])), "underside"))
    rim = [(0.004, 0.1130), (0.0, 0.1210), (0.004, COUNTER)]
    lip = [rounded_rectangle((0.144 + d, -0.281 + d), (0.440 - d, 0.108 - d), z, (0.02,) * 4) for d, z in rim]
    parts.append(_part(sheet(np.stack(lip)), "lip"))
    for left, right in ((0.0835, 0.0520), (0.0420, 0.0225), (0.0130, -0.0080), (-0.0180, -0.0345)):
        parts.append(_part(_lobe(left, right, 0.1455), "rack"))
    parts.append(_part(_lobe(0.0800, -0.0300, 0.1340), "groove"))
    return merge([*parts, *_faucet()])


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


def _disc(centre: tuple[float, float], inner: float, outer: float, z: float) -> Mesh:
    """A level ring (a disc where `inner` is 0), seen from above."""
    angle = np.linspace(2 * np.pi, 0, 25)
    around = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
    middle = np.array([*centre, z])
    return sheet(np.stack([middle + outer * around, middle + inner * around]))


def _part(mesh: Mesh, colour: str) -> Mesh:
    names = list(_COLOURS)
    return tinted(mesh, names.index(colour), len(names))
