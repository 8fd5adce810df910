"""Policies: what looks at the image and decides, in text, what to do. This module finds and makes them.

A policy is made by a factory, called once per task and process as `factory(context) -> Policy`. A factory that holds a
heavy model keeps it in a cache of its own module, because the next task calls it again. What a policy takes and needs
is declared on its factory (`PolicyFactory`), or as attributes of a class or function of a user's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast

from vlm2vla_sim.core.finder import find, making
from vlm2vla_sim.core.goals import Goal
from vlm2vla_sim.core.pinhole import SceneGeometry
from vlm2vla_sim.errors import ExtensionError, SettingError, unknown_name
from vlm2vla_sim.policies.base import Policy, TextModel
from vlm2vla_sim.policies.options import with_present_names
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import RobotState, SceneState

if TYPE_CHECKING:
    from vlm2vla_sim.language.formats import ActionFormat

POLICIES = {
    "scripted": "vlm2vla_sim.policies.scripted:FACTORY",
    "hold": "vlm2vla_sim.policies.baselines:HOLD",
    "random": "vlm2vla_sim.policies.baselines:RANDOM",
    "oracle": "vlm2vla_sim.policies.oracle:FACTORY",
    "vlm": "vlm2vla_sim.policies.vlm:FACTORY",
    "mini": "vlm2vla_sim.policies.mini:FACTORY",
    "openpi": "vlm2vla_sim.policies.remote.factories:OPENPI",
    "openvla": "vlm2vla_sim.policies.remote.factories:OPENVLA",
    "vla-eval": "vlm2vla_sim.policies.remote.factories:VLA_EVAL",
    "groot": "vlm2vla_sim.policies.remote.factories:GROOT",
    "remote": "vlm2vla_sim.policies.remote.factories:REMOTE",
    "lerobot": "vlm2vla_sim.policies.lerobot:FACTORY",
}
"""Name -> "module:factory". The module is imported when the policy is asked for, not before."""

PolicyOptions = Mapping[str, str | int | float | bool]
"""What only this policy takes, by name."""


TextModelFactory = Callable[[Any], TextModel]
"""Makes the text model that a policy's options name."""


@dataclass(frozen=True)
class PolicyContext:
    """What a policy may be given to work with."""

    task: str
    """A task's name."""
    steps: int
    """Control steps in an episode."""
    action_format: ActionFormat
    """How the policy writes its actions, and how they are read."""
    see: Callable[[], SceneState] | None = None
    """Ground truth of the scene as of the last step, for upper bounds, which declare it; None where it is unknown."""
    robot: Callable[[], RobotState] | None = None
    """The arm as of the last step, the controller's own target included."""
    noise_cm: float = 0.0
    """[cm] how far off a policy that takes noise sees the objects; drawn from the seed of `Policy.reset`."""
    options: PolicyOptions = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()
    """What the task asks for, in order, for upper bounds; empty: the scene's source is to be put on its target."""
    arm: Robot = WIDOWX_250S
    """The robot's description."""
    geometry: SceneGeometry | None = None
    """What is known of the scene without looking; None where the environment is not known, as on a policy server."""
    models: TextModelFactory | None = None
    """Makes text models from a policy's options, where another process holds them; None: the policy loads its own."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_cm) and self.noise_cm >= 0):
            raise SettingError(f"The noise is {self.noise_cm} cm; expected 0 or more.")


@dataclass(frozen=True)
class PolicyFactory:
    """Makes a policy, and declares what it takes and needs.

    A user's factory may also be a function, or a class made with the context, with these names as attributes.
    """

    make: Callable[[PolicyContext], Policy]
    options: type[Any] | None = None
    """A dataclass whose fields are the policy's options, checked when it is made; None for none."""
    takes_noise: bool = False
    """Whether `noise_cm` makes it worse on purpose."""
    needs_truth: bool = False
    """Whether it reads the simulator's ground truth: an upper bound, which no real robot and no server can run."""
    why_single: Callable[[Any], str] | None = None
    """Called with the options before several episodes are run at the same time: why they must not be, as a sentence;
    empty if they may. None: they always may."""

    def __call__(self, context: PolicyContext) -> Policy:
        """The policy for `context`."""
        return self.make(context)


def load_policy(name: str, context: PolicyContext) -> Policy:
    """The policy called `name` in `POLICIES`, or made by a user's factory when `name` is "package.module:NAME"."""
    factory = find_factory(name)
    context = dataclasses.replace(context, options=with_present_names(name, context.options))
    _check(name, factory, context.options, context.noise_cm)
    if getattr(factory, "needs_truth", False) and context.see is None:
        raise SettingError(
            f"The policy {name!r} reads the simulator's ground truth, which is not known here. Use another policy."
        )
    with making("policy", name):
        policy = factory(context)
    missing = [method for method in ("reset", "act") if not callable(getattr(policy, method, None))]
    if missing:
        raise ExtensionError(
            f"The factory {name!r} made a {type(policy).__name__}, which has no method {', '.join(missing)}; expected "
            "a policy (see `policies.base.Policy`)."
        )
    return policy


def check_policy(name: str, options: PolicyOptions | None = None, *, noise_cm: float = 0.0) -> None:
    """An error unless `load_policy` can find the factory of `name` and it takes such options and noise."""
    _check(name, find_factory(name), with_present_names(name, options or {}), noise_cm)


def check_together(name: str, options: PolicyOptions) -> None:
    """SettingError if several policies called `name`, with these options, cannot be used at the same time."""
    factory = find_factory(name)
    why, options_type = (getattr(factory, attribute, None) for attribute in ("why_single", "options"))
    if why is not None and options_type is not None and (reason := why(options_type(**options))):
        raise SettingError(f"{reason} Run one episode at a time (--concurrency 1).")


def published_steps(name: str, options: PolicyOptions) -> int | None:
    """Control steps of an episode in the policy's published evaluation, where it says so and they are not SIMPLER's."""
    options_type = getattr(find_factory(name), "options", None)
    if not hasattr(options_type, "published_steps"):
        return None
    return cast("Any", options_type)(**with_present_names(name, options)).published_steps()


def needs_truth(name: str) -> bool:
    """Whether the policy reads the simulator's ground truth."""
    return bool(getattr(find_factory(name), "needs_truth", False))


def find_factory(name: str) -> Callable[[PolicyContext], Policy]:
    """The factory called `name`; see `load_policy`."""
    factory: Any = find("policy", name, POLICIES)
    if not callable(factory):
        raise ExtensionError(
            f"The policy {name!r} is {factory!r}; expected a function, a class or a PolicyFactory, called with a "
            "PolicyContext."
        )
    return cast("Callable[[PolicyContext], Policy]", factory)


def _check(name: str, factory: object, options: PolicyOptions, noise_cm: float) -> None:
    if noise_cm and not getattr(factory, "takes_noise", False):
        takers = [known for known in POLICIES if getattr(find("policy", known, POLICIES), "takes_noise", False)]
        raise SettingError(
            f"The policy {name!r} takes no noise, but {noise_cm:g} cm was asked for. Leave the noise at 0, or choose "
            f"one of: {', '.join(takers)}. A factory of your own declares it: takes_noise = True."
        )
    options_type = getattr(factory, "options", None)
    if options_type is None:
        if isinstance(factory, PolicyFactory):
            for option in options:
                raise unknown_name(f"option of the policy {name!r}, which takes none,", option, ["(none)"])
        return  # a user's factory that declares no options reads them from the context itself
    known = [known.name for known in fields(options_type)]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the policy {name!r}", option, known)
    options_type(**options)
