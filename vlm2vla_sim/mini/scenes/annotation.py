"""What is true of a picture: the things in it, where they are, and what the gripper does.

Questions, answers and lessons are all made from these values, so that no two of them can disagree about a scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GRIPPER, TABLE = "gripper", "table"


@dataclass(frozen=True)
class Thing:
    """A loose object, or the basket that is part of the sink."""

    name: str
    """What it is called here: "green cube", or "red cube" when it was painted red."""
    kind: str
    """Which of the scene's objects it is, in words: "green cube" whatever its paint."""
    position: tuple[float, float, float]
    """Centre of mass [m], base frame."""
    yaw: float
    """[degrees] of its long side, seen from above, in (-90, 90]; of a square one in (-45, 45]."""
    on: str
    """What it lies on, in words; GRIPPER while it is held, TABLE for the stage itself."""
    pixels: int
    """Of the picture that show it, at 640x480."""
    colour: str


@dataclass(frozen=True)
class Facts:
    """One picture."""

    stage: str
    """Name of the `envs.tasks.Scene`."""
    things: tuple[Thing, ...]
    gripper: tuple[float, float, float]
    """The gripper's TCP [m], base frame."""
    turn: float
    """[degrees] Bridge yaw of the gripper."""
    opening: float
    """0 closed .. 1 open."""

    @property
    def held(self) -> str:
        """Name of what the gripper holds; empty for nothing."""
        return next((thing.name for thing in self.things if thing.on == GRIPPER), "")

    def thing(self, name: str) -> Thing | None:
        """The thing called `name`, if it is there."""
        return next((thing for thing in self.things if thing.name == name), None)


def to_cm(metres: float) -> int:
    """Whole centimetres, half a centimetre away from zero."""
    return math.floor(abs(metres) * 100 + 0.5) * (1 if metres >= 0 else -1)


def to_degrees(angle: float, *, period: float = 180.0, step: int = 15) -> int:
    """`angle` [degrees] in whole steps, within (-period / 2, period / 2]."""
    turns = int(period) // step
    index = math.floor(angle / step + 0.5) % turns
    return step * (index if index <= turns // 2 else index - turns)
