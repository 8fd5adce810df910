"""Policies: what looks at the picture and decides, in words, what to do. This file finds them by name.

Without one door through which every policy is made, each would be given its own set of things by the rollout, and
adding one would mean editing the rollout, the suite and the command line.

A factory is called once per task and process, as `factory(context) -> Policy`. It takes from the context what it needs.
One that holds a heavy model keeps the model in a cache of its own module, because the next task calls it again.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, cast

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.types import RobotState, SceneState

if TYPE_CHECKING:
    from vlm2vla_sim.language.formats import ActionFormat

POLICIES = {
    "scripted": "vlm2vla_sim.policies.scripted:make",
    "hold": "vlm2vla_sim.policies.baselines:make_hold",
    "random": "vlm2vla_sim.policies.baselines:make_random",
    "oracle": "vlm2vla_sim.policies.oracle:make",
    "vlm": "vlm2vla_sim.policies.vlm:make",
    "mini": "vlm2vla_sim.policies.mini:make",
    "openpi": "vlm2vla_sim.policies.remote.policy:make_openpi",
    "openvla": "vlm2vla_sim.policies.remote.policy:make_openvla",
    "vla-eval": "vlm2vla_sim.policies.remote.policy:make_vla_eval",
}
"""Name -> "module:factory". The module is imported when the policy is asked for, not before."""

TAKES_NOISE = frozenset({"scripted"})
"""Policies of the table that can be made worse on purpose; the others refuse a noise other than 0."""

TAKES_OPTIONS = {
    "vlm": "vlm2vla_sim.policies.vlm:VlmOptions",
    "mini": "vlm2vla_sim.policies.mini:MiniOptions",
    "openpi": "vlm2vla_sim.policies.remote.policy:OpenpiOptions",
    "openvla": "vlm2vla_sim.policies.remote.policy:OpenvlaOptions",
    "vla-eval": "vlm2vla_sim.policies.remote.policy:VlaEvalOptions",
}
"""Policies of the table that take options of their own -> "module:class", whose fields the options are."""

PolicyOptions = Mapping[str, str | int | float | bool]
"""What only this policy takes, by name; its factory checks it."""


@dataclass(frozen=True)
class PolicyContext:
    """What a policy may be given to work with."""

    task: str
    """A name of `envs.tasks.TASKS`."""
    steps: int
    """Control steps in an episode."""
    action_format: ActionFormat
    """How the policy writes its actions, and how they are read."""
    see: Callable[[], SceneState] | None = None
    """Ground truth of the scene as of the last step, for upper bounds, which say so; None on a real arm."""
    robot: Callable[[], RobotState] | None = None
    """The arm as of the last step, the controller's own target included."""
    noise_cm: float = 0.0
    """[cm] how far off a policy that takes noise should see the objects; drawn from the seed of `Policy.reset`."""
    options: PolicyOptions = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_cm) and self.noise_cm >= 0):
            raise SettingError(f"The noise is {self.noise_cm} cm; expected 0 or more.")


def load_policy(name: str, context: PolicyContext) -> Policy:
    """The policy called `name` in `POLICIES`, or made by your own factory when `name` is "package.module:factory"."""
    factory = _find_factory(name)
    if context.noise_cm and name in POLICIES and name not in TAKES_NOISE:
        raise SettingError(
            f"The policy {name!r} takes no noise, but {context.noise_cm:g} cm was asked for. "
            f"Leave the noise at 0, or choose one of: {', '.join(sorted(TAKES_NOISE))}."
        )
    _check_options(name, context.options)
    return factory(context)


def check_policy(name: str, options: PolicyOptions | None = None) -> None:
    """UnknownNameError unless `load_policy` can find the factory of `name`, and the factory takes such `options`."""
    _find_factory(name)
    _check_options(name, options or {})


def _check_options(name: str, options: PolicyOptions) -> None:
    if name not in POLICIES:
        return  # a factory of somebody else's knows its own options
    if name not in TAKES_OPTIONS:
        for option in options:
            raise unknown_name(f"option of the policy {name!r}, which takes none,", option, ["(none)"])
        return
    module, _, attribute = TAKES_OPTIONS[name].partition(":")
    options_class = getattr(importlib.import_module(module), attribute)
    for option in options:
        if option not in (known := [field.name for field in fields(options_class)]):
            raise unknown_name(f"option of the policy {name!r}", option, known)
    options_class(**options)


def _find_factory(name: str) -> Callable[[PolicyContext], Policy]:
    where = POLICIES.get(name, name)
    module_name, colon, attribute = where.partition(":")
    if not (colon and module_name and attribute):
        raise unknown_name("policy", name, POLICIES)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A missing package *inside* the module is another matter, with its own message.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise unknown_name("policy", name, [*POLICIES, "package.module:factory"]) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise unknown_name(f"policy factory in {module_name}", attribute, names)
    return cast("Callable[[PolicyContext], Policy]", factory)
