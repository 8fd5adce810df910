"""The MuJoCo looks of the built-in objects: meshes that are drawn, and boxes and spheres that collide.

Widths and heights are those of SIMPLER's collision meshes (simpler-env/ManiSkill2_real2sim@ef7a4d4
data/custom/models/*/collision.obj); the drawn shapes are our own. The frame of each body is that of SIMPLER's model, so
that a layout puts both at the same place. Masses and inertias are in the object records.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.envs.card_pictures import draw_card
from vlm2vla_sim.envs.mujoco.drawing import textures
from vlm2vla_sim.envs.mujoco.drawing.paint import Paint, add_ball, add_box, add_visual
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh, box, lathe, loft, merge, sheet


def carrot(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """Root and stub of the leaves; SIMPLER's carrot lies on a facet that lifts its tip by 5 degrees."""
    # x, half-width, lowest, highest z: the root with its tip at -x, then the stub of the leaves.
    root = [
        (-0.0615, 0.0008, -0.0045, -0.0030), (-0.0590, 0.0035, -0.0072, -0.0008), (-0.0538, 0.0057, -0.0085, 0.0013),
        (-0.0394, 0.0092, -0.0122, 0.0050), (-0.0251, 0.0119, -0.0148, 0.0079), (-0.0107, 0.0141, -0.0165, 0.0109),
        (0.0036, 0.0158, -0.0172, 0.0135), (0.0108, 0.0160, -0.0162, 0.0137), (0.0180, 0.0141, -0.0140, 0.0120),
        (0.0225, 0.0090, -0.0095, 0.0110),
    ]  # fmt: skip
    stub = [
        (0.0215, 0.0035, 0.0000, 0.0090), (0.0251, 0.0045, -0.0020, 0.0115), (0.0323, 0.0080, 0.0002, 0.0160),
        (0.0395, 0.0095, 0.0005, 0.0190), (0.0467, 0.0108, 0.0009, 0.0210), (0.0520, 0.0075, 0.0030, 0.0185),
        (0.0542, 0.0016, 0.0069, 0.0100),
    ]  # fmt: skip
    add_visual(
        body,
        spec,
        f"look_{body.name}_root",
        mesh=loft(np.array(root)),
        paint=Paint(textures.carrot(), glow=0.25, shine=0.1),
    )
    add_visual(
        body,
        spec,
        f"look_{body.name}_stub",
        mesh=loft(np.array(stub), around=10),
        paint=Paint(colour=(0.22, 0.29, 0.20)),
    )
    add_box(body, f"{body.name}_tip", centre=(-0.0520, 0, -0.0040), half=(0.0121, 0.0064, 0.0068))
    add_box(body, f"{body.name}_waist", centre=(-0.0270, 0, -0.0030), half=(0.0130, 0.0115, 0.0120))
    # Pitched like the facet that SIMPLER's carrot lies on, which lifts the tip by 5 degrees.
    add_box(body, f"{body.name}_root", centre=(0.0061, 0, -0.0013), half=(0.0200, 0.0158, 0.0162), pitch=_CARROT_PITCH)
    add_box(body, f"{body.name}_stub", centre=(0.0402, 0, 0.0065), half=(0.0140, 0.0130, 0.0148))


_CARROT_PITCH = -0.086
"""[rad] The facet's slope: of the collision mesh's stable poses the upright one."""


def plate(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """A flat plate with a rim."""
    profile = [
        (0, 0.0009), (0.0227, 0.0009), (0.0267, 0), (0.0331, 0), (0.0393, 0.0033), (0.0418, 0.0046), (0.0543, 0.0046),
        (0.055, 0.0053), (0.0543, 0.006), (0.0414, 0.006), (0.0395, 0.005), (0.0327, 0.0014), (0.0304, 0.0014),
        (0, 0.0014),
    ]  # fmt: skip
    paint = Paint(colour=(0.91, 0.975, 0.67), glow=0.75)
    add_visual(body, spec, f"look_{body.name}_disc", mesh=lathe(np.array(profile), around=48), paint=paint)
    # SIMPLER's plate touches as its convex hull: a full disc, 6 mm high. An octagon of four boxes keeps box-to-box
    # contacts; the first one's top is a hair higher, so that what lies on the middle rests on one box, not on four.
    for index in range(4):
        top = 0.0030 if index == 0 else 0.00295
        geom = add_box(body, f"{body.name}_{index}", centre=(0, 0, top), half=(0.0515, 0.0213, top))
        turn = (index + 0.5) * np.pi / 4
        geom.quat = [np.cos(turn / 2), 0, 0, np.sin(turn / 2)]


def spoon(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """A spoon with a round handle."""
    handle = [
        (-0.0240, 0.0028, -0.0018, 0.0022), (-0.0202, 0.0033, -0.0020, 0.0037), (-0.0115, 0.0053, -0.0055, 0.0080),
        (0.0060, 0.0080, -0.0100, 0.0108), (0.0235, 0.0098, -0.0109, 0.0120), (0.0409, 0.0108, -0.0105, 0.0125),
        (0.0540, 0.0100, -0.0085, 0.0115), (0.0610, 0.0080, -0.0055, 0.0095), (0.0655, 0.0045, -0.0010, 0.0075),
        (0.0672, 0.0012, 0.0029, 0.0060),
    ]  # fmt: skip
    add_visual(
        body,
        spec,
        f"look_{body.name}_handle",
        mesh=loft(np.array(handle), around=16),
        paint=Paint(textures.spoon_handle(), glow=0.45),
    )
    add_visual(body, spec, f"look_{body.name}_bowl", mesh=_bowl(), paint=Paint(colour=(0.87, 0.87, 0.87), glow=0.6))
    # The round handle and the bowl lie on the table together, which lowers the bowl by 2.7 degrees.
    add_box(body, f"{body.name}_handle", centre=(0.0375, 0, 0.0008), half=(0.0280, 0.0108, 0.0120), pitch=_SPOON_PITCH)
    add_box(body, f"{body.name}_neck", centre=(-0.0060, 0, 0.0008), half=(0.0165, 0.0062, 0.0072))
    add_box(body, f"{body.name}_bowl", centre=(-0.0440, 0, -0.0045), half=(0.0205, 0.0170, 0.0038), pitch=_SPOON_PITCH)
    add_box(body, f"{body.name}_tip", centre=(-0.0672, 0, 0.0055), half=(0.0055, 0.0140, 0.0075))


_SPOON_PITCH = 0.047
"""[rad] Slope of the plane that touches handle and bowl from below."""


def _bowl(rows: int = 9, columns: int = 9) -> Mesh:
    """The spoon's bowl: an oval dish 1.5 mm thick, its edge rising towards the tip at -x."""
    along, across = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    # The square's corners are pulled onto an oval.
    x, y = along * np.sqrt(1 - across**2 / 2), across * np.sqrt(1 - along**2 / 2)
    edge = x**2 + y**2
    height = -0.0060 + 0.0080 * edge + 0.0105 * np.clip(-x, 0, 1) ** 2 - 0.0030 * np.clip(x, 0, 1) ** 2
    inner = np.stack([-0.0465 + 0.0262 * x, 0.0173 * y, height], axis=-1)
    outer = inner - [0, 0, 0.0015]
    rim = [np.stack([a[0] for a in (inner, outer)]), np.stack([a[-1] for a in (outer, inner)])]
    sides = [np.stack([a[:, 0] for a in (outer, inner)]), np.stack([a[:, -1] for a in (inner, outer)])]
    return merge([sheet(inner[:, ::-1]), sheet(outer), *map(sheet, rim + sides)])


def towel(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """A folded towel."""
    add_visual(body, spec, f"look_{body.name}_cloth", mesh=_cloth(), paint=Paint(textures.towel(), glow=0.0))
    add_box(body, f"{body.name}_cloth", centre=(-0.0005, -0.0003, 0), half=(0.0503, 0.0502, 0.0050))


def _cloth(around: int = 48) -> Mesh:
    """A folded towel: a square cushion with round corners and edges, swept around like a lathe's work, but square."""
    # Distance from the axis (1 is the edge) and height [m], from the middle of the bottom to the middle of the top.
    profile = np.array(
        [
            (0, -0.0044),
            (0.95, -0.0044),
            (0.985, -0.0030),
            (1, 0),
            (0.985, 0.0028),
            (0.95, 0.0042),
            (0.7, 0.0050),
            (0, 0.0048),
        ]
    )
    angle = np.linspace(0, 2 * np.pi, around + 1)
    square = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    square /= (np.abs(square) ** 20).sum(axis=-1, keepdims=True) ** (1 / 20)
    out, height = profile[::-1].T
    xy = out[:, None, None] * square * 0.0500 + [-0.0006, -0.0003]
    # One end of SIMPLER's towel is a millimetre thicker than the other.
    z = height[:, None] * (1 + np.where(height > 0, 0.12, 0.0)[:, None] * xy[..., 0] / 0.05)
    points = np.concatenate([xy, z[..., None]], axis=-1)
    return sheet(points, 0.5 + points[..., :2] / 0.104)


def green_cube(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """A 3 cm cube in SIMPLER's flat greens."""
    _cube(body, spec, ("84a795", "3f5b4b", "3a4d3b"))


def yellow_cube(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """A 3 cm cube in SIMPLER's flat yellows."""
    _cube(body, spec, ("fdf8c1", "deb15d", "d7a758"))


def _cube(body: mujoco.MjsBody, spec: mujoco.MjSpec, colours: tuple[str, str, str]) -> None:
    """colours: top and bottom, the sides along x, the sides along y; six hexadecimal digits each."""
    name, half = body.name, 0.015
    cells = [(0.4, (row + 0.4) / 3, 0.6, (row + 0.6) / 3) for row in (1, 1, 2, 2, 0, 0)]
    mesh = box((-half,) * 3, (half,) * 3, cells)
    image = textures.palette(textures.colour_map("\n".join(colours))[:, 0])
    add_visual(body, spec, f"look_{name}_faces", mesh=mesh, paint=Paint(image, glow=0.95))
    add_box(body, f"{name}_sides", centre=(0, 0, 0), half=(half,) * 3)


def eggplant(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """An eggplant of four spheres with flat sides for the fingers."""
    sections = [
        (-0.0449, 0.0014, 0.0108, 0.0135), (-0.0440, 0.0022, 0.0094, 0.0142), (-0.0400, 0.0030, 0.0065, 0.0148),
        (-0.0380, 0.0062, 0.0010, 0.0153), (-0.0336, 0.0098, -0.0045, 0.0161), (-0.0280, 0.0118, -0.0080, 0.0168),
        (-0.0168, 0.0149, -0.0143, 0.0171), (-0.0055, 0.0172, -0.0180, 0.0174), (0.0057, 0.0185, -0.0202, 0.0176),
        (0.0113, 0.0186, -0.0203, 0.0174), (0.0169, 0.0178, -0.0197, 0.0170), (0.0225, 0.0160, -0.0183, 0.0152),
        (0.0281, 0.0122, -0.0148, 0.0107), (0.0320, 0.0068, -0.0085, 0.0050), (0.0337, 0.0015, -0.0030, -0.0005),
    ]  # fmt: skip
    add_visual(
        body,
        spec,
        f"look_{body.name}_skin",
        mesh=loft(np.array(sections)),
        paint=Paint(textures.eggplant(), glow=0.5, shine=0.15),
    )
    add_ball(body, f"{body.name}_belly", centre=(0.0105, 0, -0.0014), radius=0.0186)
    add_ball(body, f"{body.name}_end", centre=(0.0195, 0, -0.0018), radius=0.0143)
    add_ball(body, f"{body.name}_neck", centre=(-0.0165, 0, 0.0014), radius=0.0150)
    add_ball(body, f"{body.name}_stem", centre=(-0.0360, 0.0005, 0.0085), radius=0.0065)
    # SIMPLER's hull has flat facets, which the fingers hold; these boxes touch only the fingers and never the floor.
    add_box(body, f"{body.name}_sides", centre=(0.0095, 0, -0.0014), half=(0.0085, 0.0186, 0.0035), grip_only=True)
    keel = (0.0140, 0.0050, 0.0152)
    add_box(body, f"{body.name}_keel", centre=(-0.0030, 0, -0.0018), half=keel, pitch=_EGGPLANT_PITCH, grip_only=True)


_EGGPLANT_PITCH = 0.236
"""[rad] Slope of the plane that touches belly and neck from below."""


def card(body: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """A printed card, 10 cm square and 3 mm thick; its picture is that of its name, as in "cat_card"."""
    name, half, thick = body.name, 0.0500, 0.0015
    row = np.array([-half, half])
    x, y = np.meshgrid(row, row, indexing="ij")
    # Seen by the robot, which looks along -x, the picture is upright: its rows run along +x, its columns along +y.
    top = sheet(np.stack([x, y, np.full_like(x, thick + 1e-5)], axis=-1))
    picture = draw_card(name.removesuffix("_card"))
    add_visual(body, spec, f"look_{name}_picture", mesh=top, paint=Paint(picture, glow=0.5))
    board = Paint(colour=(0.85, 0.85, 0.83), glow=0.5)
    add_visual(body, spec, f"look_{name}_board", mesh=box((-half, -half, -thick), (half, half, thick)), paint=board)
    add_box(body, f"{name}_sides", centre=(0, 0, 0), half=(half, half, thick))
