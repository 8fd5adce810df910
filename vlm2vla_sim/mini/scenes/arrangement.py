"""Where the objects and the arm of one scene are, and the geometry that is needed to place them.

Numbers only: no physics, no image, and no check of whether the arm can reach the pose (`scene_renderer` does that).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.mini.scenes.object_catalog import CatalogObject
from vlm2vla_sim.types import Pose


@dataclass(frozen=True, eq=False)
class PlacedObject:
    """An object at the pose it is to have."""

    item: CatalogObject
    pose: Pose
    """Of its centre of mass, base frame."""
    support: str
    """As in `ObjectAnnotation.support`."""

    @property
    def name(self) -> str:
        """Name of the object's `ObjectSpec`."""
        return self.item.spec.name


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Everything that is sampled for one scene, except colours and light."""

    objects: tuple[PlacedObject, ...]
    tcp: Pose
    """Base frame."""
    gripper_opening: float
    """0 closed .. 1 open."""


def are_apart(one: PlacedObject, other: PlacedObject) -> bool:
    """Whether the clearance circles of two objects, seen from above, do not overlap."""
    distance = np.linalg.norm(one.pose.position[:2] - other.pose.position[:2])
    return bool(distance > one.item.clearance + other.item.clearance)


def rotated(resting: Pose, yaw: float, position: np.ndarray) -> Pose:
    """`resting` rotated by `yaw` [rad] about +z, with its centre of mass at `position` [m]."""
    rotation = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
    return Pose(position, frames.multiply(rotation, resting.quaternion))


def gripper_axis(quaternion: np.ndarray) -> float:
    """[rad] direction, seen from above, of the axis along which the gripper opens (its y)."""
    y_axis = frames.quaternion_to_matrix(quaternion)[:, 1]
    return float(np.arctan2(y_axis[1], y_axis[0]))


def heading(pose: Pose) -> float:
    """[rad] direction, seen from above, of an object's x axis, which is its long side."""
    x_axis = frames.quaternion_to_matrix(pose.quaternion)[:, 0]
    return float(np.arctan2(x_axis[1], x_axis[0]))
