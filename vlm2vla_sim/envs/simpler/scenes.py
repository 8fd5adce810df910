"""ManiSkill 3's Bridge scenes: as shipped, or with the original SIMPLER's physics and start restored.

ManiSkill 3 has weaker fingers and a shorter settling time, and shares one photo between environments, so that scores
differ from the published ones. `Original` lists what is restored, each item with its source. MS2 below is
simpler-env/ManiSkill2_real2sim@ef7a4d4 `mani_skill2_real2sim/`, MS3 is mani_skill 3.0.1 `mani_skill/`. ManiSkill looks
for its assets when it is imported: import this module after `assets.prepare()`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import sapien
import torch
from mani_skill import logger
from mani_skill.agents.robots.widowx.widowx import WidowX250S
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval import base_env, put_on_in_scene
from mani_skill.utils import io_utils
from sapien.physx import PhysxMaterial, PhysxRigidDynamicComponent

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.photo import vary_photo
from vlm2vla_sim.envs.simpler import parts, variations
from vlm2vla_sim.envs.simpler.assets import LISTS, VISUALS, actor_name
from vlm2vla_sim.envs.simpler.cards import add_card
from vlm2vla_sim.envs.simpler.upstream_scenes import AsShipped, about_z, own_scene_class
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task, is_built_in
from vlm2vla_sim.envs.variation import Variation
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S

ORIGINAL_PHYSICS = {
    # MS2 envs/sapien_env.py:596-608; contact offset envs/custom_scenes/move_near_in_scene.py:77-82
    "scene_config": {
        "contact_offset": 0.005,
        "solver_position_iterations": 25,
        "solver_velocity_iterations": 1,
        "enable_pcm": False,
    },
    "default_materials_config": {"static_friction": 1.0, "dynamic_friction": 1.0, "restitution": 0.0},
}
_FINGER = {"material": "gripper", "patch_radius": 0.01, "min_patch_radius": 0.01}
ORIGINAL_FINGERS = {
    # MS2 agents/configs/widowx/defaults.py:15-32
    "_materials": {"gripper": {"static_friction": 2.0, "dynamic_friction": 2.0, "restitution": 0.0}},
    "link": {"left_finger_link": _FINGER, "right_finger_link": _FINGER},
}
ORIGINAL_PLANES = {"flat_table": {"near": 0.1, "far": 10.0}, "sink": {"near": 0.01, "far": 10.0}}
"""[m] clipping planes of the camera, by ManiSkill's scene setting. MS2 sensors/camera.py (the default, for the table),
defaults.py:284-298 (sink)"""
DAMPING = 0.1
"""[1/s] of both objects, linear and angular. MS2 move_near_in_scene.py:134-135"""
DROP_HEIGHT = 0.87 + 0.5
"""[m, world] from which the objects fall. MS2 custom_scenes/base_env.py:62, move_near_in_scene.py:283-285"""
PARKED = (-10.0, 0.0, 0.0)
"""[m, world] where the robot is until the objects have settled. MS2 move_near_in_scene.py:303"""
STILL = (1e-3, 1e-2)
"""[m/s], [rad/s]: above either, summed over the objects, they settle for another 1.5 s.
MS2 move_near_in_scene.py:317-322"""

DEFAULT = Variation()
STACKED, ALOFT = 0.01, 5.0
"""[m] above an object from which another one falls that is to lie on it, and height [m, world] at which it is until the
lower one lies: ours, SIMPLER has no such scene."""
_IGNORED_WARNINGS = ("Mimic targets dictionary is missing", "No initial pose set for actor builder")
"""Beginnings of warnings that ManiSkill logs about its own code at every reset."""


def make_scene(
    task: Task,
    *,
    profile: str,
    shader: str,
    render_backend: str,
    variation: Variation = DEFAULT,
    others: Sequence[ObjectSpec] = (),
) -> Any:
    """One environment of ManiSkill 3 for `task`, without a time limit.

    `reset` takes options["layout"], and with `others` options["places"], their places in order.

    Args:
        task: with SIMPLER's own sizes.
        profile: "simpler" or "maniskill3".
        shader: ManiSkill's shader pack.
        render_backend: "gpu" or "cpu".
        variation: for the profile "simpler".
        others: further objects with a `model`; for the profile "simpler".
    """
    camera: dict[str, Any] = {"shader_pack": shader}
    physics: dict[str, Any] = {}
    if profile == "simpler":
        camera |= ORIGINAL_PLANES[task.scene.maniskill] | variations.camera_config(task.scene, variation)
        physics = ORIGINAL_PHYSICS
    logger.addFilter(_is_relevant)
    return _scene_class(task, profile, {"variation": variation, "others": tuple(others)})(
        obs_mode="rgb+segmentation",
        sim_backend="physx_cpu",
        render_backend=render_backend,
        sensor_configs=camera,
        sim_config=physics,
    )


def _scene_class(task: Task, profile: str, extra: dict[str, Any]) -> type:
    """A class for one environment only.

    ManiSkill keeps the photo, and the list of what is shown in front of it, in class attributes, which environments of
    one class would share. (MS3 envs/tasks/digital_twins/base_env.py:44,50)
    """
    shipped = is_built_in(task)
    upstream = getattr(put_on_in_scene, task.simpler_id.removesuffix("-v0")) if shipped else own_scene_class(task)
    rules = Original if profile == "simpler" else AsShipped
    own = {"_rgb_overlay_images": {}, "_objects_to_remove_from_greenscreen": [], "task": task, **extra}
    return type(upstream.__name__, (rules, upstream), own)


def _is_relevant(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_IGNORED_WARNINGS)


class OriginalRobot(WidowX250S):
    """The original's finger friction and loading of collision meshes. MS2 agents/base_agent.py, _load_articulation."""

    urdf_config = ORIGINAL_FINGERS
    load_multiple_collisions = True

    @property
    def _controller_configs(self) -> dict[str, Any]:
        """With finger targets at the joints' limits.

        Both aim 1 mm beyond them, but SAPIEN 2 clips a target at the limit; SAPIEN 3 does not and grips harder.
        Measured with sapien 2.2.2 and 3.0.3: the first fifth of a second of closing ends at 23.1 mm and at 22.5 mm.
        """
        configs = super()._controller_configs
        for config in configs.values():
            config["gripper"].lower, config["gripper"].upper = WIDOWX_250S.gripper.closed, WIDOWX_250S.gripper.open
        return configs


class Original(base_env.BaseBridgeEnv):
    """What the original SIMPLER does differently from ManiSkill 3, besides `ORIGINAL_PHYSICS` and `ORIGINAL_PLANES`."""

    task: Task
    variation: Variation
    others: tuple[ObjectSpec, ...]

    def _load_agent(self, options: dict[str, Any]) -> None:
        robot: type[WidowX250S] = self.robot_uids
        if not issubclass(robot, OriginalRobot):
            self.robot_uids = type(robot.__name__, (OriginalRobot, robot), {})
        # SAPIEN 3 warns that it may misread an STL file in parts; it reads these as SAPIEN 2 did, vertex for vertex.
        sapien.set_log_level("error")
        super()._load_agent(options)
        sapien.set_log_level("warn")

    def _load_scene(self, options: dict[str, Any]) -> None:
        for name in LISTS:  # the objects may come from different lists
            known = io_utils.load_json(base_env.BRIDGE_DATASET_ASSET_PATH / "custom" / name)
            self.model_db = known | self.model_db
        super()._load_scene(options)
        for spec in (*self.task.others, *self.others):
            actor = self.objs[actor_name(self.task, spec)] = self._build_object(spec)
            self.remove_object_from_greenscreen(actor)
        for body in self._bodies().values():
            body.linear_damping = body.angular_damping = DAMPING

    def _load_lighting(self, options: dict[str, Any]) -> None:
        super()._load_lighting(options)
        if self.variation.changes("light_"):
            variations.vary_light(self.scene, self.variation)

    def _after_reconfigure(self, options: dict[str, Any]) -> None:
        if self.variation.changed:
            for name, photo in self._rgb_overlay_images.items():
                if isinstance(photo, np.ndarray):  # not yet a tensor, which the first time makes of it
                    self._rgb_overlay_images[name] = vary_photo(photo, self.task.scene, self.variation)
        super()._after_reconfigure(options)

    def _build_actor_helper(
        self, model_id: str, scale: float = 1, kinematic: bool = False, initial_pose: sapien.Pose | None = None
    ) -> Any:
        """As ManiSkill's, with the collision mesh in its parts. MS2 custom_scenes/base_env.py:411-443."""
        spec = next((one for one in self.task.objects if actor_name(self.task, one) == model_id), None)
        if spec is not None:
            return self._build_object(spec, scale)
        builder = self._builder(model_id, scale)
        builder.initial_pose = initial_pose or sapien.Pose()
        return builder.build_kinematic(name=model_id) if kinematic else builder.build(name=model_id)

    def _build_object(self, spec: ObjectSpec, scale: float = 1) -> Any:
        """The actor of an object of the task, or of a distractor."""
        if spec.card:
            builder = self.scene.create_actor_builder()
            add_card(builder, spec, PhysxMaterial(self.obj_static_friction, self.obj_dynamic_friction, 0.0))
        else:
            colour, texture, size = self._look(spec)
            builder = self._builder(spec.model, scale * size, colour, texture)
        builder.initial_pose = sapien.Pose()
        return builder.build(name=actor_name(self.task, spec))

    def _builder(self, model_id: str, scale: float, colour: str = "", texture: str = "") -> Any:
        folder = base_env.BRIDGE_DATASET_ASSET_PATH / "custom/models" / model_id
        builder = self.scene.create_actor_builder()
        builder.add_multiple_convex_collisions_from_file(
            filename=str(parts.split_file(folder / "collision.obj")),
            scale=[scale] * 3,
            material=PhysxMaterial(self.obj_static_friction, self.obj_dynamic_friction, 0.0),
            density=self.model_db[model_id].get("density", 1000),
        )
        visual = next(folder / name for name in VISUALS if (folder / name).is_file())
        visual = variations.project(visual) if texture else visual
        paint = variations.material(colour, texture)
        builder.add_visual_from_file(filename=str(visual), scale=[scale] * 3, material=paint)
        return builder

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        """Drop the objects upright, let them settle, then bring the robot. MS2 move_near_in_scene.py:268-340."""
        layout: Layout = options.get("layout", self.task.layouts[0])
        robot = self.agent.robot
        robot.set_pose(sapien.Pose(PARKED))
        bodies = self._bodies()
        upper = self.task.base_heights
        # ManiSkill resets an environment once while it is made.
        aside = [((-0.5, 0.15 * number), 0.0) for number in range(len(self.others))]
        for spec, (xy, yaw) in zip(self.others, options.get("places", aside), strict=True):
            _drop(bodies[spec.name], xy, yaw, height=DROP_HEIGHT)
        for spec, place in self.task.places(layout):
            _drop(bodies[spec.name], place.xy, place.yaw, height=ALOFT if spec.name in upper else DROP_HEIGHT)
        self._run(0.5)
        for spec, place in self.task.places(layout):
            if spec.name in upper:
                height = self.task.scene.support_height + upper[spec.name] + spec.extents[2] / 2 + STACKED
                _drop(bodies[spec.name], place.xy, place.yaw, height=height)
        if upper:
            self._run(0.5)
        for body in bodies.values():
            _release(body)
        self._run(0.5)
        speed = sum(np.linalg.norm(body.linear_velocity) for body in bodies.values())
        turning = sum(np.linalg.norm(body.angular_velocity) for body in bodies.values())
        if speed > STILL[0] or turning > STILL[1]:
            self._run(1.5)
        home = self.variation.home(self.task)
        self.agent.reset(init_qpos=np.array([*home, *[self.task.arm.gripper.open] * 2]))
        base = self.task.scene.base
        robot.set_pose(sapien.Pose([base.x, base.y, base.z], frames.HALF_TURN))

    def evaluate(self) -> dict[str, Any]:
        """Nothing: `envs.judge` computes success by the original's rule."""
        return {}

    def _bodies(self) -> dict[str, PhysxRigidDynamicComponent]:
        """The bodies of the task's objects and of the others, by the names of their records."""
        specs = *self.task.objects, *self.others
        actors = {spec.name: self.objs[actor_name(self.task, spec)] for spec in specs}
        return {
            name: actor._objs[0].find_component_by_type(PhysxRigidDynamicComponent) for name, actor in actors.items()
        }

    def _look(self, spec: ObjectSpec) -> tuple[str, str, float]:
        """Colour, texture and size of an object; empty and 1 for its own."""
        asked = self.variation
        if spec.name == self.task.source.name:
            return asked.source_colour or spec.colour, asked.source_texture, asked.source_size
        if spec.name == self.task.target.name:
            return asked.target_colour or spec.colour, "", asked.target_size
        return spec.colour, "", 1.0

    def _run(self, seconds: float) -> None:
        for _ in range(round(self.sim_freq * seconds)):
            self.scene.step()


def _drop(body: PhysxRigidDynamicComponent, xy: tuple[float, float], yaw: float, *, height: float) -> None:
    """Put `body` in the air at `height` [m, world], at rest, free to fall and to turn about z only."""
    body.entity.set_pose(sapien.Pose([*xy, height], about_z(yaw)))
    body.linear_velocity = body.angular_velocity = np.zeros(3)
    body.set_locked_motion_axes([False, False, False, True, True, False])


def _release(body: PhysxRigidDynamicComponent) -> None:
    """Let `body` move in every direction, at rest. Setting its pose wakes it. MS2 move_near_in_scene.py:309-314."""
    body.set_locked_motion_axes([False] * 6)
    body.entity.set_pose(body.entity.pose)
    body.linear_velocity = body.angular_velocity = np.zeros(3)
