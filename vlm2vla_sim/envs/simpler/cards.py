"""Printed cards in the SIMPLER scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sapien.render import RenderMaterial, RenderTexture2D

from vlm2vla_sim.envs.card_pictures import draw_card
from vlm2vla_sim.envs.simpler import parts
from vlm2vla_sim.envs.tasks import ObjectSpec

ROUGHNESS = 0.9
"""Of paper: hardly any highlight."""


def add_card(builder: Any, spec: ObjectSpec, material: Any) -> None:
    """Give an actor's builder the shape and the picture of a card; its frame is at its centre.

    material: `sapien.physx.PhysxMaterial`.
    """
    x, y, z = (length / 2 for length in spec.extents)
    builder.add_box_collision(half_size=[x, y, z], material=material, density=spec.density)
    builder.add_box_visual(half_size=[x, y, z * 0.98], material=RenderMaterial(roughness=ROUGHNESS))
    image = draw_card(spec.card)
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    printed = RenderMaterial(roughness=ROUGHNESS)
    printed.base_color_texture = RenderTexture2D(opaque, "R8G8B8A8Unorm", mipmap_levels=6, srgb=True)
    # Seen by the robot, which looks along -x, the picture is upright: its rows run along +x, its columns along +y.
    corners = [(-x, -y, 0, 1), (x, -y, 0, 0), (x, y, 1, 0), (-x, y, 1, 1)]
    lines = [f"v {a:.6f} {b:.6f} {z:.6f}" for a, b, *_ in corners]
    lines += [*(f"vt {u} {v}" for *_, u, v in corners), "vn 0 0 1", "f 1/1/1 2/2/1 3/3/1 4/4/1"]
    file = parts.write_file(spec.name, "\n".join(lines) + "\n")
    builder.add_visual_from_file(filename=str(file), material=printed)
