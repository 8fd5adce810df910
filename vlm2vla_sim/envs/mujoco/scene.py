"""Compile one scene of the twin: robot, scene, objects, and the contact parameters for reliable grasps.

The numbers were found by experiment; `docs/architecture.md` and `benchmarks/README.md` say what changes when one of
them does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import mujoco
import numpy as np

from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.mujoco import objects, variations
from vlm2vla_sim.envs.mujoco.arm import COLLISION, add_arm
from vlm2vla_sim.envs.mujoco.drawing import scenery
from vlm2vla_sim.envs.mujoco.drawing.paint import GRIP_ONLY
from vlm2vla_sim.envs.tasks import ObjectSpec, Task
from vlm2vla_sim.envs.variation import Variation

TIMESTEP = 0.002
"""[s] SIMPLER's own. simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:167-168"""
PRIMARY_CAMERA = "primary"

# contype and conaffinity by kind of geom. Links of the robot do not collide with each other, nor do parts of the stage.
ROBOT, OBJECT, STAGE = (1, 0), (2, 3), (0, 3)
# Sliding friction. PhysX averages the two materials' coefficients, MuJoCo takes the geom of higher priority: fingers
# 2.0 with objects 0.5 give 1.25, the stage's 1.0 with objects 0.5 gives 0.75. simpler-env/ManiSkill2_real2sim@ef7a4d4
# agents/configs/widowx/defaults.py:15-32, envs/sapien_env.py:596-608, custom_scenes/base_env.py:441-442
FINGER_FRICTION, STAGE_FRICTION, OBJECT_FRICTION = 1.25, 0.75, 0.5
ROLLING_FRICTION = 0.0001
"""[m] where the scene sets none."""
IMPEDANCE = (0.9, 0.995, 0.0005, 0.5, 1)
"""MuJoCo's solimp: contacts that are soft at the surface and nearly rigid half a millimetre deep. Softer, the arm
presses a fingertip so deep into an object that the contact normal turns sideways and shoves the object away; in SIMPLER
the finger stays on top of it. As hard at the surface, objects slip out of the gripper."""

DEFAULT = Variation()


def build_model(
    task: Task,
    *,
    quality: str,
    image_size: tuple[int, int] | None,
    extras: Sequence[ObjectSpec] = (),
    cameras: Mapping[str, Camera] = MappingProxyType({}),
    variation: Variation = DEFAULT,
) -> mujoco.MjModel:
    """The compiled scene of `task`, with the objects `extras` and the `cameras` besides its own.

    World and base frame are the same. `task` has the sizes of `variation` already (`Variation.scale`).
    """
    spec = mujoco.MjSpec()
    spec.modelname = task.name
    spec.compiler.degree = False
    _set_physics(spec)
    add_arm(spec, task.arm)
    scenery.add_stage(spec, task.scene, quality=quality)
    scenery.add_support(spec, task.scene)
    objects.add_object(spec, task.source)
    if task.target.fixed is None:
        objects.add_object(spec, task.target)
    for extra in extras:
        objects.add_object(spec, extra)
    for name, camera in cameras.items():
        scenery.add_camera(spec, name, np.array(camera.position), camera.axes(), fovy=camera.fovy)
    _set_contacts(spec, task)
    sizes = [image_size or (16, 16), *(camera.size for camera in cameras.values() if camera.size)]
    _set_image(spec, quality=quality, buffer=(max(height for height, _ in sizes), max(width for _, width in sizes)))
    for name, size in ((task.source.name, variation.source_size), (task.target.name, variation.target_size)):
        if size != 1:
            variations.scale_body(spec, name, size)
    if variation.source_texture:
        variations.wrap_in_texture(spec, task.source.name, variation.source_texture, variation.source_colour)
    model = spec.compile()
    variations.vary_model(model, task, variation)
    return model


def _set_physics(spec: mujoco.MjSpec) -> None:
    option = spec.option
    option.timestep = TIMESTEP
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0
    option.iterations = 20
    option.ls_iterations = 20


def _set_contacts(spec: mujoco.MjSpec, task: Task) -> None:
    """Set which geoms collide, and with which friction and softness."""
    links = task.arm.link_names
    for geom in spec.geoms:
        if int(geom.group) != COLLISION:
            geom.contype = geom.conaffinity = 0
            continue
        body, rolling, geom.condim = geom.parent, ROLLING_FRICTION, 4
        if body.name in links:
            (geom.contype, geom.conaffinity), friction, geom.priority = ROBOT, FINGER_FRICTION, 2
        elif body.name == "world":
            (geom.contype, geom.conaffinity), friction, geom.priority = STAGE, STAGE_FRICTION, 1
            if task.scene.rolling_friction is not None:
                rolling, geom.condim = task.scene.rolling_friction, 6
        else:
            friction, geom.priority = OBJECT_FRICTION, 0
            if (geom.contype, geom.conaffinity) != GRIP_ONLY:
                geom.contype, geom.conaffinity = OBJECT
        geom.friction = [friction, 0.005, rolling]
        geom.solref = [2 * TIMESTEP, 1]  # as hard as the time step allows, so that pressed objects do not sink in
        geom.solimp = IMPEDANCE


def _set_image(spec: mujoco.MjSpec, *, quality: str, buffer: tuple[int, int]) -> None:
    spec.visual.global_.offheight, spec.visual.global_.offwidth = buffer
    spec.visual.quality.offsamples = 4 if quality == "high" else 0
    spec.visual.quality.shadowsize = 2048 if quality == "high" else 0
