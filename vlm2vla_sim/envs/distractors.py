"""Objects that lie on the table beside a task's own two: which ones, and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm2vla_sim.envs import tasks
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task
from vlm2vla_sim.errors import SettingError

DISTRACTORS = (tasks.CARROT, tasks.SPOON, tasks.GREEN_CUBE, tasks.YELLOW_CUBE, tasks.PLATE, tasks.TOWEL)
"""Objects that may lie beside a task's own two; the first ones that are not among those are taken."""
TRIES = 2000
WIDENED = tuple(0.01 * step for step in range(10))
"""[m] by which the area grows to the left and to the right each time that one finds no place in it; then all are placed
anew."""

Place = tuple[tuple[float, float], float]
"""x, y [m, SIMPLER's world] and yaw [rad] of an object."""


def choose_distractors(task: Task, count: int) -> tuple[ObjectSpec, ...]:
    """`count` objects that have no part in `task`; SettingError for more than there are, or where none fits."""
    taken = {name for spec in task.objects for name in (spec.name, spec.model)}
    free = [spec for spec in DISTRACTORS if spec.name not in taken and spec.model not in taken]
    if task.scene.distractors is None and count:
        raise SettingError(f"The scene of {task.name} has no room for distractors; leave them out.")
    if not 0 <= count <= len(free):
        raise SettingError(f"{count} distractors were asked for; expected 0 to {len(free)}.")
    return tuple(free[:count])


def place_distractors(
    task: Task, distractors: Sequence[ObjectSpec], layout: Layout, rng: np.random.Generator
) -> list[Place]:
    """The place of each distractor, apart from everything else; SettingError where they do not fit."""
    if not distractors or task.scene.distractors is None:
        return []
    (x_low, y_low), (x_high, y_high) = task.scene.distractors
    for more in WIDENED:
        area = (x_low, y_low - more), (x_high, y_high + more)
        placed = _place_all(task, distractors, layout, area, rng)
        if placed is not None:
            return placed
    raise SettingError(f"{len(distractors)} distractors do not fit beside this layout of {task.name}; ask for fewer.")


def _place_all(
    task: Task,
    distractors: Sequence[ObjectSpec],
    layout: Layout,
    area: tuple[tuple[float, float], tuple[float, float]],
    rng: np.random.Generator,
) -> list[Place] | None:
    """None where one of them finds no place."""
    low, high = area
    taken = [(np.array(place.xy), _radius(spec)) for spec, place in task.places(layout)]
    placed: list[Place] = []
    for spec in distractors:
        for _ in range(TRIES):
            spot = rng.uniform(low, high)
            if all(np.linalg.norm(spot - other) > _radius(spec) + radius for other, radius in taken):
                break
        else:
            return None
        taken.append((spot, _radius(spec)))
        placed.append(((float(spot[0]), float(spot[1])), float(rng.uniform(-np.pi, np.pi))))
    return placed


def _radius(spec: ObjectSpec) -> float:
    """[m] radius of the circle around an object's footprint."""
    return float(np.hypot(*spec.extents[:2])) / 2
