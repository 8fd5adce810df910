"""Flags that several commands share: which policy, and what is run with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.comparison.stopping import StopRule
from vlm2vla_sim.evaluation.executors.base import Executor
from vlm2vla_sim.evaluation.executors.named import make_executor
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import all_tasks, check_settings
from vlm2vla_sim.evaluation.with_suite import with_suite
from vlm2vla_sim.policies.spec import SHORTHAND, Option, PolicySpec, is_spec_file, read_policy_spec


@dataclass(frozen=True)
class PolicyFlags:
    """Options of a policy."""

    model: str = ""
    """With the policy vlm: the model, a folder or a name such as google/gemma-3-12b-it."""
    adapter: str = ""
    """With the policy vlm: its LoRA adapter, a folder or a name."""
    server: str = ""
    """Address of a server: of the policy (openpi, openvla, groot, vla-eval), or of an OpenAI-style one (vlm)."""
    convention: str = ""
    """With openpi, openvla, groot and vla-eval: the server's action convention, such as pi0-bridge, octo or simpler."""
    zero_shot: bool = False
    """With the policy vlm: a model without training on actions, whose prompts describe camera, axes and arm."""
    policy_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Options of this policy only, for example verifier=truth sampling=greedy with vlm."""
    format: str = "vlm2vla"
    """The action format: vlm2vla, prose, integers, ..., or your own as package.module:NAME."""
    language: str = "en"
    """Language of the instruction: en, es, zh, hi."""
    noise: Annotated[float, tyro.conf.arg(metavar="CM")] = 0.0
    """Error of the object positions, in cm, that a policy which takes noise is given."""

    def spec(self, policy: str) -> PolicySpec:
        """The specification of `policy`: a name, package.module:NAME, or a file, which excludes the other flags."""
        if is_spec_file(policy):
            changed = [flag for flag in _POLICY_FLAGS if getattr(self, flag.name) != flag.default]
            if changed:
                flags = ", ".join(f"--{flag.name.replace('_', '-')}" for flag in changed)
                raise SettingError(f"{policy} specifies the whole policy; leave out {flags}, or write it in the file.")
            return read_policy_spec(Path(policy))
        named = {name: text for name in SHORTHAND if (text := getattr(self, name))}
        options = {**read_options(self.policy_options, of="policy", example="verifier=truth"), **named}
        return PolicySpec(policy, self.format, self.noise, options, self.language)


@dataclass(frozen=True)
class PlaceFlags:
    """Where work is done that asks no model."""

    executor: Literal["local", "ray"] = "local"
    """"local" for processes of this machine, "ray" for actors of a Ray cluster."""
    address: str = ""
    """With ray: the cluster, "auto" or HOST:PORT; by default one is started on this machine."""

    def make(self) -> Executor:
        """The executor of these flags; SettingError for a flag of another one."""
        values = dataclasses.asdict(self)
        return make_executor(values.pop("executor"), **values)


@dataclass(frozen=True)
class ExecutorFlags(PlaceFlags):
    """Where episodes are run."""

    replicas: int = 1
    """With ray: how many processes hold the model."""
    gpus_per_replica: float | None = None
    """With ray: GPUs of each of them, a fraction to share one; by default 1 if the cluster has any."""


@dataclass(frozen=True)
class StopFlags:
    """Stopping early."""

    baseline: str = ""
    """With --stop-when: the run to compare with, as `vlm2vla compare` takes it; the same episodes of another policy."""
    stop_when: Literal["", "decided"] = ""
    """"decided" stops as soon as the policy is worse than the baseline, or not worse by the margin. Episodes are run in
    rounds of one of every task, in a recorded random order."""
    margin: float | None = None
    """With --stop-when: the largest drop of the overall rate, in points, that counts as not worse; by default 15."""
    confidence: float | None = None
    """With --stop-when: confidence of the decision, whenever it is made; by default 0.95."""

    def rule(self) -> StopRule | None:
        """The rule of these flags, None if none is asked for; SettingError where one of them is missing."""
        if not self.stop_when:
            for flag in dataclasses.fields(self):
                if getattr(self, flag.name) != flag.default:
                    raise SettingError(f"--{flag.name} was given without --stop-when decided, which uses it.")
            return None
        if not self.baseline:
            raise SettingError("--stop-when decided needs the run to compare with: add --baseline RUN.")
        default = StopRule(self.baseline)
        margin = default.margin if self.margin is None else self.margin / 100
        return StopRule(self.baseline, margin, default.confidence if self.confidence is None else self.confidence)


_POLICY_FLAGS = dataclasses.fields(PolicyFlags)


@dataclass(frozen=True)
class RunFlags(PolicyFlags):
    """Policy, backend and settings of a run."""

    policy: str = "scripted"
    """A policy by name (scripted, mini, vlm, hold, ...), your own as package.module:NAME, or a .toml or .yaml file."""
    backend: str = "mujoco"
    """The simulator or robot: mujoco, simpler, bridge, ..., or your own as package.module:Class."""
    backend_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Options of this backend, such as profile=maniskill3 with simpler, or of the scene on both simulators, such as
    light_strength=0.4 or distractors=2."""
    instruction: str = ""
    """Instruction for the policy: the task in other words; only with a single task."""
    max_steps: Annotated[int | None, tyro.conf.arg(metavar="STEPS")] = None
    """Control steps of an episode in place of the task's own (60, or 120 for the eggplant): a deviation from SIMPLER,
    recorded with the results, which `vlm2vla compare` compares only with runs of the same limit."""
    layouts: str = "grid"
    """"grid" for SIMPLER's episodes, "random" for layouts drawn from the seed."""
    seed: int = 0
    """Seed for layouts and policy."""
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (480, 640)
    """Size of the camera image, in pixels."""
    quality: str = "fast"
    """"fast", or "high" with cast shadows."""
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ()
    """Metrics besides success: path_length_cm, or your own as package.module:NAME."""

    def settings(
        self, *, tasks: Iterable[str], episodes: int | None = None, spec: PolicySpec | None = None, suite: str = ""
    ) -> RunSettings:
        """The settings of these flags; an error for any with which no episode could run.

        tasks: names, or "all" alone. episodes: None for 24, or as many as the suite says. spec: the policy, where it is
        not that of --policy. suite: as `with_suite` takes it.
        """
        names = tuple(tasks)
        everything = names == ("all",)
        settings = RunSettings(
            tasks=all_tasks() if everything or suite else names,
            episodes=RunSettings.episodes if episodes is None else episodes,
            backend=self.backend,
            layouts=self.layouts,
            max_steps=self.max_steps,
            instruction=self.instruction,
            seed=self.seed,
            image_size=self.image_size,
            quality=self.quality,
            backend_options=read_options(self.backend_options),
            metrics=self.metrics,
        )
        if suite:
            settings = with_suite(settings, suite, tasks=() if everything else names, episodes=episodes)
        return check_settings(settings.with_policy(spec or self.spec(self.policy)))


def read_options(
    pairs: Sequence[str], *, of: str = "backend", example: str = "profile=maniskill3"
) -> dict[str, Option]:
    """NAME=VALUE, ... as a dictionary; a value that is not a number, true or false is text."""
    options: dict[str, Option] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise SettingError(f"{pair!r} is not an option of a {of}; expected NAME=VALUE, for example {example}.")
        if name in options:
            raise SettingError(f"The option {name} of the {of} was given twice.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        options[name] = value if isinstance(value, (bool, int, float)) else text
    return options
