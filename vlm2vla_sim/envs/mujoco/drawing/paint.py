"""Put numpy meshes and numpy pictures into an MjSpec as geoms that are drawn and never touched.

MuJoCo's own defaults would give such a geom mass and contacts, and its brightness would depend on how many lights there
are; here this is settled once.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco.arm import COLLISION, VISUAL
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh


@dataclass(frozen=True, eq=False)
class Paint:
    """How a surface looks: a picture or one colour, and how much of it is its own brightness."""

    picture: np.ndarray | None = None
    """(height, width, 3) uint8 RGB, or None for one colour."""
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """0..1 RGB as displayed; multiplies the picture."""
    glow: float = 0.3
    """0..0.95: the share of the colour that does not depend on light. The lamp of `scenery` is such that surfaces that
    face up show the colour as given; the less it glows the darker are the others, and the shadows."""
    shine: float = 0.0
    """0..1: strength of the highlight."""


def add_visual(body: mujoco.MjsBody, spec: mujoco.MjSpec, name: str, *, mesh: Mesh, paint: Paint) -> mujoco.MjsGeom:
    """Draw `mesh` on `body`, in the body's frame, under `name` (mesh, texture, material and geom all carry it)."""
    asset = spec.add_mesh(name=name)
    asset.uservert = mesh.vertices.astype(np.float32).ravel()
    asset.userface = mesh.faces.astype(np.int32).ravel()
    asset.usertexcoord = mesh.texcoords.astype(np.float32).ravel()
    # Thin and open surfaces enclose no volume; "convex" crashes the compiler of MuJoCo <= 3.8.1 on turned shapes.
    asset.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=add_material(spec, name, paint),
        group=VISUAL,
        contype=0,
        conaffinity=0,
        mass=0,
    )


def add_material(spec: mujoco.MjSpec, name: str, paint: Paint) -> str:
    """The material `name` that shows `paint`; returns the name."""
    material = spec.add_material(name=name)
    # MuJoCo shows rgba * (emission + light); scaled like this, that is `colour` where the light is 1.
    material.rgba = [*((1.0 - paint.glow) * channel for channel in paint.colour), 1.0]
    material.emission = paint.glow / (1.0 - paint.glow)
    material.specular = paint.shine
    material.shininess = 0.5
    material.reflectance = 0.0
    if paint.picture is not None:
        height, width, channels = paint.picture.shape
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
        texture.height, texture.width, texture.nchannel = height, width, channels
        texture.data = np.ascontiguousarray(paint.picture, dtype=np.uint8).tobytes()
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return name


def add_box(body: mujoco.MjsBody, name: str, *, centre: tuple, half: tuple, pitch: float = 0.0) -> mujoco.MjsGeom:
    """An unseen box that collides: centre and half-lengths [m] in the body's frame, turned by `pitch` [rad] about y."""
    return body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=centre,
        size=half,
        quat=[np.cos(pitch / 2), 0.0, np.sin(pitch / 2), 0.0],
        group=COLLISION,
        mass=0,
    )


def add_ball(body: mujoco.MjsBody, name: str, *, centre: tuple, radius: float) -> mujoco.MjsGeom:
    """An unseen sphere that collides: centre and radius [m] in the body's frame."""
    return body.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=centre, size=[radius, 0, 0], group=COLLISION, mass=0
    )
