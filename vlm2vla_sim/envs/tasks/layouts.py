"""Where the objects of an episode are: layouts, and how a random one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHIFT = 0.02
"""[m] in x and in y, of random layouts of tasks with more than two objects."""


@dataclass(frozen=True)
class Place:
    """Where an object is dropped, in SIMPLER's world."""

    xy: tuple[float, float]
    """[m]"""
    yaw: float = 0.0
    """[rad] about +z."""


@dataclass(frozen=True)
class Layout:
    """Where the objects are dropped, in SIMPLER's world (x, y [m]; yaw [rad] about +z)."""

    source_xy: tuple[float, float]
    source_yaw: float
    target_xy: tuple[float, float]
    target_yaw: float = 0.0
    others: tuple[Place, ...] = ()
    """Of `Task.others`, in their order."""


@dataclass(frozen=True)
class Region:
    """Where random layouts put the objects, in SIMPLER's world."""

    source_low: tuple[float, float]
    source_high: tuple[float, float]
    target_low: tuple[float, float]
    target_high: tuple[float, float]
    """[m]"""
    yaw_low: float
    yaw_high: float
    """[rad] of the source; the target keeps yaw 0, as in SIMPLER."""
    distance: float
    """[m] smallest distance between the two centres."""


def draw_layout(region: Region, rng: np.random.Generator, margin: float, *, fixed_target: bool) -> Layout:
    """A layout of two objects drawn uniformly from `region`, the objects at least its distance apart.

    margin: [m] by which source, and target unless it is fixed, may leave the region, on every side.
    """
    around = 0.0 if fixed_target else margin
    while True:
        source = rng.uniform(np.subtract(region.source_low, margin), np.add(region.source_high, margin))
        target = rng.uniform(np.subtract(region.target_low, around), np.add(region.target_high, around))
        yaw = rng.uniform(region.yaw_low, region.yaw_high)
        if np.linalg.norm(source - target) >= region.distance:
            return Layout((float(source[0]), float(source[1])), float(yaw), (float(target[0]), float(target[1])))


def shift_layout(layouts: Sequence[Layout], rng: np.random.Generator, margin: float) -> Layout:
    """One of `layouts`, all its objects shifted together by up to `SHIFT` + `margin` [m]: what is left stays left."""
    one = layouts[int(rng.integers(len(layouts)))]
    dx, dy = rng.uniform(-SHIFT - margin, SHIFT + margin, 2)

    def moved(xy: tuple[float, float]) -> tuple[float, float]:
        return float(xy[0] + dx), float(xy[1] + dy)

    others = tuple(Place(moved(place.xy), place.yaw) for place in one.others)
    return Layout(moved(one.source_xy), one.source_yaw, moved(one.target_xy), one.target_yaw, others)
