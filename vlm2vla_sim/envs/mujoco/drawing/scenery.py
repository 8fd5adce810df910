"""Add a scene record to a MuJoCo model: what is drawn, camera and light, and what the objects lie on.

SIMPLER renders a photo behind robot and objects; the twin rebuilds what that photo shows, because policies take their
bearings from table edge, wall and light. The world frame is the robot's base frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_quaternion
from vlm2vla_sim.envs.mujoco.arm import COLLISION
from vlm2vla_sim.envs.mujoco.drawing.photo import Photo
from vlm2vla_sim.envs.mujoco.objects import find_builder
from vlm2vla_sim.envs.simpler_camera import FOCAL, SIZE
from vlm2vla_sim.envs.tasks import Scene

CAMERA = "primary"


def add_stage(spec: mujoco.MjSpec, scene: Scene, *, quality: str) -> None:
    """Add what is drawn and does not collide: surfaces, light, camera."""
    photo = Photo(scene.camera)
    _add_primary_camera(spec, photo)
    _add_light(spec, scene, shadows=quality == "high")
    find_builder("scene look", scene.look)(spec, photo)


def add_support(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Add what the objects lie on, invisible: a horizontal plane and the scene's own supports."""
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=[0, 0, scene.plane], size=[2, 2, 0.1], group=COLLISION
    )
    if scene.supports:
        find_builder("scene supports", scene.supports)(spec)


def add_camera(spec: mujoco.MjSpec, name: str, position: np.ndarray, axes: np.ndarray, *, fovy: float) -> None:
    """Add a camera.

    Args:
        spec: the scene.
        name: of the camera.
        position: (3,) [m], base frame.
        axes: (3, 3), columns: where the camera looks, its left, its up; base frame.
        fovy: vertical field of view [degrees].
    """
    forward, left, up = axes.T
    # MuJoCo's cameras look along -z with y up.
    columns = np.stack([-left, up, -forward], axis=1)
    turned = matrix_to_quaternion(columns / np.linalg.norm(columns, axis=0))
    spec.worldbody.add_camera(name=name, pos=position, quat=turned, fovy=fovy)


def _add_primary_camera(spec: mujoco.MjSpec, photo: Photo) -> None:
    # SIMPLER's principal point is half a pixel off the image centre, so the camera is turned to the ray of the centre.
    # MuJoCo's `principalpixel` would be exact, but its sign changed between 3.3.7 and 3.17, and it stretches images
    # that are not 4:3.
    forward = photo.ray(SIZE[0] / 2, SIZE[1] / 2)
    left = np.cross(photo.axes[:, 2], forward)
    axes = np.stack([forward, left, np.cross(forward, left)], axis=1)
    add_camera(spec, CAMERA, photo.eye, axes, fovy=float(np.degrees(2 * np.arctan(SIZE[1] / 2 / FOCAL))))


def _add_light(spec: mujoco.MjSpec, scene: Scene, *, shadows: bool) -> None:
    """One directional light: a surface that faces up has brightness 1, one turned away `_AMBIENT`."""
    headlight = spec.visual.headlight
    # Ambient light is the headlight's, because the directional light's own would be missing in its shadow.
    headlight.ambient, headlight.diffuse, headlight.specular = [_AMBIENT] * 3, [0.0] * 3, [0.0] * 3
    direction = np.array(scene.light)
    slant = float(np.linalg.norm(direction))
    spec.worldbody.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=_MIDDLE - direction,
        dir=direction / slant,
        ambient=[0.0] * 3,
        diffuse=[(1.0 - _AMBIENT) * slant] * 3,
        specular=[0.4] * 3,
        castshadow=shadows,
    )
    # The shadow map covers shadowclip times extent around the light's axis; the smaller, the finer.
    spec.stat.center, spec.stat.extent = _MIDDLE, 0.8
    spec.visual.map.shadowclip = 0.6


_AMBIENT = 0.5
_MIDDLE = np.array([0.28, 0.0, 0.1])
