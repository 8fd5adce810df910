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

from vlm2vla_sim import frames
from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.mujoco import arm, scene
from vlm2vla_sim.envs.mujoco.ik import ArmSolver
from vlm2vla_sim.envs.mujoco.picture import Picture
from vlm2vla_sim.envs.tasks import ObjectSpec, Task
from vlm2vla_sim.mini.facts import GRIPPER, TABLE, Facts, Thing
from vlm2vla_sim.types import Pose

IMAGE_SIZE = (480, 640)
"""Drawn at the environment's own size, so that the model's processor makes of it what it makes of an observation."""
AWAY = (0.0, 0.0, -80.0)
"""[m] where objects are that are not in the scene: too far to fill a pixel."""
COLOURS = {
    "red": (0.80, 0.10, 0.10), "blue": (0.12, 0.22, 0.75), "white": (0.92, 0.92, 0.92), "black": (0.06, 0.06, 0.06),
    "pink": (0.95, 0.50, 0.65), "brown": (0.38, 0.22, 0.10), "gray": (0.50, 0.50, 0.50), "cyan": (0.20, 0.80, 0.85),
}  # fmt: skip
"""What objects may be painted; RGB 0..1."""
UNSEEN = {"magenta": (0.85, 0.10, 0.75), "lime": (0.55, 0.95, 0.15), "navy": (0.05, 0.08, 0.32)}
"""Colours that are kept for the test of generalisation and never drawn in training."""
OWN_COLOUR = {
    "carrot": "orange", "plate": "yellow", "spoon": "green", "towel": "cyan", "green_cube": "green",
    "yellow_cube": "yellow", "eggplant": "purple", "basket": "yellow",
}  # fmt: skip
CLASSES = ("stage", "robot", "carrot", "plate", "spoon", "towel", "green cube", "yellow cube", "eggplant", "basket")
"""What a pixel of `View.seen` can show."""
_REACH = {"carrot": 0.062, "spoon": 0.070, "eggplant": 0.042, "plate": 0.056, "towel": 0.068}
"""[m] radius that keeps an object free of others, seen from above; cubes have 2.2 cm."""
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


@dataclass(frozen=True, eq=False)
class _Placed:
    """Where an object is meant to be."""

    spec: ObjectSpec
    pose: Pose
    """Of its centre of mass, base frame."""
    on: str


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
        self._home_tcp = Pose(position.copy(), frames.matrix_to_quaternion(rotation))
        self._looks = (self._model.mat_rgba.copy(), self._model.mat_texid.copy(), self._model.mat_emission.copy())
        self._light = self._model.light_diffuse.copy()
        self._class_of = self._classes()
        self._rests = {spec.name: self._settle(spec) for spec in self._specs}
        self._ground = task.scene.support_height - task.scene.base.z

    def sample(self, rng: np.random.Generator) -> View:
        """A random scene, its picture and its facts."""
        while True:
            placed = self._lay_out(rng)
            if placed is not None and (arranged := self._arrange(placed, rng)) is not None:
                return self._show(*arranged, rng)

    def close(self) -> None:
        """Free the renderer."""
        self._picture.close()

    # Laying out.

    def _lay_out(self, rng: np.random.Generator) -> list[_Placed] | None:
        """Objects that do not overlap; None when they did not fit."""
        if self._task.target is tasks.BASKET:
            chosen = [self._task.source]
        else:
            pair = _PAIRS[int(rng.integers(len(_PAIRS)))]
            names = list(pair) if rng.random() < 0.8 else [str(rng.choice(pair))]
            if rng.random() < 0.45:
                others = [spec.name for spec in self._specs if spec.name not in pair]
                names += list(rng.choice(others, size=int(rng.integers(1, 3)), replace=False))
            chosen = [spec for spec in self._specs if spec.name in names]
        placed: list[_Placed] = []
        for spec in chosen:
            for _ in range(20):
                one = self._drop(spec, rng)
                if all(_apart(one, other) for other in placed):
                    placed.append(one)
                    break
            else:
                return None
        return placed

    def _drop(self, spec: ObjectSpec, rng: np.random.Generator) -> _Placed:
        """`spec` lying on the stage somewhere."""
        rests = self._rests[spec.name]
        rest = rests[int(rng.integers(len(rests)))]
        if self._task.target is tasks.BASKET:
            position = rest.position + np.append(rng.uniform(-0.008, 0.008, 2), 0.0)
            return _Placed(spec, Pose(position, rest.quaternion), TABLE)
        low, high = (-0.275, -0.115), (-0.045, 0.115)
        x, y = rng.uniform(low, high)
        flat = spec.extents[2] < 0.011
        yaw = rng.normal(0.0, 0.1) if flat else rng.uniform(-np.pi, np.pi)
        ground = self._task.scene.base.from_world(np.array([x, y, self._task.scene.support_height]))
        return _Placed(spec, _turned(rest, float(yaw), np.array([ground[0], ground[1], rest.position[2]])), TABLE)

    def _arrange(self, placed: list[_Placed], rng: np.random.Generator) -> tuple[list[_Placed], Pose, float] | None:
        """Choose what the arm does: waits at home, hangs somewhere, holds an object, or has put it down."""
        loose = [i for i, one in enumerate(placed) if one.spec.extents[2] >= 0.011]
        roll = rng.random()
        if roll < 0.25 or not loose:
            tcp = self._tcp(self._home_tcp.position + rng.normal(0, 0.003, 3), float(rng.normal(0, 0.02)))
            return self._if_reached(placed, tcp, 1.0)
        index = loose[int(rng.integers(len(loose)))]
        one = placed[index]
        if roll < 0.50:  # near an object, as after a grasp that missed
            spot = one.pose.position + np.append(rng.normal(0, 0.03, 2), 0.0)
            height = self._height(rng, low=0.05)
            tcp = self._tcp(np.array([spot[0], spot[1], height]), rng.uniform(-1.6, 1.6))
            return self._if_reached(placed, tcp, float(rng.choice([0.0, 1.0])))
        if roll < 0.60:
            tcp = self._tcp(self._anywhere(rng), rng.uniform(-1.6, 1.6))
            return self._if_reached(placed, tcp, float(rng.choice([0.0, 1.0])))
        if roll < 0.82:
            tcp = self._tcp(self._anywhere(rng), rng.uniform(-1.6, 1.6))
            held = self._in_hand(one, tcp, rng)
            opening = frames.opening_from_finger(frames.FINGER_CLOSED + min(one.spec.extents[:2]) / 2)
            return self._if_reached([*placed[:index], held, *placed[index + 1 :]], tcp, opening)
        return self._put_down(placed, index, rng)

    def _put_down(
        self, placed: list[_Placed], index: int, rng: np.random.Generator
    ) -> tuple[list[_Placed], Pose, float] | None:
        """The object `index` on (or in) something, the open gripper above it."""
        one = placed[index]
        rest = self._rests[one.spec.name][0]
        if self._task.target is tasks.BASKET:
            spot, name = scene.BASKET_POSE.position, "basket"
            top, spread = scene.BASKET_POSE.position[2] + 0.004, 0.02
        else:
            others = [other for other in placed if other is not one and other.spec.name in _TARGETS]
            if not others:
                return None
            below = others[int(rng.integers(len(others)))]
            spot, name = below.pose.position, _words(below.spec.name)
            top = below.pose.position[2] + below.spec.extents[2] / 2
            spread = 0.004 if below.spec is tasks.YELLOW_CUBE else 0.018
        height = top + (rest.position[2] - self._ground)
        position = np.array([*(spot[:2] + rng.normal(0, spread, 2)), height])
        if self._task.target is tasks.BASKET:
            position[2] = top + one.spec.extents[2] / 2
        lying = _Placed(one.spec, _turned(rest, rng.uniform(-np.pi, np.pi), position), name)
        above = np.array([*(position[:2] + rng.normal(0, 0.01, 2)), max(self._height(rng, low=0.07), height + 0.05)])
        tcp = self._tcp(above, rng.uniform(-1.6, 1.6))
        return self._if_reached([*placed[:index], lying, *placed[index + 1 :]], tcp, 1.0)

    def _in_hand(self, one: _Placed, tcp: Pose, rng: np.random.Generator) -> _Placed:
        """The object between the fingers: across them, as it lies, a little off the middle."""
        turn = np.degrees(_yaw(tcp.quaternion) - _yaw(self._home_tcp.quaternion))
        long_side = np.radians(turn) + rng.normal(0, 0.12) + (np.pi if rng.random() < 0.5 else 0.0)
        rests = self._rests[one.spec.name]
        rest = rests[int(rng.integers(len(rests)))]
        off = rng.normal(0, 0.25 * one.spec.extents[0] / 2) * np.array([np.cos(long_side), np.sin(long_side), 0.0])
        drop = np.array([0.0, 0.0, rng.uniform(-0.006, 0.004)])
        return _Placed(one.spec, _turned(rest, float(long_side - _heading(rest)), tcp.position + off + drop), GRIPPER)

    def _height(self, rng: np.random.Generator, *, low: float) -> float:
        """[m] of the TCP."""
        return float(self._ground + rng.uniform(low, 0.14)) + (0.05 if self._task.scene is tasks.SINK else 0.0)

    def _anywhere(self, rng: np.random.Generator) -> np.ndarray:
        """(3,) a place of the TCP over the stage, base frame [m]."""
        if self._task.scene is tasks.SINK:
            return np.array([rng.uniform(0.20, 0.34), rng.uniform(-0.20, 0.09), self._height(rng, low=0.05)])
        x, y, _ = self._task.scene.base.from_world(np.array([rng.uniform(-0.28, -0.04), rng.uniform(-0.12, 0.12), 0]))
        return np.array([x, y, self._height(rng, low=0.04)])

    def _tcp(self, position: np.ndarray, yaw: float) -> Pose:
        turn = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
        return Pose(position, frames.multiply(turn, self._home_tcp.quaternion))

    def _if_reached(self, placed: list[_Placed], tcp: Pose, opening: float) -> tuple[list[_Placed], Pose, float] | None:
        angles = self._solver.solve(tcp, self._home)
        if angles is None:
            return None
        self._data.qpos[self._arm] = angles
        self._data.qpos[self._fingers] = frames.FINGER_CLOSED + opening * (frames.FINGER_OPEN - frames.FINGER_CLOSED)
        return placed, tcp, opening

    # Showing.

    def _show(self, placed: list[_Placed], tcp: Pose, opening: float, rng: np.random.Generator | None) -> View:
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
                _words(one.spec.name),
                tuple(map(float, one.pose.position)),  # type: ignore[arg-type]
                _long_side(one),
                one.on,
                int(counts[CLASSES.index(_words(one.spec.name))]),
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

    def _paint(self, placed: list[_Placed], rng: np.random.Generator | None) -> dict[str, str]:
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
                self.recolour(one.spec, COLOURS[name])
        return named

    def recolour(self, spec: ObjectSpec, colour: tuple[float, float, float]) -> None:
        """Paint every part of an object in one colour, RGB 0..1, until the next picture in its own looks."""
        body = self._model.body(spec.name).id
        for geom in np.flatnonzero(self._model.geom_bodyid == body):
            material = int(self._model.geom_matid[geom])
            if material >= 0:
                self._model.mat_texid[material] = -1
                share = 1.0 / (1.0 + self._model.mat_emission[material])
                self._model.mat_rgba[material, :3] = share * np.array(colour)

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
            0 if name == "world" else CLASSES.index(_words(name)) if _words(name) in CLASSES else 1 for name in names
        ]
        return np.array(table, np.uint8)


_PAIRS = (("carrot", "plate"), ("spoon", "towel"), ("green_cube", "yellow_cube"))
_TARGETS = ("plate", "towel", "yellow_cube")
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
    return f"{colour} cube" if spec.name.endswith("cube") else _words(spec.name)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _apart(one: _Placed, other: _Placed) -> bool:
    distance = np.linalg.norm(one.pose.position[:2] - other.pose.position[:2])
    return bool(distance > _REACH.get(one.spec.name, 0.022) + _REACH.get(other.spec.name, 0.022))


def _turned(rest: Pose, yaw: float, position: np.ndarray) -> Pose:
    """`rest` turned by `yaw` [rad] about the vertical, its centre of mass at `position`."""
    return Pose(position, frames.multiply(frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw])), rest.quaternion))


def _yaw(quaternion: np.ndarray) -> float:
    """[rad] direction of the gripper's opening axis (its y), seen from above."""
    y_axis = frames.quaternion_to_matrix(quaternion)[:, 1]
    return float(np.arctan2(y_axis[1], y_axis[0]))


def _heading(pose: Pose) -> float:
    """[rad] direction of an object's x axis, its long side, seen from above."""
    x_axis = frames.quaternion_to_matrix(pose.quaternion)[:, 0]
    return float(np.arctan2(x_axis[1], x_axis[0]))


def _long_side(one: _Placed) -> float:
    period = 90.0 if abs(one.spec.extents[0] - one.spec.extents[1]) < 0.003 else 180.0
    angle = np.degrees(_heading(one.pose)) % period
    return float(angle - period if angle > period / 2 else angle)
