"""Renders random scenes of the MuJoCo twin without stepping physics: image, class map, ground-truth annotation.

Demonstrations alone would show the arm only where a perfect policy takes it, and a model that has never seen a missed
grasp does not know what to do about one. Here every state is as likely as `arrangement_sampler` makes it.
"""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.mujoco import scene, variations
from vlm2vla_sim.envs.mujoco.ik import ArmSolver
from vlm2vla_sim.envs.mujoco.renderer import OffscreenRenderer
from vlm2vla_sim.mini.scenes.annotation import TABLE, ObjectAnnotation, SceneAnnotation
from vlm2vla_sim.mini.scenes.arrangement import Arrangement, PlacedObject, heading
from vlm2vla_sim.mini.scenes.arrangement_sampler import ArrangementSampler
from vlm2vla_sim.mini.scenes.object_catalog import CLASSES, COLOURS, ROBOT_CLASS, STAGE_CLASS, label
from vlm2vla_sim.mini.scenes.resting_poses import place, resting_poses
from vlm2vla_sim.mini.scenes.stages import STAGES, FixedTarget, Stage
from vlm2vla_sim.types import Pose

IMAGE_SIZE = (480, 640)
"""Size of the environment's own images, so that the model's processor scales both alike."""
OUT_OF_SCENE = Pose(np.array([0.0, 0.0, -80.0]), np.array([1.0, 0, 0, 0]))
"""Where objects are that are not in the scene: too far away to fill a pixel."""
FIXED_PIXELS = 9999
"""`ObjectAnnotation.pixels` of a fixed target: always in view, and not counted because it has no body of its own."""


@dataclass(frozen=True, eq=False)
class RenderedScene:
    """An image with its ground truth."""

    image: np.ndarray
    """(480, 640, 3) uint8 RGB."""
    class_map: np.ndarray
    """(480, 640) uint8: index into CLASSES."""
    annotation: SceneAnnotation


class SceneRenderer:
    """One stage with every object that may lie on it."""

    def __init__(self, stage: Stage) -> None:
        """Compile the stage, and let each object come to rest once, by physics."""
        self._stage = stage
        task = stage.task
        extras = [item.spec for item in stage.items if item.spec not in (task.source, task.target)]
        self._model = scene.build_model(task, quality="fast", image_size=IMAGE_SIZE, extras=extras)
        self._data = mujoco.MjData(self._model)
        self._robot = task.arm
        self._solver = ArmSolver(self._model, task.arm)
        self._camera = OffscreenRenderer(self._model, *IMAGE_SIZE)
        self._arm = [int(self._model.joint(name).qposadr[0]) for name in task.arm.arm_joints]
        self._fingers = [int(self._model.joint(name).qposadr[0]) for name in task.arm.gripper.joints]
        self._home = np.array(task.setup.home)
        position, rotation = self._solver.forward(self._home)
        self._materials = (self._model.mat_rgba.copy(), self._model.mat_texid.copy(), self._model.mat_emission.copy())
        self._light = self._model.light_diffuse.copy()
        self._class_of_body = self._body_classes()
        resting = {item.spec.name: resting_poses(self._model, self._data, stage, item.spec) for item in stage.items}
        home = Pose(position.copy(), frames.matrix_to_quaternion(rotation))
        self._sampler = ArrangementSampler(stage, resting, home)

    def sample(self, rng: np.random.Generator) -> RenderedScene:
        """A random scene."""
        return self._render(self._arrange(rng), rng)

    def sample_arrangement(self, rng: np.random.Generator) -> Arrangement:
        """The arrangement of the scene that `sample` renders; it draws the same random numbers, and renders nothing."""
        arrangement = self._arrange(rng)
        self._paint(arrangement.objects, rng)
        return arrangement

    def _arrange(self, rng: np.random.Generator) -> Arrangement:
        while True:
            arrangement = self._sampler.sample(rng)
            if arrangement is not None and self._move_arm(arrangement.tcp, arrangement.gripper_opening):
                return arrangement

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()

    def _move_arm(self, tcp: Pose, opening: float) -> bool:
        """Set the joints; false if the arm cannot reach the pose."""
        angles = self._solver.solve(tcp, self._home)
        if angles is None:
            return False
        self._data.qpos[self._arm] = angles
        self._data.qpos[self._fingers] = self._robot.gripper.finger(opening)
        return True

    def _render(self, arrangement: Arrangement, rng: np.random.Generator) -> RenderedScene:
        for item in self._stage.items:
            place(self._model, self._data, item.spec, OUT_OF_SCENE)
        for one in arrangement.objects:
            place(self._model, self._data, one.item.spec, one.pose)
        colours = self._paint(arrangement.objects, rng)
        mujoco.mj_forward(self._model, self._data)
        image = self._camera.render(self._data, scene.PRIMARY_CAMERA)
        class_map = self._class_of_body[self._camera.segment(self._data, scene.PRIMARY_CAMERA)]
        counts = np.bincount(class_map.ravel(), minlength=len(CLASSES))
        objects = [_annotate(one, colours[one.name], counts) for one in arrangement.objects]
        if self._stage.fixed_target is not None:
            objects.append(_annotate_fixed(self._stage.fixed_target))
        yaw = float(np.degrees(self._robot.agent_pos(arrangement.tcp, arrangement.gripper_opening)[5]))
        name, opening = self._stage.task.scene.name, arrangement.gripper_opening
        annotation = SceneAnnotation(name, tuple(objects), _as_tuple(arrangement.tcp.position), yaw, opening)
        return RenderedScene(image, class_map, annotation)

    def _paint(self, objects: Sequence[PlacedObject], rng: np.random.Generator) -> dict[str, str]:
        """Give some objects another colour and the light another strength; object -> name of its colour."""
        rgba, textures, emission = self._materials
        self._model.mat_rgba[:], self._model.mat_texid[:], self._model.mat_emission[:] = rgba, textures, emission
        colour_of = {one.name: one.item.colour for one in objects}
        self._model.light_diffuse[:] = self._light * rng.uniform(0.75, 1.15)
        for one in objects:
            if rng.random() < 0.12:
                unused = [colour for colour in COLOURS if colour not in colour_of.values()]
                colour_of[one.name] = colour = str(rng.choice(unused))
                variations.paint(self._model, one.name, COLOURS[colour])
        return colour_of

    def _body_classes(self) -> np.ndarray:
        """(bodies,) uint8: the class of each body of the model."""
        class_of = {name: index for index, name in enumerate(CLASSES)} | {"world": STAGE_CLASS}
        names = [label(self._model.body(index).name) for index in range(self._model.nbody)]
        return np.array([class_of.get(name, ROBOT_CLASS) for name in names], np.uint8)


def open_renderers() -> tuple[SceneRenderer, SceneRenderer]:
    """The table with every object, and the sink."""
    return SceneRenderer(STAGES["table"]), SceneRenderer(STAGES["sink"])


def _annotate(one: PlacedObject, colour: str, counts: np.ndarray) -> ObjectAnnotation:
    """counts: (classes,) pixels of each class in the image."""
    return ObjectAnnotation(
        one.item.name_in(colour),
        one.item.class_name,
        _as_tuple(one.pose.position),
        _long_side(one),
        one.support,
        int(counts[CLASSES.index(one.item.class_name)]),
        colour,
    )


def _annotate_fixed(target: FixedTarget) -> ObjectAnnotation:
    name = target.item.class_name
    return ObjectAnnotation(name, name, _as_tuple(target.pose.position), 0.0, TABLE, FIXED_PIXELS, target.item.colour)


def _as_tuple(position: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, position)
    return x, y, z


def _long_side(one: PlacedObject) -> float:
    """[degrees] as `ObjectAnnotation.yaw`."""
    length, width, _ = one.item.spec.extents
    period = 90.0 if abs(length - width) < 0.003 else 180.0
    angle = np.degrees(heading(one.pose)) % period
    return float(angle - period if angle > period / 2 else angle)
