"""How a `Variation` changes SIMPLER's scenes: paint and textures of the objects, light, camera, and the photo.

The twin does the same to its own model (`envs.mujoco.variations`). Light reaches robot and objects by SAPIEN, and the
photo behind them by `envs.photo`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import sapien
from sapien.render import (
    RenderBodyComponent,
    RenderDirectionalLightComponent,
    RenderMaterial,
    RenderShapeTriangleMesh,
    RenderTexture2D,
)

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.colours import find_colour, hue
from vlm2vla_sim.envs.patterns import pattern
from vlm2vla_sim.envs.simpler import parts
from vlm2vla_sim.envs.simpler_camera import CENTRE, focal
from vlm2vla_sim.envs.tasks import Scene
from vlm2vla_sim.envs.variation import Variation, axes_of

TILE = 0.03
"""[m] side of one tile of a texture on an object."""
GAMMA = 2.2
BRIGHTEST = 1.6
"""Times its own brightness that a low main light may have."""


def material(colour: str, texture: str = "") -> RenderMaterial | None:
    """What an object is painted with; None for its own look."""
    if not (colour or texture):
        return None
    made = RenderMaterial(roughness=0.8, specular=0.2)
    if texture:
        image = np.dstack([pattern(texture, colour), np.full((*pattern(texture).shape[:2], 1), 255, np.uint8)])
        made.base_color_texture = RenderTexture2D(image, "R8G8B8A8Unorm", srgb=True)
    else:
        made.base_color = [*(channel**GAMMA for channel in find_colour(colour)), 1.0]
    return made


@functools.cache
def project(path: Path) -> Path:
    """A Wavefront file of the mesh in the file `path`, with texture coordinates projected along x, y and z."""
    lines, first = [], 1
    for part in RenderShapeTriangleMesh(str(path)).parts:
        corners = part.triangles.reshape(-1).astype(int)
        points, normals = part.vertices[corners], part.get_vertex_normal()[corners]
        faces = points.reshape(-1, 3, 3)
        across = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
        axis = np.repeat(np.abs(across).argmax(axis=1), 3)
        pairs = np.array([[1, 2], [0, 2], [0, 1]])[axis]
        places = np.take_along_axis(points, pairs, axis=1) / TILE + 0.5
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in points]
        lines += [f"vt {u:.6g} {v:.6g}" for u, v in places]
        lines += [f"vn {x:.6g} {y:.6g} {z:.6g}" for x, y, z in normals]
        numbers = (first + np.arange(len(corners))).reshape(-1, 3)
        lines += ["f " + " ".join(f"{n}/{n}/{n}" for n in face) for face in numbers]
        first += len(corners)
    return parts.write_file(path.parent.name, "\n".join(lines) + "\n")


def vary_light(scene: Any, variation: Variation) -> None:
    """Change the lights that ManiSkill has put into its `scene`; the brightest is the main one."""
    tint = variation.light_strength * np.array(hue(variation.light_colour))
    scene.set_ambient_light(list(np.array(scene.ambient_light) * tint))
    found = [
        light
        for entity in scene.sub_scenes[0].entities
        for light in entity.components
        if isinstance(light, RenderDirectionalLightComponent)
    ]
    main = max(found, key=lambda light: max(light.color))
    if variation.light_azimuth is not None or variation.light_elevation is not None:
        _aim(main, variation)
    for light in found:
        light.color = np.array(light.color) * tint
    for entity in scene.sub_scenes[0].entities:
        _dim_glow(entity, tint)


def _dim_glow(entity: Any, tint: np.ndarray) -> None:
    """Change what an object emits: the colours of SIMPLER's cubes are baked, light and all."""
    body = entity.find_component_by_type(RenderBodyComponent)
    for part in (part for shape in body.render_shapes for part in shape.parts) if body else ():
        glow = np.array(part.material.emission)
        if glow[:3].any():
            part.material.emission = [*(glow[:3] * tint), glow[3]]


def _aim(light: Any, variation: Variation) -> None:
    azimuth, elevation = np.radians(variation.light_azimuth or 0.0), np.radians(variation.light_elevation or 90.0)
    level = np.cos(elevation)
    # SIMPLER's main light shines straight down, and its robot faces -x in the world.
    down = np.array([level * np.cos(azimuth), level * np.sin(azimuth), -np.sin(elevation)])
    light.entity.pose = sapien.Pose(light.entity.pose.p, sapien.math.shortest_rotation([1, 0, 0], down))
    light.color = np.array(light.color) * min(BRIGHTEST, 1 / np.sin(elevation))


def camera_config(scene: Scene, variation: Variation) -> dict[str, Any]:
    """What ManiSkill is told about a camera that is turned or zoomed; nothing for SIMPLER's own."""
    if not variation.changes("camera_"):
        return {}
    axes, length = variation.turn_camera(axes_of(scene.camera.quaternion)), focal(variation)
    return {
        "pose": sapien.Pose(scene.camera.position, frames.matrix_to_quaternion(axes)),
        "intrinsic": np.array([[length, 0, CENTRE[0]], [0, length, CENTRE[1]], [0, 0, 1]]),
    }
