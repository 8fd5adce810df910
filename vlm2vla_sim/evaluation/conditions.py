"""The conditions of a run with a suite: what is changed of the scene or the instruction, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlm2vla_sim.policies.spec import Option
from vlm2vla_sim.types import EpisodeResult

UNCHANGED = "none"
"""The factor of a condition in which nothing is changed: what the others are looked at against."""


@dataclass(frozen=True)
class Condition:
    """A condition of a suite, as a run carries it out."""

    name: str = ""
    """Unique in the run."""
    suite: str = ""
    """Name and version of its suite, such as "language@1"."""
    factor: str = ""
    """What is varied, such as "light"; `UNCHANGED` for nothing."""
    level: str = ""
    """How, such as "left"."""
    tasks: tuple[str, ...] = ()
    """As `envs.base.find_task` takes them."""
    layouts: str = ""
    """"grid" or "random"; empty: as the run says."""
    instructions: Mapping[str, str] = field(default_factory=dict)
    """Task -> the instruction in place of its own. Every one of `tasks`, or none."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Options of the backend."""

    def mark(self, result: EpisodeResult) -> EpisodeResult:
        """`result` with what says that it was run under this condition."""
        return dataclasses.replace(result, suite=self.suite, condition=self.name, factor=self.factor, level=self.level)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Condition:
        """The condition in plain values, as in `settings.json`; keys of other versions are left out."""
        known = {key: values[key] for key in (one.name for one in dataclasses.fields(cls)) if key in values}
        return cls(**{**known, "tasks": tuple(known.get("tasks", ()))})


PLAIN = Condition()
"""Stands for the condition of an episode outside a suite: nothing is changed."""
