"""What the twin can change about a scene that SIMPLER keeps: an object's colour, and things that have no part in it.

A policy that finds the carrot by its orange, or because nothing else is there, looks as good as one that knows what a
carrot is, until a scene differs in just that.
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

OTHERS = (tasks.CARROT, tasks.SPOON, tasks.GREEN_CUBE, tasks.YELLOW_CUBE, tasks.PLATE, tasks.TOWEL)
"""What may lie on the table besides a task's own two objects; the first ones that are not among them are taken."""
LOW, HIGH = (-0.275, -0.115), (-0.045, 0.115)
"""[m] where they may lie, in SIMPLER's world: the part of the table that the arm and the camera reach."""
TRIES = 2000


def paint(model: mujoco.MjModel, name: str, colour: tuple[float, float, float]) -> None:
    """Paint every part of the object `name` in one colour, RGB 0..1, without its texture."""
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


def choose_others(task: Task, count: int) -> tuple[ObjectSpec, ...]:
    """`count` things that have no part in `task`."""
    free = [spec for spec in OTHERS if spec not in (task.source, task.target)]
    if task.scene is not tasks.TABLE and count:
        raise SettingError(f"In the scene of {task.name} there is no room for distractors; leave them out.")
    if not 0 <= count <= len(free):
        raise SettingError(f"{count} distractors were asked for; expected 0 to {len(free)}.")
    return tuple(free[:count])


def place_others(
    task: Task, others: Sequence[ObjectSpec], layout: Layout, rng: np.random.Generator
) -> list[tuple[tuple[float, float], float]]:
    """Where each of `others` lies: x, y [m] in SIMPLER's world and its yaw [rad], apart from everything else."""
    taken = [(np.array(layout.source_xy), _radius(task.source)), (np.array(layout.target_xy), _radius(task.target))]
    placed = []
    for spec in others:
        for _ in range(TRIES):
            spot = rng.uniform(LOW, HIGH)
            if all(np.linalg.norm(spot - other) > _radius(spec) + radius for other, radius in taken):
                break
        else:
            raise SettingError(
                f"{len(others)} distractors do not fit beside this layout of {task.name}; ask for fewer."
            )
        taken.append((spot, _radius(spec)))
        placed.append(((float(spot[0]), float(spot[1])), float(rng.uniform(-np.pi, np.pi))))
    return placed


def _radius(spec: ObjectSpec) -> float:
    """[m] of the circle around an object, seen from above."""
    return float(np.hypot(*spec.extents[:2])) / 2
