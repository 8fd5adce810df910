"""Add NumPy meshes and textures to an MjSpec as geoms that are drawn only, and primitives that collide only.

MuJoCo's defaults would give a drawn geom mass and contacts, and its brightness would depend on the number of lights.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco.arm import COLLISION, VISUAL
from vlm2vla_sim.envs.mujoco.drawing.shapes import Mesh


@dataclass(frozen=True, eq=False)
class Paint:
    """The material of a surface: a texture or one colour, and the share of it that is emitted."""

    image: np.ndarray | None = None
    """(height, width, 3) uint8 RGB texture, or None for one colour."""
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """0..1 RGB as displayed; multiplies the texture."""
    glow: float = 0.3
    """0..0.95: the share of the colour that does not depend on light. Under the light of `scenery`, surfaces that face
    up show the colour as given; the lower the share, the darker are other surfaces and shadows."""
    shine: float = 0.0
    """0..1: strength of the specular highlight."""


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
    if paint.image is not None:
        height, width, channels = paint.image.shape
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
        texture.height, texture.width, texture.nchannel = height, width, channels
        texture.data = np.ascontiguousarray(paint.image, dtype=np.uint8).tobytes()
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return name


GRIP_ONLY = (0, 1)
"""MuJoCo's contype and conaffinity of a geom that only the robot touches (see `mujoco.scene`)."""


def add_box(
    body: mujoco.MjsBody, name: str, *, centre: tuple, half: tuple, pitch: float = 0.0, grip_only: bool = False
) -> mujoco.MjsGeom:
    """Add an invisible box that collides.

    Args:
        body: the body that carries it.
        name: of the geom.
        centre: [m] in the body's frame.
        half: half-lengths [m].
        pitch: [rad] rotation about the body's y axis.
        grip_only: whether the box collides with the robot and with nothing else.
    """
    contype, conaffinity = GRIP_ONLY if grip_only else (1, 1)
    return body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=centre,
        size=half,
        quat=[np.cos(pitch / 2), 0.0, np.sin(pitch / 2), 0.0],
        group=COLLISION,
        contype=contype,
        conaffinity=conaffinity,
        mass=0,
    )


def add_ball(body: mujoco.MjsBody, name: str, *, centre: tuple, radius: float) -> mujoco.MjsGeom:
    """Add an invisible sphere that collides: centre and radius [m] in the body's frame."""
    return body.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=centre, size=[radius, 0, 0], group=COLLISION, mass=0
    )
