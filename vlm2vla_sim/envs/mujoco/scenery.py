"""The stage of a scene: table or toy sink, walls, lights and camera, seen; and what carries the objects, felt.

A policy trained on Bridge pictures takes its bearings from the table edge, the wall and the light; SIMPLER lays a
photo behind its robot, and the twin rebuilds what that photo shows. Frames: the world is the robot's base frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.envs.frames import matrix_to_quaternion, quaternion_to_matrix
from vlm2vla_sim.envs.mujoco.arm import COLLISION
from vlm2vla_sim.envs.mujoco.paint import LIGHT_FROM_ABOVE
from vlm2vla_sim.envs.tasks import SINK, TABLE, Scene

CAMERA = "primary"
FOVY = 42.0948
"""[degrees] 2 atan(240 / 623.588): SIMPLER's focal length on its 480 rows."""
# Position [m] and quaternion in the base frame, axes x forward, y left, z up.
# simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py
_CAMERAS = {
    TABLE.name: ((0.0, -0.16, 0.36), (0.8992917, -0.09263245, 0.35892478, 0.23209205)),
    SINK.name: ((-0.00300001, -0.21, 0.39), (-0.907313, 0.0782, -0.36434, -0.194741)),
}


def add_stage(spec: mujoco.MjSpec, scene: Scene, *, quality: str) -> None:
    """Add everything of `scene` that is seen and not touched: surfaces, lights, camera."""
    _add_camera(spec, scene)
    _add_lights(spec, shadows=quality == "high")


def add_support(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Add what carries the objects of `scene`: unseen boxes and a plane that collide."""
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=[0, 0, scene.support_height - scene.base.z],
        size=[2, 2, 0.1],
        group=COLLISION,
    )


def _add_camera(spec: mujoco.MjSpec, scene: Scene) -> None:
    position, quaternion = _CAMERAS[scene.name]
    forward, left, up = quaternion_to_matrix(np.array(quaternion)).T
    # MuJoCo's cameras look along -z with y up.
    turned = matrix_to_quaternion(np.stack([-left, up, -forward], axis=1))
    spec.worldbody.add_camera(name=CAMERA, pos=position, quat=turned, fovy=FOVY)


def _add_lights(spec: mujoco.MjSpec, *, shadows: bool) -> None:
    headlight = spec.visual.headlight
    headlight.ambient, headlight.diffuse, headlight.specular = [0.0] * 3, [0.0] * 3, [0.0] * 3
    direction = np.array([0.25, -0.35, -1.0])
    direction /= np.linalg.norm(direction)
    spec.worldbody.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0, 0, 1.5],
        dir=direction,
        ambient=[0.0] * 3,
        diffuse=[LIGHT_FROM_ABOVE / -direction[2]] * 3,
        specular=[0.5] * 3,
        castshadow=shadows,
    )
