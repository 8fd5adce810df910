"""Samples arrangements so that no state is rare, including those that follow a mistake of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE
from vlm2vla_sim.mini.scenes.arrangement import (
    Arrangement,
    PlacedObject,
    are_apart,
    gripper_axis,
    heading,
    rotated,
)
from vlm2vla_sim.mini.scenes.object_catalog import CatalogObject, Placement
from vlm2vla_sim.mini.scenes.stages import FixedTarget, Stage
from vlm2vla_sim.types import Pose

HELD_DROP = (-0.020, -0.008)
"""[m] z of a held object's centre of mass relative to the TCP; after grasps on the twin it is 1.0 to 1.9 cm below."""
HIGHEST = 0.14
"""[m] greatest height of a random TCP over the stage."""
ATTEMPTS = 20
"""Random positions tried for one object before the arrangement is given up."""


class ArrangementSampler:
    """Samples arrangements of one stage."""

    def __init__(self, stage: Stage, resting: Mapping[str, Sequence[Pose]], home: Pose) -> None:
        """resting: name of an `ObjectSpec` -> its resting poses; home: TCP of the waiting arm. In the base frame."""
        self._stage, self._resting, self._home = stage, resting, home
        scene = stage.task.scene
        self._ground = scene.support_height - scene.base.z

    def sample(self, rng: np.random.Generator) -> Arrangement | None:
        """One arrangement; None if the objects did not fit."""
        objects = self._place_objects(rng)
        return None if objects is None else self._place_arm(objects, rng)

    def _place_objects(self, rng: np.random.Generator) -> list[PlacedObject] | None:
        """Objects on the stage that do not overlap; None if they did not fit."""
        placed: list[PlacedObject] = []
        for item in self._choose(rng):
            for _ in range(ATTEMPTS):
                one = self._on_stage(item, rng)
                if all(are_apart(one, other) for other in placed):
                    placed.append(one)
                    break
            else:
                return None
        return placed

    def _choose(self, rng: np.random.Generator) -> list[CatalogObject]:
        """The objects of a scene: mostly the two of a task, sometimes one or two others."""
        items, pairs = self._stage.items, self._stage.pairs
        if not pairs:
            return list(items)
        pair = pairs[int(rng.integers(len(pairs)))]
        names = list(pair) if rng.random() < 0.8 else [str(rng.choice(pair))]
        if rng.random() < 0.45:
            others = [item.spec.name for item in items if item.spec.name not in pair]
            names += list(rng.choice(others, size=int(rng.integers(1, 3)), replace=False))
        return [item for item in items if item.spec.name in names]

    def _on_stage(self, item: CatalogObject, rng: np.random.Generator) -> PlacedObject:
        """`item` lying on the stage: near one of its resting poses, or anywhere."""
        poses = self._resting[item.spec.name]
        resting = poses[int(rng.integers(len(poses)))]
        if self._stage.is_confined:
            position = resting.position + np.append(rng.uniform(-0.008, 0.008, 2), 0.0)
            return PlacedObject(item, Pose(position, resting.quaternion), TABLE)
        scene = self._stage.task.scene
        assert scene.distractors is not None
        x, y = rng.uniform(*scene.distractors)
        yaw = rng.normal(0.0, 0.1) if item.is_flat else rng.uniform(-np.pi, np.pi)
        ground = scene.base.from_world(np.array([x, y, scene.support_height]))
        position = np.array([ground[0], ground[1], resting.position[2]])
        return PlacedObject(item, rotated(resting, float(yaw), position), TABLE)

    def _place_arm(self, objects: list[PlacedObject], rng: np.random.Generator) -> Arrangement | None:
        """Choose the state of the arm: waiting at home, near an object, anywhere, holding, or after putting down."""
        graspable = [i for i, one in enumerate(objects) if not one.item.is_flat]
        roll = rng.random()
        if roll < 0.25 or not graspable:
            tcp = self._tcp(self._home.position + rng.normal(0, 0.003, 3), float(rng.normal(0, 0.02)))
            return Arrangement(tuple(objects), tcp, 1.0)
        index = graspable[int(rng.integers(len(graspable)))]
        one = objects[index]
        if roll < 0.50:  # near an object, as after a grasp that missed
            spot = one.pose.position + np.append(rng.normal(0, 0.03, 2), 0.0)
            height = self._height(rng, low=0.05)
            tcp = self._tcp(np.array([spot[0], spot[1], height]), rng.uniform(-1.6, 1.6))
            return Arrangement(tuple(objects), tcp, float(rng.choice([0.0, 1.0])))
        if roll < 0.60:
            tcp = self._tcp(self._random_position(rng), rng.uniform(-1.6, 1.6))
            return Arrangement(tuple(objects), tcp, float(rng.choice([0.0, 1.0])))
        if roll < 0.82:
            tcp = self._tcp(self._random_position(rng), rng.uniform(-1.6, 1.6))
            held = self._held(one, tcp, rng)
            assert one.item.grasp is not None, f"{one.name} is neither flat nor graspable"
            opening = one.item.grasp.opening + rng.uniform(-0.06, 0.06)
            return Arrangement(_replaced(objects, index, held), tcp, float(opening))
        return self._put_down(objects, index, rng)

    def _put_down(self, objects: list[PlacedObject], index: int, rng: np.random.Generator) -> Arrangement | None:
        """The object `index` on a target, with the open gripper above it; None if the scene has no target."""
        one, fixed = objects[index], self._stage.fixed_target
        below = fixed or self._choose_target(objects, one, rng)
        if below is None:
            return None
        centre = below.pose.position
        top = centre[2] + (below.surface if isinstance(below, FixedTarget) else below.item.spec.extents[2] / 2)
        std, most = (below.item.placement or Placement(0)).offset
        resting = self._resting[one.name][0]
        height = top + (resting.position[2] - self._ground)
        position = np.array([*(centre[:2] + np.clip(rng.normal(0, std, 2), -most, most)), height])
        if fixed:
            position[2] = top + one.item.spec.extents[2] / 2
        lying = PlacedObject(one.item, rotated(resting, rng.uniform(-np.pi, np.pi), position), below.item.class_name)
        above = np.array([*(position[:2] + rng.normal(0, 0.01, 2)), max(self._height(rng, low=0.07), height + 0.05)])
        tcp = self._tcp(above, rng.uniform(-1.6, 1.6))
        return Arrangement(_replaced(objects, index, lying), tcp, 1.0)

    def _choose_target(
        self, objects: list[PlacedObject], source: PlacedObject, rng: np.random.Generator
    ) -> PlacedObject | None:
        """One of the other objects that is the target of a task."""
        targets = {target for _, target in self._stage.pairs}
        others = [other for other in objects if other is not source and other.name in targets]
        return others[int(rng.integers(len(others)))] if others else None

    def _held(self, one: PlacedObject, tcp: Pose, rng: np.random.Generator) -> PlacedObject:
        """The object between the fingers: across them, as it lies, a little off centre."""
        turn = np.degrees(gripper_axis(tcp.quaternion) - gripper_axis(self._home.quaternion))
        long_side = np.radians(turn) + rng.normal(0, 0.12) + (np.pi if rng.random() < 0.5 else 0.0)
        poses = self._resting[one.name]
        resting = poses[int(rng.integers(len(poses)))]
        length = one.item.spec.extents[0]
        off = rng.normal(0, 0.25 * length / 2) * np.array([np.cos(long_side), np.sin(long_side), 0.0])
        drop = np.array([0.0, 0.0, rng.uniform(*HELD_DROP)])
        pose = rotated(resting, float(long_side - heading(resting)), tcp.position + off + drop)
        return PlacedObject(one.item, pose, GRIPPER)

    def _height(self, rng: np.random.Generator, *, low: float) -> float:
        """[m] a random height of the TCP, base frame, at least `low` over the stage."""
        return float(self._ground + rng.uniform(low, HIGHEST)) + self._stage.tcp_range.rim

    def _random_position(self, rng: np.random.Generator) -> np.ndarray:
        """(3,) a random position of the TCP over the stage [m], base frame."""
        chosen = self._stage.tcp_range
        x, y = rng.uniform(*chosen.x), rng.uniform(*chosen.y)
        if chosen.frame == "world":
            x, y, _ = self._stage.task.scene.base.from_world(np.array([x, y, 0]))
        return np.array([x, y, self._height(rng, low=chosen.low)])

    def _tcp(self, position: np.ndarray, yaw: float) -> Pose:
        """The TCP at `position`, its home orientation rotated by `yaw` [rad] about +z."""
        return rotated(self._home, yaw, position)


def _replaced(objects: Sequence[PlacedObject], index: int, one: PlacedObject) -> tuple[PlacedObject, ...]:
    return (*objects[:index], one, *objects[index + 1 :])
