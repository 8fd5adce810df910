"""Random scenes of the twin, drawn without stepping physics: any objects, any looks, the arm anywhere, with the truth.

Demonstrations alone would show the arm only where a perfect policy takes it. A learner that has never seen a missed
grasp does not know what to say about one; here every state is as likely as the sampler makes it.
"""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.mujoco import arm, scene, variations
from vlm2vla_sim.envs.mujoco.ik import ArmSolver
from vlm2vla_sim.envs.mujoco.renderer import Picture
from vlm2vla_sim.envs.tasks import ObjectSpec, Task
from vlm2vla_sim.mini.scenes.annotation import TABLE, Facts, Thing
from vlm2vla_sim.mini.scenes.arrangement import Arrangement, Arranger, Placed, heading
from vlm2vla_sim.mini.scenes.names import CLASSES, COLOURS, OWN_COLOUR, words
from vlm2vla_sim.types import Pose

IMAGE_SIZE = (480, 640)
"""Drawn at the environment's own size, so that the model's processor makes of it what it makes of an observation."""
AWAY = (0.0, 0.0, -80.0)
"""[m] where objects are that are not in the scene: too far to fill a pixel."""
_RESTS = 60
"""Ways of lying that are tried for an object that rolls."""


@dataclass(frozen=True, eq=False)
class View:
    """A picture with everything that is true of it."""

    picture: np.ndarray
    """(480, 640, 3) uint8 RGB."""
    seen: np.ndarray
    """(480, 640) uint8: index into CLASSES."""
    facts: Facts


class World:
    """One stage with every object that may lie on it."""

    def __init__(self, task: Task, *, extras: Sequence[ObjectSpec] = ()) -> None:
        """Compile the stage of `task` and let each object come to rest once, by physics."""
        self._task = task
        target = () if task.target is tasks.BASKET else (task.target,)
        self._specs = (task.source, *target, *extras)
        self._model = scene.build_model(task, quality="fast", image_size=IMAGE_SIZE, extras=extras)
        self._data = mujoco.MjData(self._model)
        self._solver = ArmSolver(self._model)
        self._picture = Picture(self._model, *IMAGE_SIZE)
        self._arm = [int(self._model.joint(name).qposadr[0]) for name in arm.ARM_JOINTS]
        self._fingers = [int(self._model.joint(name).qposadr[0]) for name in arm.FINGER_JOINTS]
        self._home = np.array(task.scene.home)
        position, rotation = self._solver.forward(self._home)
        self._looks = (self._model.mat_rgba.copy(), self._model.mat_texid.copy(), self._model.mat_emission.copy())
        self._light = self._model.light_diffuse.copy()
        self._class_of = self._classes()
        rests = {spec.name: self._settle(spec) for spec in self._specs}
        home = Pose(position.copy(), frames.matrix_to_quaternion(rotation))
        self._arranger = Arranger(task, self._specs, rests, home)

    def sample(self, rng: np.random.Generator) -> View:
        """A random scene, its picture and its facts."""
        while True:
            drawn = self._arranger.draw(rng)
            if drawn is not None and self._reach(drawn.tcp, drawn.opening):
                return self._show(drawn, rng)

    def close(self) -> None:
        """Free the renderer."""
        self._picture.close()

    def _reach(self, tcp: Pose, opening: float) -> bool:
        """Move the arm there, if it can be there."""
        angles = self._solver.solve(tcp, self._home)
        if angles is None:
            return False
        self._data.qpos[self._arm] = angles
        self._data.qpos[self._fingers] = frames.FINGER_CLOSED + opening * (frames.FINGER_OPEN - frames.FINGER_CLOSED)
        return True

    def _show(self, drawn: Arrangement, rng: np.random.Generator | None) -> View:
        placed, tcp, opening = drawn.placed, drawn.tcp, drawn.opening
        for spec in self._specs:
            self._put(spec, Pose(np.array(AWAY), np.array([1.0, 0, 0, 0])))
        for one in placed:
            self._put(one.spec, one.pose)
        colours = self._paint(placed, rng)
        mujoco.mj_forward(self._model, self._data)
        picture = self._picture.draw(self._data, scene.PRIMARY_CAMERA)
        seen = self._class_of[self._picture.bodies(self._data, scene.PRIMARY_CAMERA)]
        counts = np.bincount(seen.ravel(), minlength=len(CLASSES))
        things = [
            Thing(
                _name(one.spec, colours[one.spec.name]),
                words(one.spec.name),
                tuple(map(float, one.pose.position)),  # type: ignore[arg-type]
                _long_side(one),
                one.on,
                int(counts[CLASSES.index(words(one.spec.name))]),
                colours[one.spec.name],
            )
            for one in placed
        ]
        if self._task.target is tasks.BASKET:
            spot = scene.BASKET_POSE.position
            things.append(
                Thing("basket", "basket", (float(spot[0]), float(spot[1]), float(spot[2])), 0.0, TABLE, 9999, "yellow")
            )
        turn = float(np.degrees(frames.agent_pos(tcp, opening)[5]))
        at = tuple(map(float, tcp.position))
        facts = Facts(self._task.scene.name, tuple(things), at, turn, opening)  # type: ignore[arg-type]
        return View(picture, seen, facts)

    def _paint(self, placed: Sequence[Placed], rng: np.random.Generator | None) -> dict[str, str]:
        """Give things their colours and the lamp its light; what each is called."""
        rgba, textures, emission = self._looks
        self._model.mat_rgba[:], self._model.mat_texid[:], self._model.mat_emission[:] = rgba, textures, emission
        self._model.light_diffuse[:] = self._light
        named = {one.spec.name: OWN_COLOUR[one.spec.name] for one in placed}
        if rng is None:
            return named
        self._model.light_diffuse[:] = self._light * rng.uniform(0.75, 1.15)
        for one in placed:
            if rng.random() < 0.12:
                free = [colour for colour in COLOURS if colour not in named.values()]
                named[one.spec.name] = name = str(rng.choice(free))
                variations.paint(self._model, one.spec.name, COLOURS[name])
        return named

    def _put(self, spec: ObjectSpec, pose: Pose) -> None:
        offset = frames.quaternion_to_matrix(pose.quaternion) @ self._model.body(spec.name).ipos
        address = int(self._model.joint(spec.name).qposadr[0])
        self._data.qpos[address : address + 7] = [*(pose.position - offset), *pose.quaternion]

    def _settle(self, spec: ObjectSpec) -> list[Pose]:
        """How the object lies when it was dropped: centre of mass and turn, base frame."""
        stage = self._task.scene
        rolls = stage is tasks.SINK
        rng = np.random.default_rng(0)
        poses = []
        for _ in range(_RESTS if rolls else 1):
            mujoco.mj_resetData(self._model, self._data)
            self._data.qpos[self._arm] = self._data.ctrl[[self._model.actuator(n).id for n in arm.ARM_JOINTS]] = (
                self._home
            )
            for other in self._specs:
                self._put(other, Pose(np.array([0.0, 0.0, 40.0]), np.array([1.0, 0, 0, 0])))
            layout = self._task.random_layout(rng)
            xy, yaw = (layout.source_xy, layout.source_yaw) if rolls else ((-0.16, 0.0), 0.0)
            turn = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
            drop = stage.base.pose_from_world(np.array([*xy, stage.support_height + spec.extents[2] / 2 + 0.02]), turn)
            self._put(spec, drop)
            mujoco.mj_step(self._model, self._data, nstep=round(1.5 / self._model.opt.timestep))
            body = self._data.body(spec.name)
            poses.append(Pose(body.xipos.copy(), body.xquat / np.linalg.norm(body.xquat)))
        return poses

    def _classes(self) -> np.ndarray:
        """(bodies,) uint8: the class of each body of the model."""
        names = [self._model.body(index).name for index in range(self._model.nbody)]
        table = [
            0 if name == "world" else CLASSES.index(words(name)) if words(name) in CLASSES else 1 for name in names
        ]
        return np.array(table, np.uint8)


TABLE_EXTRAS = (tasks.SPOON, tasks.TOWEL, tasks.GREEN_CUBE, tasks.YELLOW_CUBE, tasks.EGGPLANT)
"""What may lie on the table besides the carrot and the plate."""


def open_worlds() -> tuple[World, World]:
    """The table with every object, and the sink."""
    return (
        World(tasks.get_task("carrot_on_plate"), extras=TABLE_EXTRAS),
        World(tasks.get_task("eggplant_in_basket")),
    )


def _name(spec: ObjectSpec, colour: str) -> str:
    """What an object is called: cubes by their colour."""
    return f"{colour} cube" if spec.name.endswith("cube") else words(spec.name)


def _long_side(one: Placed) -> float:
    period = 90.0 if abs(one.spec.extents[0] - one.spec.extents[1]) < 0.003 else 180.0
    angle = np.degrees(heading(one.pose)) % period
    return float(angle - period if angle > period / 2 else angle)
