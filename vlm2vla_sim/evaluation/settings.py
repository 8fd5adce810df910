"""The settings of a run: everything that decides its results."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.conditions import PLAIN, Condition
from vlm2vla_sim.language.translations import ENGLISH
from vlm2vla_sim.policies.spec import Option, PolicySpec

LAYOUTS = ("grid", "random")


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the results of a run. How fast and where it runs is not part of it."""

    policy: str = "scripted"
    """A name of `policies.POLICIES`, or "package.module:NAME"."""
    tasks: tuple[str, ...] = ("spoon_on_towel", "carrot_on_plate", "stack_cube", "eggplant_in_basket")
    episodes: int = 24
    """Of every task: the episodes 0 .. episodes - 1."""
    backend: str = "mujoco"
    action_format: str = "vlm2vla"
    max_steps: int | None = None
    """Control steps of an episode in place of the task's own, which SIMPLER gives: a deviation, recorded with every
    result. Some models are evaluated with more. None for the task's own."""
    layouts: str = "grid"
    """"grid" for SIMPLER's 24 episodes, "random" for layouts drawn from the seed."""
    seed: int = 0
    language: str = ENGLISH
    """Language of the instruction, one of `language.translations`."""
    instruction: str = ""
    """Instruction for the policy in place of the task's own, in other words; only with a single task. One that asks for
    something else than the task judges is refused."""
    noise_cm: float = 0.0
    image_size: tuple[int, int] | None = (480, 640)
    """(height, width) [px]; None renders none, for policies that use no images."""
    quality: str = "fast"
    backend_options: dict[str, Option] = field(default_factory=dict)
    """Options of this backend only, such as {"profile": "maniskill3"} for "simpler"."""
    policy_options: dict[str, Option] = field(default_factory=dict)
    """Options of this policy only, such as {"model": "google/gemma-3-12b-it"} for "vlm"."""
    policy_name: str = ""
    """Name of the policy in results; by default `policy`."""
    metrics: tuple[str, ...] = ()
    """Metrics besides success: names of `evaluation.metrics.METRICS`, or "package.module:NAME"."""
    suite: str = ""
    """Name, version and digest of the suites whose conditions are run; see `evaluation.with_suite`. Empty: none."""
    conditions: tuple[Condition, ...] = field(default=(), compare=False)
    """Those of the suites that are offered on the backend. `suite`, `backend` and `tasks` decide what they are."""
    left_out: tuple[str, ...] = field(default=(), compare=False)
    """Names of the conditions of the suites that are not offered on the backend."""

    def __post_init__(self) -> None:
        for name in ("tasks", "metrics"):
            if isinstance(given := getattr(self, name), str):
                raise SettingError(f"{name} is the text {given!r}; expected a sequence of names, such as ({given!r},).")
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "metrics", tuple(self.metrics))
        object.__setattr__(self, "left_out", tuple(self.left_out))
        made = (one if isinstance(one, Condition) else Condition.from_json(one) for one in self.conditions)
        object.__setattr__(self, "conditions", tuple(made))
        object.__setattr__(self, "image_size", self.image_size and tuple(self.image_size))
        object.__setattr__(self, "backend_options", dict(self.backend_options))
        object.__setattr__(self, "policy_options", dict(self.policy_options))
        if self.episodes < 1:
            raise SettingError(f"{self.episodes} episodes were asked for; expected 1 or more.")
        if self.max_steps is not None and self.max_steps < 1:
            raise SettingError(f"max_steps is {self.max_steps}; expected 1 or more, or None for the task's own.")
        if not self.tasks:
            raise SettingError("No task was asked for; name at least one.")
        if len(set(self.tasks)) != len(self.tasks):
            raise SettingError(f"A task was asked for twice: {', '.join(self.tasks)}.")
        if self.layouts not in LAYOUTS:
            raise SettingError(f"layouts is {self.layouts!r}; expected 'grid' or 'random'.")
        if self.suite and self.instruction:
            raise SettingError("A suite says what the policy is told: leave out the instruction of your own.")
        if self.instruction and (len(self.tasks) > 1 or self.language != ENGLISH):
            raise SettingError(
                "An instruction of your own is for one task, in the language you give it in: name one task with it, and"
                " leave the language out."
            )
        if bool(self.suite) != bool(self.conditions):
            raise SettingError(
                f"suite is {self.suite!r} with {len(self.conditions)} conditions. Give a suite to "
                "evaluation.with_suite.with_suite, which returns settings with its conditions."
            )
        if self.seed < 0:
            raise SettingError(f"The seed is {self.seed}; expected a whole number from 0 up.")
        if not (math.isfinite(self.noise_cm) and self.noise_cm >= 0):
            raise SettingError(f"The noise is {self.noise_cm} cm; expected 0 or more.")

    @property
    def plan(self) -> list[tuple[str, str, int]]:
        """Every episode: its task as in `tasks`, the name of its condition ("" without a suite), and its number.

        Task by task, because conditions of one task may share its environment.
        """
        return [
            (task, condition.name, number)
            for task in self.tasks
            for condition in self.conditions or (PLAIN,)
            if task in condition.tasks or not self.conditions
            for number in range(self.episodes)
        ]

    def condition(self, name: str) -> Condition:
        """The condition called `name`; `PLAIN` for ""."""
        found = PLAIN if not name else next((one for one in self.conditions if one.name == name), None)
        if found is None:
            raise unknown_name("condition", name, [one.name for one in self.conditions])
        return found

    def under(self, condition: str, task: str) -> RunSettings:
        """The settings of `task`, one of `tasks`, under the condition of that name: without a suite."""
        if not condition:
            return self
        found = self.condition(condition)
        return dataclasses.replace(
            self,
            tasks=(task,),
            layouts=found.layouts or self.layouts,
            instruction=found.instructions.get(task, ""),
            backend_options={**self.backend_options, **found.options},
            suite="",
            conditions=(),
            left_out=(),
        )

    @property
    def spec(self) -> PolicySpec:
        """The policy under test."""
        return PolicySpec(
            self.policy, self.action_format, self.noise_cm, self.policy_options, self.language, self.policy_name
        )

    def with_policy(self, spec: PolicySpec) -> RunSettings:
        """The same settings for another policy."""
        return dataclasses.replace(
            self,
            policy=spec.policy,
            action_format=spec.action_format,
            noise_cm=spec.noise_cm,
            policy_options=dict(spec.options),
            language=spec.language,
            policy_name=spec.name,
        )

    def with_tasks(self, tasks: Iterable[str]) -> RunSettings:
        """The same settings for other tasks."""
        return dataclasses.replace(self, tasks=tuple(tasks))

    def instruct(self, instruction: str) -> str:
        """The instruction that the policy gets for a task with this `instruction`."""
        return self.instruction or self.spec.instruct(instruction)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSettings:
        """The settings in a `settings.json`; keys of other versions are left out."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})
