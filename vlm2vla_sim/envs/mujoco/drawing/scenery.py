"""The stage of a scene: table or toy sink, walls, lights and camera, seen; and what carries the objects, felt.

A policy trained on Bridge pictures takes its bearings from the table edge, the wall and the light; SIMPLER lays a
photo behind its robot, and the twin rebuilds what that photo shows. Frames: the world is the robot's base frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_quaternion
from vlm2vla_sim.envs.mujoco.arm import COLLISION
from vlm2vla_sim.envs.mujoco.drawing.paint import add_box
from vlm2vla_sim.envs.mujoco.drawing.photo import FOCAL, SIZE, Photo
from vlm2vla_sim.envs.mujoco.drawing.sink_stage import add_sink_stage
from vlm2vla_sim.envs.mujoco.drawing.table_stage import add_table_stage
from vlm2vla_sim.envs.tasks import SINK, TABLE, Scene

CAMERA = "primary"


def add_stage(spec: mujoco.MjSpec, scene: Scene, *, quality: str) -> None:
    """Add everything of `scene` that is seen and not touched: surfaces, lights, camera."""
    photo = Photo(scene)
    _add_camera(spec, photo)
    _add_lights(spec, scene, shadows=quality == "high")
    (add_table_stage if scene.name == TABLE.name else add_sink_stage)(spec, photo)


def add_support(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Add what carries the objects of `scene`, unseen: a plane that collides and, for the sink, boxes."""
    # The sink's stage, on which it stands, lies at the height of the robot's base.
    height = 0.0 if scene.name == SINK.name else scene.support_height - scene.base.z
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=[0, 0, height], size=[2, 2, 0.1], group=COLLISION
    )
    if scene.name == SINK.name:
        for name, low, high in _SINK_BLOCKS:
            centre, half = (np.add(high, low) / 2, np.subtract(high, low) / 2)
            add_box(spec.worldbody, name, centre=tuple(centre), half=tuple(half))
        _add_slopes(spec)


# Lowest and highest corner [m] of each block. The heights are those of SIMPLER's collision mesh, 82 convex parts, which
# lies at (-0.16, 0.13, 0.88) in its world. simpler-env/ManiSkill2_real2sim@ef7a4d4 data/custom/models/sink
_SINK_BLOCKS = (
    ("sink_floor", (0.186, -0.240, 0.030), (0.342, -0.110, 0.0708)),
    ("sink_front", (0.150, -0.262, 0.030), (0.181, 0.130, 0.1250)),
    ("sink_toe", (0.150, -0.262, 0.030), (0.186, 0.130, 0.0920)),
    ("sink_back", (0.340, -0.262, 0.030), (0.424, 0.130, 0.1300)),
    ("sink_rack", (0.360, -0.030, 0.130), (0.402, 0.096, 0.1460)),
    ("sink_right", (0.186, -0.262, 0.030), (0.340, -0.238, 0.1250)),
    ("sink_left", (0.186, 0.082, 0.030), (0.340, 0.130, 0.1280)),
    ("sink_foot", (0.333, -0.240, 0.030), (0.340, -0.046, 0.0880)),
    ("sink_ridge", (0.186, -0.037, 0.030), (0.340, -0.025, 0.1290)),
    ("sink_shoulder", (0.186, -0.048, 0.030), (0.340, -0.017, 0.0920)),
    ("basket_floor", (0.186, -0.018, 0.030), (0.342, 0.083, 0.0775)),
    ("basket_foot", (0.322, -0.018, 0.030), (0.342, 0.040, 0.0885)),
)


def _add_slopes(spec: mujoco.MjSpec) -> None:
    """The tub's floor rises by 4 mm towards the basket, from y = -0.11; the front rim leans away from fingers."""
    slope, thickness = 0.065, 0.02
    geom = add_box(spec.worldbody, "sink_slope", centre=(0.264, 0, 0), half=(0.078, 0.033, thickness))
    geom.pos[1:] = [-0.078, 0.0708 + 0.032 * slope - thickness]
    geom.quat = [np.cos(slope / 2), np.sin(slope / 2), 0, 0]
    # From (x, z) = (0.181, 0.125) down to (0.186, 0.092): on a sharp edge there a finger that comes down would stay.
    lean, thickness = np.arctan2(0.005, 0.033), 0.005
    geom = add_box(spec.worldbody, "sink_rim", centre=(0, -0.066, 0), half=(thickness, 0.196, 0.017))
    geom.pos[::2] = [0.1835 - thickness * np.cos(lean), 0.1085 - thickness * np.sin(lean)]
    geom.quat = [np.cos(lean / 2), 0, -np.sin(lean / 2), 0]


def _add_camera(spec: mujoco.MjSpec, photo: Photo) -> None:
    # SIMPLER's optical axis misses the picture's middle by half a pixel, so the camera is turned to where the middle
    # looks. MuJoCo's `principalpixel` would say it better, but its sign changed between 3.3.7 and 3.17, and it
    # stretches pictures that are not 4:3.
    forward = photo.ray(SIZE[0] / 2, SIZE[1] / 2)
    left = np.cross(photo.axes[:, 2], forward)
    up = np.cross(forward, left)
    # MuJoCo's cameras look along -z with y up.
    columns = np.stack([-left, up, -forward], axis=1)
    turned = matrix_to_quaternion(columns / np.linalg.norm(columns, axis=0))
    fovy = float(np.degrees(2 * np.arctan(SIZE[1] / 2 / FOCAL)))
    spec.worldbody.add_camera(name=CAMERA, pos=photo.eye, quat=turned, fovy=fovy)


def _add_lights(spec: mujoco.MjSpec, scene: Scene, *, shadows: bool) -> None:
    """One lamp: a surface that faces up gets exactly 1, one turned away `_AMBIENT`."""
    headlight = spec.visual.headlight
    # Ambient light is the headlight's, because a lamp's own would be missing in its shadow.
    headlight.ambient, headlight.diffuse, headlight.specular = [_AMBIENT] * 3, [0.0] * 3, [0.0] * 3
    # At the table SIMPLER's light comes from the left, at the sink from above.
    direction = np.array([0.15, -0.45, -1.0] if scene.name == TABLE.name else [0.0, -0.1, -1.0])
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
    # The shadow map covers what lies around the lamp's axis within shadowclip times extent: the less, the finer.
    spec.stat.center, spec.stat.extent = _MIDDLE, 0.8
    spec.visual.map.shadowclip = 0.6


_AMBIENT = 0.5
_MIDDLE = np.array([0.28, 0.0, 0.1])
