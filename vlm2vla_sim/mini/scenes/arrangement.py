"""Where things lie and what the arm does in a random scene: drawn so that no state is rare, mistakes included.

Here are numbers only: no physics, no picture. Whether the arm can reach what was drawn is for `mini.world` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.mujoco.scene import BASKET_POSE
from vlm2vla_sim.envs.mujoco.variations import HIGH, LOW
from vlm2vla_sim.envs.tasks import ObjectSpec, Task
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE
from vlm2vla_sim.mini.scenes.names import words
from vlm2vla_sim.types import Pose

_REACH = {"carrot": 0.062, "spoon": 0.070, "eggplant": 0.042, "plate": 0.056, "towel": 0.068}
"""[m] radius that keeps an object free of others, seen from above; cubes have 2.2 cm."""
_PAIRS = (("carrot", "plate"), ("spoon", "towel"), ("green_cube", "yellow_cube"))
_TARGETS = ("plate", "towel", "yellow_cube")


HELD_OPENING = {"carrot": 0.4, "spoon": 0.2, "green cube": 0.4, "yellow cube": 0.4, "eggplant": 0.55}
"""How far open the gripper reads when it holds each thing, measured after grasps on the twin."""
BESIDE, BESIDE_BLOCK = (0.018, 0.045), (0.006, 0.010)
"""[m] standard deviation and most, each axis, by which a thing is put down beside the middle; blocks of 2.9 cm stay
up only when the upper one's middle is over the lower one."""
HANGING = (-0.020, -0.008)
"""[m] how a held thing's centre of mass lies to the TCP; after grasps on the twin 1.0 to 1.9 cm below."""


@dataclass(frozen=True, eq=False)
class Placed:
    """Where an object is meant to be."""

    spec: ObjectSpec
    pose: Pose
    """Of its centre of mass, base frame."""
    on: str


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Everything that was drawn for one scene."""

    placed: tuple[Placed, ...]
    tcp: Pose
    """Where the gripper is to be, base frame."""
    opening: float
    """0 closed .. 1 open."""


class Arranger:
    """Draws arrangements for one stage."""

    def __init__(
        self, task: Task, specs: Sequence[ObjectSpec], rests: Mapping[str, Sequence[Pose]], home: Pose
    ) -> None:
        """specs: what may lie there; rests: by name, how each comes to lie; home: the TCP where the arm waits."""
        self._task, self._specs, self._rests, self._home_tcp = task, tuple(specs), rests, home
        self._ground = task.scene.support_height - task.scene.base.z

    def draw(self, rng: np.random.Generator) -> Arrangement | None:
        """One arrangement; None when the things did not fit."""
        placed = self._lay_out(rng)
        return None if placed is None else self._arrange(placed, rng)

    def _lay_out(self, rng: np.random.Generator) -> list[Placed] | None:
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
        placed: list[Placed] = []
        for spec in chosen:
            for _ in range(20):
                one = self._drop(spec, rng)
                if all(_apart(one, other) for other in placed):
                    placed.append(one)
                    break
            else:
                return None
        return placed

    def _drop(self, spec: ObjectSpec, rng: np.random.Generator) -> Placed:
        """`spec` lying on the stage somewhere."""
        rests = self._rests[spec.name]
        rest = rests[int(rng.integers(len(rests)))]
        if self._task.target is tasks.BASKET:
            position = rest.position + np.append(rng.uniform(-0.008, 0.008, 2), 0.0)
            return Placed(spec, Pose(position, rest.quaternion), TABLE)
        x, y = rng.uniform(LOW, HIGH)
        flat = spec.extents[2] < 0.011
        yaw = rng.normal(0.0, 0.1) if flat else rng.uniform(-np.pi, np.pi)
        ground = self._task.scene.base.from_world(np.array([x, y, self._task.scene.support_height]))
        return Placed(spec, _turned(rest, float(yaw), np.array([ground[0], ground[1], rest.position[2]])), TABLE)

    def _arrange(self, placed: list[Placed], rng: np.random.Generator) -> Arrangement | None:
        """Choose what the arm does: waits at home, hangs somewhere, holds an object, or has put it down."""
        loose = [i for i, one in enumerate(placed) if one.spec.extents[2] >= 0.011]
        roll = rng.random()
        if roll < 0.25 or not loose:
            tcp = self._tcp(self._home_tcp.position + rng.normal(0, 0.003, 3), float(rng.normal(0, 0.02)))
            return _arrangement(placed, tcp, 1.0)
        index = loose[int(rng.integers(len(loose)))]
        one = placed[index]
        if roll < 0.50:  # near an object, as after a grasp that missed
            spot = one.pose.position + np.append(rng.normal(0, 0.03, 2), 0.0)
            height = self._height(rng, low=0.05)
            tcp = self._tcp(np.array([spot[0], spot[1], height]), rng.uniform(-1.6, 1.6))
            return _arrangement(placed, tcp, float(rng.choice([0.0, 1.0])))
        if roll < 0.60:
            tcp = self._tcp(self._anywhere(rng), rng.uniform(-1.6, 1.6))
            return _arrangement(placed, tcp, float(rng.choice([0.0, 1.0])))
        if roll < 0.82:
            tcp = self._tcp(self._anywhere(rng), rng.uniform(-1.6, 1.6))
            held = self._in_hand(one, tcp, rng)
            opening = HELD_OPENING[words(one.spec.name)] + rng.uniform(-0.06, 0.06)
            return _arrangement([*placed[:index], held, *placed[index + 1 :]], tcp, float(opening))
        return self._put_down(placed, index, rng)

    def _put_down(self, placed: list[Placed], index: int, rng: np.random.Generator) -> Arrangement | None:
        """The object `index` on (or in) something, the open gripper above it."""
        one = placed[index]
        rest = self._rests[one.spec.name][0]
        if self._task.target is tasks.BASKET:
            spot, name = BASKET_POSE.position, "basket"
            top, (spread, most) = BASKET_POSE.position[2] + 0.004, BESIDE
        else:
            others = [other for other in placed if other is not one and other.spec.name in _TARGETS]
            if not others:
                return None
            below = others[int(rng.integers(len(others)))]
            spot, name = below.pose.position, words(below.spec.name)
            top = below.pose.position[2] + below.spec.extents[2] / 2
            spread, most = BESIDE_BLOCK if below.spec is tasks.YELLOW_CUBE else BESIDE
        height = top + (rest.position[2] - self._ground)
        position = np.array([*(spot[:2] + np.clip(rng.normal(0, spread, 2), -most, most)), height])
        if self._task.target is tasks.BASKET:
            position[2] = top + one.spec.extents[2] / 2
        lying = Placed(one.spec, _turned(rest, rng.uniform(-np.pi, np.pi), position), name)
        above = np.array([*(position[:2] + rng.normal(0, 0.01, 2)), max(self._height(rng, low=0.07), height + 0.05)])
        tcp = self._tcp(above, rng.uniform(-1.6, 1.6))
        return _arrangement([*placed[:index], lying, *placed[index + 1 :]], tcp, 1.0)

    def _in_hand(self, one: Placed, tcp: Pose, rng: np.random.Generator) -> Placed:
        """The object between the fingers: across them, as it lies, a little off the middle."""
        turn = np.degrees(_yaw(tcp.quaternion) - _yaw(self._home_tcp.quaternion))
        long_side = np.radians(turn) + rng.normal(0, 0.12) + (np.pi if rng.random() < 0.5 else 0.0)
        rests = self._rests[one.spec.name]
        rest = rests[int(rng.integers(len(rests)))]
        off = rng.normal(0, 0.25 * one.spec.extents[0] / 2) * np.array([np.cos(long_side), np.sin(long_side), 0.0])
        drop = np.array([0.0, 0.0, rng.uniform(*HANGING)])
        return Placed(one.spec, _turned(rest, float(long_side - heading(rest)), tcp.position + off + drop), GRIPPER)

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


def _arrangement(placed: Sequence[Placed], tcp: Pose, opening: float) -> Arrangement:
    return Arrangement(tuple(placed), tcp, opening)


def _apart(one: Placed, other: Placed) -> bool:
    distance = np.linalg.norm(one.pose.position[:2] - other.pose.position[:2])
    return bool(distance > _REACH.get(one.spec.name, 0.022) + _REACH.get(other.spec.name, 0.022))


def _turned(rest: Pose, yaw: float, position: np.ndarray) -> Pose:
    """`rest` turned by `yaw` [rad] about the vertical, its centre of mass at `position`."""
    return Pose(position, frames.multiply(frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw])), rest.quaternion))


def _yaw(quaternion: np.ndarray) -> float:
    """[rad] direction of the gripper's opening axis (its y), seen from above."""
    y_axis = frames.quaternion_to_matrix(quaternion)[:, 1]
    return float(np.arctan2(y_axis[1], y_axis[0]))


def heading(pose: Pose) -> float:
    """[rad] direction of an object's x axis, its long side, seen from above."""
    x_axis = frames.quaternion_to_matrix(pose.quaternion)[:, 0]
    return float(np.arctan2(x_axis[1], x_axis[0]))
