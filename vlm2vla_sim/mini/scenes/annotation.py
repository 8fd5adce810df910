"""Ground truth of one image: the objects in it, where they are, and the state of the gripper.

Questions, answers and expert labels are all made from these values, so that they cannot disagree about a scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GRIPPER, TABLE = "gripper", "table"
"""Values of `ObjectAnnotation.support` that are not the class of an object."""


@dataclass(frozen=True)
class ObjectAnnotation:
    """One object: movable, or the basket that is part of the sink."""

    name: str
    """Name by appearance: "green cube", or "red cube" when it is painted red."""
    class_name: str
    """Its class in `object_catalog.CLASSES`: "green cube" whatever its paint."""
    position: tuple[float, float, float]
    """Centre of mass [m], base frame."""
    yaw: float
    """[degrees] of its long side about +z, base frame: in (-90, 90], or in (-45, 45] if it is square."""
    support: str
    """Class of the object it lies on; GRIPPER while it is held, TABLE for the stage itself."""
    pixels: int
    """Number of pixels that show it, at 640x480."""
    colour: str


@dataclass(frozen=True)
class SceneAnnotation:
    """One image."""

    stage: str
    """Name of the `envs.tasks.Scene`."""
    objects: tuple[ObjectAnnotation, ...]
    tcp_position: tuple[float, float, float]
    """Tool centre point of the gripper [m], base frame."""
    gripper_yaw: float
    """[degrees] yaw of the gripper as Bridge measures it."""
    gripper_opening: float
    """0 closed .. 1 open."""

    @property
    def held(self) -> str:
        """Name of the held object; empty if the gripper holds nothing."""
        return next((item.name for item in self.objects if item.support == GRIPPER), "")


def to_cm(metres: float) -> int:
    """Whole centimetres, half a centimetre rounded away from zero."""
    return math.floor(abs(metres) * 100 + 0.5) * (1 if metres >= 0 else -1)


def to_degrees(angle: float, *, period: float = 180.0, step: int = 15) -> int:
    """`angle` [degrees] rounded to multiples of `step`, within (-period / 2, period / 2]."""
    count = int(period) // step
    index = math.floor(angle / step + 0.5) % count
    return step * (index if index <= count // 2 else index - count)
