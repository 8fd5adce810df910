"""The tasks by name. `get_task` finds one, or your own as "package.module:NAME"."""

from __future__ import annotations

import difflib
import re

import numpy as np

from vlm2vla_sim.core.finder import find, is_place
from vlm2vla_sim.core.goals import Goal
from vlm2vla_sim.envs.tasks import composition, grounding
from vlm2vla_sim.envs.tasks.bridge import BRIDGE_TASKS
from vlm2vla_sim.envs.tasks.layouts import Layout, Place, Region
from vlm2vla_sim.envs.tasks.objects import BASKET, CARROT, EGGPLANT, GREEN_CUBE, PLATE, SPOON, TOWEL, YELLOW_CUBE
from vlm2vla_sim.envs.tasks.records import (
    OWN_TASK_ID,
    CameraPose,
    Inertia,
    ObjectSpec,
    RestPose,
    Scene,
    Task,
)
from vlm2vla_sim.envs.tasks.scenes import SINK, TABLE
from vlm2vla_sim.errors import EpisodeError, SettingError, unknown_name

__all__ = [
    "BASKET",
    "CARROT",
    "EGGPLANT",
    "GREEN_CUBE",
    "OWN_TASK_ID",
    "PLATE",
    "SINK",
    "SPOON",
    "SUITE_TASKS",
    "TABLE",
    "TASKS",
    "TOWEL",
    "YELLOW_CUBE",
    "CameraPose",
    "Goal",
    "Inertia",
    "Layout",
    "ObjectSpec",
    "Place",
    "Region",
    "RestPose",
    "Scene",
    "Task",
    "environment",
    "get_task",
    "get_tasks",
    "is_built_in",
    "own_task",
    "task_places",
]

TASKS: dict[str, Task] = {task.name: task for task in BRIDGE_TASKS}
"""The built-in tasks: SIMPLER's four."""
SUITE_TASKS: dict[str, Task] = {task.name: task for task in (*grounding.TASKS, *composition.TASKS)}
"""Further tasks by name, which the suites `grounding` and `composition` consist of."""


def get_task(task: Task | str) -> Task:
    """One task.

    Args:
        task: a name of `TASKS` or `SUITE_TASKS`, the Gymnasium id of one of `TASKS`, "package.module:NAME" of your own
            `Task`, the same with "#task" where NAME is a tuple of tasks, or the `Task` itself.

    Raises:
        UnknownNameError: there is no such task; the text lists what there is.
        SettingError: the place holds something else, or several tasks.
    """
    if isinstance(task, Task):
        return task
    place, _, name = task.partition("#")
    found = get_tasks(place)
    if name:
        by_name = {one.name: one for one in found}
        if name not in by_name:
            raise unknown_name(f"task in {place}", name, by_name)
        return by_name[name]
    if len(found) != 1:
        names = ", ".join(f"{place}#{one.name}" for one in found)
        raise SettingError(f"{place} holds {len(found)} tasks; name one of them: {names}.")
    return found[0]


def get_tasks(name: str) -> tuple[Task, ...]:
    """The task of that name, or all tasks of your own set "package.module:NAME" (a `Task` or a sequence of them)."""
    for task in TASKS.values():
        if name in (task.name, task.env_id):
            return (task,)
    if name in SUITE_TASKS:
        return (SUITE_TASKS[name],)
    if not is_place(name):
        # A long list, most of whose names are alike, helps only those who have nearly named one of them.
        meant = difflib.get_close_matches(name, SUITE_TASKS, n=1, cutoff=0.8)
        raise unknown_name("task", name, [*TASKS, *SUITE_TASKS] if meant else TASKS)
    found = find("task", name, TASKS)
    tasks = (found,) if isinstance(found, Task) else tuple(found) if isinstance(found, (tuple, list)) else ()
    if not tasks or not all(isinstance(task, Task) for task in tasks):
        raise SettingError(
            f"{name} is a {type(found).__name__}; expected a vlm2vla_sim.envs.tasks.Task or a tuple of them."
        )
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise SettingError(f"Two tasks of {name} have the same name: {', '.join(names)}.")
    return tasks


def task_places(name: str) -> tuple[str, ...]:
    """What `get_task` takes for each task of `get_tasks(name)`, in order: text, which run settings can hold."""
    tasks = get_tasks(name)
    return (name,) if len(tasks) == 1 else tuple(f"{name}#{task.name}" for task in tasks)


def is_built_in(task: Task) -> bool:
    """Whether `task` is an entry of `TASKS` as it stands; a changed copy of one is not."""
    return TASKS.get(task.name) == task


def environment(task: Task) -> tuple[str, dict[str, Task]]:
    """The Gymnasium id with which `task` is made, and what `gymnasium.make` is given besides."""
    return (task.env_id, {}) if is_built_in(task) else (OWN_TASK_ID, {"task": task})


def own_task(instruction: str, max_steps: int = 60) -> Task:
    """A task that is only its instruction, for a robot with an operator; EpisodeError for an empty or a long one.

    Only the operator knows where the objects are: layout and objects are placeholders.
    """
    words = " ".join(instruction.split())
    if not words or len(words) > 300:
        raise EpisodeError(f"The task is {instruction[:80]!r}; expected an instruction of 1 to 300 characters.")
    name = re.sub(r"[\W_]+", "_", words.lower()).strip("_")[:60] or "own_task"
    unknown = ObjectSpec("unknown", extents=(0.03, 0.03, 0.03), density=1000)
    return Task(
        name=name,
        instruction=words,
        max_steps=max_steps,
        scene=TABLE,
        source=unknown,
        target=unknown,
        layouts=(Layout((-0.16, 0.0), 0.0, (-0.16, 0.0)),),
        region=Region((-0.235, -0.075), (-0.085, 0.075), (-0.235, -0.075), (-0.085, 0.075), -np.pi, np.pi, 0.0),
        height_slack=0.0,
        only_target_contact=False,
        own=True,
    )
