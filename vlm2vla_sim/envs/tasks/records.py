"""The records that describe objects, scenes and tasks, independent of the simulator.

One description serves the MuJoCo twin, the SIMPLER scenes and the real arm, so that a score means the same on each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core.frames import BaseFrame
from vlm2vla_sim.core.goals import ON, Goal
from vlm2vla_sim.envs.tasks.layouts import Layout, Place, Region, draw_layout, shift_layout
from vlm2vla_sim.errors import EpisodeError, SettingError
from vlm2vla_sim.robots import get_robot
from vlm2vla_sim.robots.base import ArmSetup, Robot
from vlm2vla_sim.types import Body, Pose

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

OWN_TASK_ID = "vlm2vla/WidowX-v0"
"""Gymnasium id of an environment whose task is given to `gym.make`: a `Task`, a name, or an instruction."""


@dataclass(frozen=True)
class RestPose:
    """A pose of an object at rest; base frame."""

    position: Vector
    """Centre of mass [m]."""
    quaternion: Quaternion
    """w, x, y, z."""

    def pose(self) -> Pose:
        """The same as a `Pose`."""
        return Pose(np.array(self.position), np.array(self.quaternion))


@dataclass(frozen=True)
class Inertia:
    """Mass and its distribution."""

    mass: float
    """[kg]"""
    com: Vector
    """Centre of mass in the object's frame [m]."""
    moments: tuple[float, float, float, float, float, float]
    """Per kilogram, about the centre of mass [m^2]: xx, yy, zz, xy, xz, yz."""


@dataclass(frozen=True)
class ObjectSpec:
    """An object of a scene."""

    name: str
    extents: Vector
    """[m] full lengths of the *declared* bounding box, which the success rule uses (not the mesh's own box)."""
    density: float
    """[kg/m^3]"""
    model: str = ""
    """Folder in SIMPLER's `data/custom/models`; empty for an object that SIMPLER does not have."""
    look: str | Callable[[Any, Any], None] = ""
    """Builds the object's MuJoCo geoms: a function (body, spec), or its place "package.module:function"."""
    inertia: Inertia | None = None
    """None: from `density` and the collision geoms."""
    colour: str = ""
    """Colour of `envs.colours` in which it is painted; empty for its own look."""
    card: str = ""
    """Picture on a printed card (`envs.tasks.cards`), which is an object that every simulator makes; else empty."""
    container: bool = False
    """Whether objects are put into it rather than on it."""
    fixed: RestPose | None = None
    """Where it is when it is part of the scene and has no body of its own; base frame."""

    def body(self, pose: Pose) -> Body:
        """The object at `pose` (centre of mass, base frame), as it appears in a `SceneState`."""
        return Body(self.name, pose, np.array(self.extents), container=self.container)


@dataclass(frozen=True)
class CameraPose:
    """A camera's pose on the robot's base; its axes are x forward, y left, z up."""

    position: Vector
    """[m]"""
    quaternion: Quaternion
    """w, x, y, z."""


@dataclass(frozen=True)
class Scene:
    """What stands in front of the robot, without the task's objects."""

    name: str
    base: BaseFrame
    """Where the robot's base stands in SIMPLER's world."""
    support_height: float
    """World height of the surface that carries the objects [m]."""
    camera: CameraPose
    light: Vector
    """Direction of the directional light; base frame, any length."""
    look: str | Callable[[Any, Any], None]
    """Draws the scene in MuJoCo: a function (spec, photo: `drawing.photo.Photo`), or "package.module:function"."""
    supports: str | Callable[[Any], None] = ""
    """Adds collision geoms besides the horizontal plane: a function (spec), or "package.module:function"."""
    plane_height: float | None = None
    """[m, base frame] of the horizontal plane; None: the support height."""
    photo: str = ""
    """File of the background image in SIMPLER's `real_inpainting` folder; empty where SIMPLER has none."""
    rolling_friction: float | None = None
    """[m] of the scene's surfaces in MuJoCo; None: objects may roll freely."""
    distractors: tuple[tuple[float, float], tuple[float, float]] | None = None
    """[m, world] low and high corner of the area for distractors; None where there is no room for any."""
    table_looks: tuple[str, ...] = ()
    """Materials of the table in MuJoCo, which `table_colour` and `table_texture` change."""
    backdrop_looks: tuple[str, ...] = ()
    """Materials of what is behind and below it, which `backdrop_colour` and `backdrop_texture` change."""
    top: tuple[tuple[float, float], tuple[float, float]] | None = None
    """[m, base frame] x and y of the near right and the far left corner of the table top, where all that the photo
    shows of it is one rectangle; None elsewhere."""
    maniskill: str = ""
    """ManiSkill's `scene_setting`; empty for a scene that SIMPLER does not have."""

    @property
    def plane(self) -> float:
        """[m, base frame] height of the horizontal plane."""
        return self.support_height - self.base.z if self.plane_height is None else self.plane_height


@dataclass(frozen=True)
class Task:
    """One task: put the source on (or into) the target, unless `goals` says otherwise."""

    name: str
    instruction: str
    max_steps: int
    """Control steps of an episode."""
    scene: Scene
    source: ObjectSpec
    target: ObjectSpec
    layouts: tuple[Layout, ...]
    """The episodes of the grid, in order."""
    region: Region
    height_slack: float
    """[m] how much higher than touching the source may be and still be on the target (`z_flag_required_offset`)."""
    only_target_contact: bool
    """Whether the source may touch only the target and the robot (`success_require_src_completely_on_target`)."""
    env_id: str = OWN_TASK_ID
    """Gymnasium id."""
    simpler_id: str = ""
    """Id in SIMPLER (ManiSkill 3 has the same name with -v1); empty for a task that SIMPLER does not have."""
    own: bool = False
    """Whether the task is only an instruction: a person arranges the scene and judges the result (`own_task`)."""
    source_rests: tuple[RestPose, ...] = ()
    """Rest poses of the source, one for each layout, where the twin must not settle it by its own physics."""
    robot: Robot | str = "widowx_250s"
    """A name of `robots.ROBOTS`, "package.module:NAME", or the record."""
    others: tuple[ObjectSpec, ...] = ()
    """Further objects: candidates that the instruction does not mean, objects of further goals. Where they are stands
    in `Layout.others`."""
    lies_on: tuple[tuple[str, str], ...] = ()
    """(object, what it lies on at the start) by name. Both are dropped at the same place, the object from above."""
    goals: tuple[Goal, ...] = ()
    """What is to be reached; empty: the source is on the target."""
    ordered: bool = False
    """Whether the goals count only in their order."""

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.objects]
        if len(set(names)) < len(names) and self.source != self.target:
            raise SettingError(f"Two objects of the task {self.name!r} have the same name: {', '.join(names)}.")
        for layout in self.layouts:
            if len(layout.others) != len(self.others):
                raise SettingError(
                    f"A layout of the task {self.name!r} has places for {len(layout.others)} further objects; expected "
                    f"{len(self.others)}, as many as `others`."
                )
        asked = {name for goal in self.goals for name in (goal.moved, goal.place) if name}
        for name in sorted(asked | {name for pair in self.lies_on for name in pair}):
            if name not in names:
                raise SettingError(
                    f"A goal, or lies_on, of the task {self.name!r} names {name!r}; it has {', '.join(names)}."
                )

    @property
    def objects(self) -> tuple[ObjectSpec, ...]:
        """Source, target and all others."""
        return (self.source, self.target, *self.others)

    @property
    def all_goals(self) -> tuple[Goal, ...]:
        """`goals`, or the one goal that the source is on the target."""
        slack = {"height_slack": self.height_slack, "only_target_contact": self.only_target_contact}
        return self.goals or (Goal(ON, **slack),)

    def places(self, layout: Layout) -> list[tuple[ObjectSpec, Place]]:
        """Every object and where it is dropped; what something lies on comes before it."""
        places = [Place(layout.source_xy, layout.source_yaw), Place(layout.target_xy, layout.target_yaw)]
        upper = dict(self.lies_on)
        return sorted(zip(self.objects, (*places, *layout.others), strict=True), key=lambda pair: pair[0].name in upper)

    @property
    def base_heights(self) -> dict[str, float]:
        """[m] Of each object that lies on another one, the height of that."""
        heights = {spec.name: spec.extents[2] for spec in self.objects}
        return {name: heights[below] for name, below in self.lies_on}

    @property
    def arm(self) -> Robot:
        """The description of the task's robot."""
        return get_robot(self.robot)

    @property
    def setup(self) -> ArmSetup:
        """How the arm is set up in front of the task's scene: home, workspace, start of the real arm."""
        return self.arm.setup(self.scene.name)

    def layout(self, episode_id: int) -> Layout:
        """The layout of one episode of the grid; EpisodeError if there is no such episode."""
        if isinstance(episode_id, (bool, np.bool_)) or not isinstance(episode_id, (int, np.integer)):
            raise EpisodeError(
                f"episode_id is {episode_id!r}; expected a whole number from 0 to {len(self.layouts) - 1}."
            )
        if self.own and episode_id >= 0:
            return self.layouts[0]
        if not 0 <= episode_id < len(self.layouts):
            raise EpisodeError(
                f"{self.name} has no episode {episode_id}: its grid has {len(self.layouts)} episodes, "
                f"0 to {len(self.layouts) - 1}. For other layouts use --layouts random, or "
                "options={'layout': 'random'}, with a seed."
            )
        return self.layouts[int(episode_id)]

    def random_layout(self, rng: np.random.Generator, margin: float = 0.0) -> Layout:
        """A layout drawn uniformly from the task's region, the objects at least `region.distance` apart.

        In a task with `others` it is one of the grid, shifted as a whole: what is left of another object stays left.

        margin: [m] by which the objects that can be moved may leave the region, on every side.
        """
        if self.others:
            return shift_layout(self.layouts, rng, margin)
        return draw_layout(self.region, rng, margin, fixed_target=self.target.fixed is not None)

    def source_rest(self, layout: Layout) -> RestPose | None:
        """The recorded rest pose of the source in `layout`; None where there is none."""
        if self.source_rests and layout in self.layouts:
            return self.source_rests[self.layouts.index(layout)]
        return None
