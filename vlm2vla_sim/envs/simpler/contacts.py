"""What the source touches, and whether the gripper holds it, by the original SIMPLER's thresholds.

ManiSkill 3 uses other thresholds (a force between the two objects, half a newton on each finger), with which the same
scene would score differently. MS2 is simpler-env/ManiSkill2_real2sim@ef7a4d4 `mani_skill2_real2sim/`. SAPIEN is not
imported: the contacts are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_IMPULSE = 1e-6
"""[N s] MS2 put_on_in_scene.py:112, agents/robots/widowx.py:109"""
MAX_ANGLE = 60.0
"""[degrees] between a finger's opening direction and the force on it. MS2 agents/robots/widowx.py:109"""


@dataclass(frozen=True, eq=False)
class Bodies:
    """The bodies of a scene by SAPIEN's `per_scene_id`."""

    source: int
    target: frozenset[int]
    """The target and its parts."""
    links: frozenset[int]
    """Of the robot."""
    fingers: tuple[int, int]
    """Left, right."""
    names: dict[int, str]
    """Names of all bodies."""


def touching(contacts: Iterable[Any], bodies: Bodies) -> frozenset[str]:
    """Names of what the source presses against besides target and robot. MS2 put_on_in_scene.py:88-117."""
    others = _pressed(contacts, bodies.source) - bodies.target - bodies.links
    return frozenset(bodies.names.get(other, f"body {other}") for other in others)


def touches(contacts: Iterable[Any], bodies: Bodies, which: frozenset[int]) -> bool:
    """Whether the source presses against one of the bodies `which`."""
    return bool(_pressed(contacts, bodies.source) & which)


def is_grasped(contacts: Iterable[Any], bodies: Bodies, opening: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the source pushes both fingers open. MS2 agents/robots/widowx.py:109-137.

    opening: the left and the right finger's opening direction, (3,) each, unit length, world.
    """
    pushes = {finger: np.zeros(3) for finger in bodies.fingers}
    for contact in contacts:
        other = _partner(contact, bodies.source)
        if other in pushes:
            # SAPIEN reports the impulse on the first of the two bodies.
            sign = 1.0 if _id(contact, 0) == other else -1.0
            pushes[other] += sign * _impulse(contact)
    return all(_opens(push, direction) for push, direction in zip(pushes.values(), opening, strict=True))


def _pressed(contacts: Iterable[Any], source: int) -> set[int]:
    """The bodies that the source presses against."""
    found = ((_partner(contact, source), contact) for contact in contacts)
    return {other for other, contact in found if other is not None and np.linalg.norm(_impulse(contact)) > MIN_IMPULSE}


def _opens(push: np.ndarray, direction: np.ndarray) -> bool:
    strength = float(np.linalg.norm(push))
    return strength >= MIN_IMPULSE and float(push @ direction) >= strength * np.cos(np.radians(MAX_ANGLE))


def _partner(contact: Any, source: int) -> int | None:
    """The other body of a contact of `source`; None if `source` is not part of it."""
    first, second = _id(contact, 0), _id(contact, 1)
    if source == first:
        return second
    return first if source == second else None


def _id(contact: Any, index: int) -> int:
    return int(contact.bodies[index].entity.per_scene_id)


def _impulse(contact: Any) -> np.ndarray:
    """(3,) [N s] summed over the contact's points, world; on the first body."""
    return np.sum([point.impulse for point in contact.points], axis=0)
