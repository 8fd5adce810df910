"""The flags that `rollout` and `evaluate` share, so that one cannot mean something else in the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.run_folder import Option, RunSettings
from vlm2vla_sim.evaluation.suite import check_settings


@dataclass(frozen=True)
class RunFlags:
    """What is run, and how it is seen and moved."""

    policy: str = "scripted"
    """A policy by name (scripted, hold, random, ...), or your own as package.module:factory."""
    backend: str = "mujoco"
    """What simulates the robot, or is it: mujoco, simpler, ...; or your own as package.module:Class."""
    backend_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """What only this backend takes, for example profile=maniskill3 with simpler."""
    model: str = ""
    """With the policy vlm, the model: a folder, or a name such as google/gemma-3-12b-it."""
    adapter: str = ""
    """With the policy vlm, its LoRA adapter: a folder or a name."""
    server: str = ""
    """With the policies openpi, openvla and vla-eval, the server's address; with vlm, of an OpenAI-style server."""
    convention: str = ""
    """With openpi, openvla and vla-eval, what the server's numbers mean, such as pi0-bridge, octo or simpler."""
    policy_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """What else only this policy takes, for example verifier=truth sampling=greedy with vlm."""
    format: str = "vlm2vla"
    """How the policy writes its actions: vlm2vla, prose, integers, ..."""
    language: str = "en"
    """What the instruction is said in: en, es, zh, hi."""
    instruction: str = ""
    """Say this to the policy in place of the task's own instruction; with one task."""
    layouts: str = "grid"
    """"grid" for SIMPLER's episodes, "random" for layouts drawn from the seed."""
    seed: int = 0
    """Of random layouts and of the policy."""
    noise: Annotated[float, tyro.conf.arg(metavar="CM")] = 0.0
    """How far off, in cm, a policy that takes noise should see the objects."""
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (480, 640)
    """Of the picture, in pixels."""
    quality: str = "fast"
    """"fast", or "high" with cast shadows."""

    def settings(self, *, tasks: Iterable[str], episodes: int) -> RunSettings:
        """The settings these flags mean; an error names whatever no episode could be run with."""
        return check_settings(
            RunSettings(
                policy=self.policy,
                tasks=tuple(tasks),
                episodes=episodes,
                backend=self.backend,
                action_format=self.format,
                layouts=self.layouts,
                language=self.language,
                instruction=self.instruction,
                seed=self.seed,
                noise_cm=self.noise,
                image_size=self.image_size,
                quality=self.quality,
                backend_options=read_options(self.backend_options),
                policy_options=self._policy_options(),
            )
        )

    def _policy_options(self) -> dict[str, Option]:
        flags = {name: getattr(self, name) for name in ("model", "adapter", "server", "convention")}
        named = {name: text for name, text in flags.items() if text}
        return {**read_options(self.policy_options, of="policy", example="verifier=truth"), **named}


def read_options(
    words: Sequence[str], *, of: str = "backend", example: str = "profile=maniskill3"
) -> dict[str, Option]:
    """NAME=VALUE, ... as a dictionary; a value is a number or true or false where it reads as one, else text."""
    options: dict[str, Option] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals):
            raise SettingError(f"{word!r} is no option of a {of}; expected NAME=VALUE, for example {example}.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        options[name] = value if isinstance(value, (bool, int, float)) else text
    return options
