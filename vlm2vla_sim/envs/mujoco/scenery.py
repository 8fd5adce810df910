"""The stage of a scene: table or toy sink, walls, lights and camera, seen; and what carries the objects, felt.

A policy trained on Bridge pictures takes its bearings from the table edge, the wall and the light; SIMPLER lays a
photo behind its robot, and the twin rebuilds what that photo shows. Frames: the world is the robot's base frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.envs.frames import matrix_to_quaternion, quaternion_to_matrix
from vlm2vla_sim.envs.mujoco.arm import COLLISION
from vlm2vla_sim.envs.mujoco.paint import add_box
from vlm2vla_sim.envs.mujoco.sink_stage import add_sink_stage
from vlm2vla_sim.envs.mujoco.table_stage import add_table_stage
from vlm2vla_sim.envs.tasks import SINK, TABLE, Scene

CAMERA = "primary"
FOCAL, CENTRE = 623.588, (319.501, 239.545)
"""[pixels] of SIMPLER's 640 x 480 camera. The twin keeps the focal length; its centre is the picture's."""
# Position [m] and quaternion in the base frame, axes x forward, y left, z up.
# simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py
_CAMERAS = {
    TABLE.name: ((0.0, -0.16, 0.36), (0.8992917, -0.09263245, 0.35892478, 0.23209205)),
    SINK.name: ((-0.00300001, -0.21, 0.39), (-0.907313, 0.0782, -0.36434, -0.194741)),
}


def add_stage(spec: mujoco.MjSpec, scene: Scene, *, quality: str) -> None:
    """Add everything of `scene` that is seen and not touched: surfaces, lights, camera."""
    position, turn = _CAMERAS[scene.name]
    eye, axes = np.array(position), quaternion_to_matrix(np.array(turn))
    _add_camera(spec, eye, axes)
    _add_lights(spec, scene, shadows=quality == "high")

    def on_plane(
        point: np.ndarray, normal: tuple[float, float, float], pixels: list[tuple[float, float]]
    ) -> np.ndarray:
        """(n, 3) [m]: where the rays of `pixels` (column, row; of SIMPLER's 640 x 480) meet a plane; base frame."""
        steps = [[1.0, (CENTRE[0] - u) / FOCAL, (CENTRE[1] - v) / FOCAL] for u, v in pixels]
        rays = np.array(steps) @ axes.T
        return eye + rays * (((point - eye) @ np.array(normal)) / (rays @ np.array(normal)))[:, None]

    if scene.name == TABLE.name:
        add_table_stage(spec, on_plane)
    else:
        add_sink_stage(spec, on_plane)


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
        _add_slope(spec)


# Lowest and highest corner [m] of each block. The heights are those of SIMPLER's collision mesh, 82 convex parts, which
# lies at (-0.16, 0.13, 0.88) in its world. simpler-env/ManiSkill2_real2sim@ef7a4d4 data/custom/models/sink
_SINK_BLOCKS = (
    ("sink_floor", (0.186, -0.240, 0.030), (0.342, -0.110, 0.0702)),
    ("sink_front", (0.150, -0.262, 0.030), (0.186, 0.130, 0.1250)),
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


def _add_slope(spec: mujoco.MjSpec) -> None:
    """The tub's floor rises by 4 mm towards the basket, from y = -0.11."""
    slope, thickness = 0.065, 0.02
    geom = add_box(spec.worldbody, "sink_slope", centre=(0.264, 0, 0), half=(0.078, 0.033, thickness))
    geom.pos[1:] = [-0.078, 0.0702 + 0.032 * slope - thickness]
    geom.quat = [np.cos(slope / 2), np.sin(slope / 2), 0, 0]


def _add_camera(spec: mujoco.MjSpec, eye: np.ndarray, axes: np.ndarray) -> None:
    forward, left, up = axes.T
    # MuJoCo's cameras look along -z with y up.
    turned = matrix_to_quaternion(np.stack([-left, up, -forward], axis=1))
    fovy = float(np.degrees(2 * np.arctan(240 / FOCAL)))
    spec.worldbody.add_camera(name=CAMERA, pos=eye, quat=turned, fovy=fovy)


def _add_lights(spec: mujoco.MjSpec, scene: Scene, *, shadows: bool) -> None:
    """One lamp: a surface that faces up gets exactly 1, one turned away `_AMBIENT`."""
    spec.visual.headlight.active = False
    # At the table SIMPLER's light comes from the left, at the sink from above.
    direction = np.array([0.15, -0.45, -1.0] if scene.name == TABLE.name else [0.0, -0.1, -1.0])
    spec.worldbody.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.0, -0.1, 1.5],
        dir=direction / np.linalg.norm(direction),
        ambient=[_AMBIENT] * 3,
        diffuse=[(1.0 - _AMBIENT) * float(np.linalg.norm(direction))] * 3,
        specular=[0.4] * 3,
        castshadow=shadows,
    )


_AMBIENT = 0.5
