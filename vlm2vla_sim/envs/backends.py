"""Backends: what stands behind the environment, simulator or robot, and what each says about itself.

A backend is found by a name of `BACKENDS`, as "package.module:Class", or given as a class. What it can do is declared
on the class, so that a backend of a user's is treated like one of ours.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import numpy as np

from vlm2vla_sim.core.finder import find, making
from vlm2vla_sim.envs.tasks import TASKS, Layout, Task, get_task, own_task
from vlm2vla_sim.envs.variation import OPTIONS, take_variation
from vlm2vla_sim.errors import ExtensionError, unknown_name
from vlm2vla_sim.types import Status

BACKENDS = {
    "mujoco": "vlm2vla_sim.envs.mujoco.backend:MujocoBackend",
    "simpler": "vlm2vla_sim.envs.simpler.backend:SimplerBackend",
    "point": "vlm2vla_sim.testing:PointBackend",
    "bridge": "vlm2vla_sim.envs.bridge.backend:BridgeBackend",
    "manipulator_gym": "vlm2vla_sim.envs.manipulator_gym.backend:ManipulatorGymBackend",
    "widowx_ai": "vlm2vla_sim.envs.widowx_ai.backend:WidowXAIBackend",
}
"""Name -> "module:class". The module is imported when the backend is asked for, not before."""

METHODS = ("reset", "move", "observe", "status", "close")
VARIATION = "variation"
"""Parameter of backends that take the options of `variation.Variation`, each by its own name."""
FIXED = ("task", "image_size", "quality")
"""Parameters that every backend is given; the others are its own options."""


class Backend(Protocol):
    """What stands behind the environment: made with (task, image_size=, quality=, **options).

    The class attributes may be left out; their defaults are those below. A backend whose images take time may also
    have `observe_state()`, which returns the observation without "pixels": then rollouts draw only what is looked at.
    A backend that is made with `variation=` takes the options of `variation.Variation` by name, and gets the record.
    """

    real_robot: ClassVar[bool] = False
    """A robot that a person stands beside, who arranges and judges. A task may then be any instruction."""
    own_process: ClassVar[bool] = False
    """Runs in a process of its own, one environment each: native code that allows no second one, or may crash."""
    knows_scene: ClassVar[bool | None] = True
    """Whether `status().scene` is known: True, False, or None where it depends on the options."""
    scene_camera: ClassVar[bool] = False
    """Whether the image "primary" is that of the scene's camera (`Scene.camera`), at any size."""
    stretches_images: ClassVar[bool] = False
    """Whether an image of another shape than 4:3 is that camera's whole image, stretched; else it is cut or wider."""
    robot: ClassVar[str] = ""
    """Name of the one robot that it drives, in `robots.ROBOTS`; empty: the task's."""

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Place the objects as `layout` says, let them settle, and send the arm home."""
        ...

    def move(self, delta: np.ndarray) -> None:
        """Carry out one control step. delta: (7,) float64, see `types.ACTION_SIZE`; already limited."""
        ...

    def observe(self) -> dict[str, Any]:
        """The camera images and the arm's state, now: `envs.base.Observation`."""
        ...

    def status(self) -> Status:
        """The robot's state and, where it is known, the scene's, after the last step."""
        ...

    def close(self) -> None:
        """Release the renderer, the processes, the connection. May be called twice."""
        ...


def load_backend(backend: str | type) -> Any:
    """The class behind a name of `BACKENDS` or "package.module:Class"; a class is returned as it is."""
    if isinstance(backend, type):
        return backend
    found = find("backend", backend, BACKENDS)
    if not callable(found):
        raise ExtensionError(f"The backend {backend!r} is {found!r}; expected a class (see `envs.backends.Backend`).")
    return found


def make_backend(backend: str | type, task: Task, **options: Any) -> Any:
    """The backend for `task`; ExtensionError where it lacks a method of `Backend`."""
    parameters = inspect.signature(load_backend(backend)).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    absent = [name for name in FIXED[1:] if name not in parameters and not takes_any]
    if absent:
        raise ExtensionError(
            f"The backend {backend_name(backend)!r} takes no {' and no '.join(absent)}; expected a class made with "
            "(task, *, image_size, quality, **options) (see `envs.backends.Backend`)."
        )
    if takes_variation(backend):
        variation, options = take_variation(options)
        options |= {VARIATION: variation} if variation.changed else {}
    with making("backend", backend_name(backend)):
        made = load_backend(backend)(task, **options)
    missing = [name for name in METHODS if not callable(getattr(made, name, None))]
    if missing:
        raise ExtensionError(
            f"The backend {backend_name(backend)!r} has no method {', '.join(missing)} (see `envs.backends.Backend`)."
        )
    return made


def backend_name(backend: str | type) -> str:
    """What a backend is called in results: its name, or "package.module:Class"."""
    return f"{backend.__module__}:{backend.__qualname__}" if isinstance(backend, type) else str(backend)


def is_real_robot(backend: str | type) -> bool:
    """Whether a person stands beside it; see `Backend.real_robot`."""
    return bool(getattr(load_backend(backend), "real_robot", False))


def needs_own_process(backend: str | type) -> bool:
    """See `Backend.own_process`."""
    return bool(getattr(load_backend(backend), "own_process", False))


def knows_scene(backend: str | type) -> bool | None:
    """See `Backend.knows_scene`."""
    return getattr(load_backend(backend), "knows_scene", True)


def has_scene_camera(backend: str | type) -> bool:
    """See `Backend.scene_camera`."""
    return bool(getattr(load_backend(backend), "scene_camera", False))


def with_robot_of(backend: str | type, task: Task) -> Task:
    """`task` with the robot that the backend drives; a robot that was chosen for the task stays."""
    robot = getattr(load_backend(backend), "robot", "")
    usual = next(entry.default for entry in dataclasses.fields(Task) if entry.name == "robot")
    return dataclasses.replace(task, robot=robot) if robot and task.robot == usual else task


def find_task(task: str | Task, backend: str | type) -> Task:
    """The task for `WidowXEnv(task, backend=...)`.

    On a real robot, text that is no name and has a blank is an instruction (`tasks.own_task`). Text without a blank is
    taken for a name, most likely a misspelt one.
    """
    if not isinstance(task, Task):
        known = task in TASKS or any(task == known.env_id for known in TASKS.values())
        task = own_task(task) if not known and " " in task.strip() and is_real_robot(backend) else get_task(task)
    return with_robot_of(backend, task)


def own_options(backend: str | type) -> tuple[str, ...] | None:
    """Names of the options that only this backend takes; None where it takes any (`**options`)."""
    parameters = inspect.signature(load_backend(backend)).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    names = [parameter.name for parameter in parameters if parameter.name not in (*FIXED, VARIATION)]
    return (*names, *OPTIONS) if takes_variation(backend) else tuple(names)


def takes_variation(backend: str | type) -> bool:
    """Whether the backend, or a class that it hands its options on to, has the parameter `VARIATION`."""
    found = load_backend(backend)
    makers = [maker for maker in getattr(found, "__mro__", (found,)) if maker is not object]
    for maker in makers:
        parameters = inspect.signature(maker).parameters
        if VARIATION in parameters:
            return True
        if all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            return False
    return False


def check_backend_options(backend: str | type, options: Iterable[str], *, shared: Iterable[str] = ()) -> None:
    """UnknownNameError for an option that the backend does not take.

    shared: names that are not the backend's own and are taken all the same, listed in the error.
    """
    own = own_options(backend)
    known = list(dict.fromkeys([*shared, *(own or ())]))
    for name in options:
        if (name in FIXED and name not in known) or (own is not None and name not in known):
            raise unknown_name(f"option of the backend {backend_name(backend)!r}", name, known or ["(none)"])
