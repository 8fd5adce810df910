"""Parts of tasks on the table with more than two objects: cards, painted doubles, layouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vlm2vla_sim.core.goals import Goal
from vlm2vla_sim.envs.tasks.layouts import Layout, Place, Region
from vlm2vla_sim.envs.tasks.records import ObjectSpec, Task
from vlm2vla_sim.envs.tasks.scenes import TABLE

QUARTER = float(np.pi / 2)
NEAR, MIDDLE, FAR = -0.105, -0.160, -0.225
"""[m] x in SIMPLER's world, seen from the robot, which looks along -x."""
LEFT, RIGHT = -1.0, 1.0
"""Sign of y in SIMPLER's world, seen from the robot."""


def card(picture: str) -> ObjectSpec:
    """A printed card, 10 cm square, with one of `envs.card_pictures.PICTURES`."""
    return ObjectSpec(
        f"{picture}_card",
        extents=(0.100, 0.100, 0.003),
        density=1500,
        look="vlm2vla_sim.envs.mujoco.looks:card",
        card=picture,
    )


def double(spec: ObjectSpec, name: str, colour: str = "") -> ObjectSpec:
    """`spec` under another name, painted if a colour is given: for scenes with two of them."""
    return dataclasses.replace(spec, name=name, colour=colour)


def at(x: float, y: float, yaw: float = 0.0) -> Place:
    """x, y [m, SIMPLER's world], yaw [rad]."""
    return Place((x, y), yaw)


def table_task(
    name: str,
    instruction: str,
    objects: Sequence[ObjectSpec],
    places: Sequence[Sequence[Place]],
    *,
    goals: tuple[Goal, ...] = (),
    lies_on: tuple[tuple[str, str], ...] = (),
    only_target_contact: bool = False,
    ordered: bool = False,
) -> Task:
    """A task on the table: 60 control steps for each goal.

    objects: source, target, and all others. places: for each episode the place of each of them.
    """
    layouts = tuple(
        Layout(source.xy, source.yaw, target.xy, target.yaw, tuple(others)) for source, target, *others in places
    )
    corner = (-0.16, 0.0)
    return Task(
        name=name,
        instruction=instruction,
        max_steps=60 * max(len(goals), 1),
        scene=TABLE,
        source=objects[0],
        target=objects[1],
        layouts=layouts,
        region=Region(
            corner, corner, corner, corner, 0.0, 0.0, 0.0
        ),  # not used: random layouts are those above, shifted
        height_slack=0.02,
        only_target_contact=only_target_contact,
        others=tuple(objects[2:]),
        lies_on=lies_on,
        goals=goals,
        ordered=ordered,
    )
