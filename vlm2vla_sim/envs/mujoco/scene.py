"""Assemble one scene of the twin: arm, stage, the two objects, and the physics that make grasping sure.

The numbers here were chosen by trying: see `docs/architecture.md`, and `benchmarks/README.md` for what grasping costs
when one of them changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from vlm2vla_sim.envs.mujoco import objects
from vlm2vla_sim.envs.mujoco.arm import COLLISION, add_arm
from vlm2vla_sim.envs.mujoco.drawing import scenery
from vlm2vla_sim.envs.tasks import BASKET, SINK, ObjectSpec, Task
from vlm2vla_sim.types import Pose

TIMESTEP = 0.002
"""[s] SIMPLER's own. simpler-env/ManiSkill2_real2sim@ef7a4d4 put_on_in_scene.py:167-168"""
PRIMARY_CAMERA = "primary"

BASKET_POSE = Pose(np.array([0.2700, 0.0377, 0.0856]), np.array([0.01544, 0.06327, 0.00152, -0.99788]))
"""Where SIMPLER's invisible target plane comes to rest in the drainer basket, base frame; measured on our backend
"simpler", profile "simpler" (mani-skill 3.0.1, sapien 3.0.3, CPU), alike in all 24 episodes."""

# Who touches whom: (what a geom is, what it meets). Robot parts never meet one another, nor do parts of the stage.
ROBOT, OBJECT, STAGE, GRIP_ONLY = (1, 0), (2, 3), (0, 3), (0, 1)
# Sliding friction. PhysX averages the two materials' coefficients, MuJoCo takes the geom of higher priority: fingers
# 2.0 with objects 0.5 give 1.25, the stage's 1.0 with objects 0.5 gives 0.75. simpler-env/ManiSkill2_real2sim@ef7a4d4
# agents/configs/widowx/defaults.py:15-32, envs/sapien_env.py:596-608, custom_scenes/base_env.py:441-442
FINGER_FRICTION, STAGE_FRICTION, OBJECT_FRICTION = 1.25, 0.75, 0.5
ROLLING_FRICTION = 0.003
"""[m] On the sink's floor only: SIMPLER's eggplant has facets and lies still, ours is made of balls and would roll."""
IMPEDANCE = (0.9, 0.995, 0.0005, 0.5, 1)
"""MuJoCo's solimp: contacts soft enough to grasp surely, and nearly rigid half a millimetre deep. With less, the arm
presses a fingertip so deep into an object that the contact turns sideways and shoves the object away; in SIMPLER the
finger stays on top of it. As hard at the surface, objects slip out of the gripper."""
GRIPS = ("eggplant_sides", "eggplant_keel")
"""Flats that give the fingers a line to hold and must not lift the object off the floor."""


def build_model(
    task: Task, *, quality: str, image_size: tuple[int, int] | None, extras: Sequence[ObjectSpec] = ()
) -> mujoco.MjModel:
    """The compiled scene of `task`, with the objects `extras` besides its own. The world is the robot's base frame."""
    spec = mujoco.MjSpec()
    spec.modelname = task.name
    spec.compiler.degree = False
    _set_physics(spec)
    add_arm(spec)
    scenery.add_stage(spec, task.scene, quality=quality)
    scenery.add_support(spec, task.scene)
    objects.add_object(spec, task.source)
    if task.target is not BASKET:
        objects.add_object(spec, task.target)
    for extra in extras:
        objects.add_object(spec, extra)
    _set_contacts(spec, task)
    _set_picture(spec, quality=quality, image_size=image_size)
    return spec.compile()


def _set_physics(spec: mujoco.MjSpec) -> None:
    option = spec.option
    option.timestep = TIMESTEP
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0
    option.iterations = 20
    option.ls_iterations = 20


def _set_contacts(spec: mujoco.MjSpec, task: Task) -> None:
    """Give every collision geom its place in the contact table, its friction and its softness."""
    for geom in spec.geoms:
        if int(geom.group) != COLLISION:
            geom.contype = geom.conaffinity = 0
            continue
        body, rolling, geom.condim = geom.parent, 0.0001, 4
        if _is_robot(body):
            (geom.contype, geom.conaffinity), friction, geom.priority = ROBOT, FINGER_FRICTION, 2
        elif body.name == "world":
            (geom.contype, geom.conaffinity), friction, geom.priority = STAGE, STAGE_FRICTION, 1
            rolling, geom.condim = (ROLLING_FRICTION, 6) if task.scene is SINK else (0.0001, 4)
        else:
            (geom.contype, geom.conaffinity), friction, geom.priority = OBJECT, OBJECT_FRICTION, 0
            if geom.name in GRIPS:
                geom.contype, geom.conaffinity = GRIP_ONLY
        geom.friction = [friction, 0.005, rolling]
        geom.solref = [2 * TIMESTEP, 1]  # as hard as the time step allows: pressed objects must not sink into the table
        geom.solimp = IMPEDANCE


def _is_robot(body: mujoco.MjsBody) -> bool:
    return body.name.endswith("_link")


def _set_picture(spec: mujoco.MjSpec, *, quality: str, image_size: tuple[int, int] | None) -> None:
    height, width = image_size or (16, 16)
    spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
    spec.visual.quality.offsamples = 4 if quality == "high" else 0
    spec.visual.quality.shadowsize = 2048 if quality == "high" else 0
