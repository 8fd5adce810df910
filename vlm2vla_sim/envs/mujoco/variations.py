"""Variations of a scene that SIMPLER does not have: other colours of the objects, and distractor objects.

A policy that finds the carrot by its colour, or because nothing else is on the table, scores like one that recognises
carrots until a scene differs in just that.
"""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.colours import COLOURS
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task
from vlm2vla_sim.errors import SettingError, unknown_name

DISTRACTORS = (tasks.CARROT, tasks.SPOON, tasks.GREEN_CUBE, tasks.YELLOW_CUBE, tasks.PLATE, tasks.TOWEL)
"""Objects that may lie beside a task's own two; the first ones that are not among those are taken."""
TRIES = 2000


def paint(model: mujoco.MjModel, name: str, colour: tuple[float, float, float]) -> None:
    """Paint every part of the object `name` in one colour, RGB 0..1, in place of its texture."""
    body = model.body(name).id
    for geom in np.flatnonzero(model.geom_bodyid == body):
        material = int(model.geom_matid[geom])
        if material >= 0:
            model.mat_texid[material] = -1
            share = 1.0 / (1.0 + model.mat_emission[material])
            model.mat_rgba[material, :3] = share * np.array(colour)


def find_colour(name: str) -> tuple[float, float, float]:
    """The colour called `name`; UnknownNameError lists them otherwise."""
    if name not in COLOURS:
        raise unknown_name("colour", name, COLOURS)
    return COLOURS[name]


def choose_distractors(task: Task, count: int) -> tuple[ObjectSpec, ...]:
    """`count` objects that have no part in `task`; SettingError for more than there are, or where none fits."""
    free = [spec for spec in DISTRACTORS if spec not in (task.source, task.target)]
    if task.scene.distractors is None and count:
        raise SettingError(f"The scene of {task.name} has no room for distractors; leave them out.")
    if not 0 <= count <= len(free):
        raise SettingError(f"{count} distractors were asked for; expected 0 to {len(free)}.")
    return tuple(free[:count])


def place_distractors(
    task: Task, distractors: Sequence[ObjectSpec], layout: Layout, rng: np.random.Generator
) -> list[tuple[tuple[float, float], float]]:
    """Position x, y [m, SIMPLER's world] and yaw [rad] of each distractor, apart from everything else."""
    if not distractors or task.scene.distractors is None:
        return []
    low, high = task.scene.distractors
    taken = [(np.array(layout.source_xy), _radius(task.source)), (np.array(layout.target_xy), _radius(task.target))]
    placed = []
    for spec in distractors:
        for _ in range(TRIES):
            spot = rng.uniform(low, high)
            if all(np.linalg.norm(spot - other) > _radius(spec) + radius for other, radius in taken):
                break
        else:
            raise SettingError(
                f"{len(distractors)} distractors do not fit beside this layout of {task.name}; ask for fewer."
            )
        taken.append((spot, _radius(spec)))
        placed.append(((float(spot[0]), float(spot[1])), float(rng.uniform(-np.pi, np.pi))))
    return placed


def _radius(spec: ObjectSpec) -> float:
    """[m] radius of the circle around an object's footprint."""
    return float(np.hypot(*spec.extents[:2])) / 2
