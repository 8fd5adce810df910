"""A policy specification: which policy, and everything that decides what it says and does, as plain values.

`evaluate`, `rollout`, `record`, `serve` and sessions with an operator take the same specification, from flags or from a
file, so that an option reaches the policy wherever it is named.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.language.translations import ENGLISH, translate
from vlm2vla_sim.policies.options import with_present_names

Option = str | int | float | bool
SHORTHAND = ("model", "adapter", "server", "convention", "zero_shot")
"""Options of policies that have a flag, and a key in a file, of their own."""
FILE_KEYS = {
    "name": "name",
    "policy": "policy",
    "format": "action_format",
    "language": "language",
    "noise": "noise_cm",
    "options": "options",
}
"""Key of a file -> field of `PolicySpec`."""


@dataclass(frozen=True)
class PolicySpec:
    """Which policy is evaluated, served or recorded."""

    policy: str = "scripted"
    """A name of `policies.POLICIES`, or "package.module:NAME"."""
    action_format: str = "vlm2vla"
    """How the policy writes its actions: a name of `language.formats.FORMATS`, or "package.module:NAME"."""
    noise_cm: float = 0.0
    """[cm] how far off a policy that takes noise sees the objects."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """What only this policy takes, such as {"model": "google/gemma-3-12b-it"} for "vlm"."""
    language: str = ENGLISH
    """What the instruction is given in: a name of `language.translations`."""
    name: str = ""
    """What results call it; by default `policy`. Two specifications of one run need different names."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", with_present_names(self.policy, self.options))
        if not (math.isfinite(self.noise_cm) and self.noise_cm >= 0):
            raise SettingError(f"The noise is {self.noise_cm} cm; expected 0 or more.")

    @property
    def label(self) -> str:
        """`name`, or `policy` where there is none."""
        return self.name or self.policy

    def instruct(self, instruction: str) -> str:
        """`instruction` in the language of this specification."""
        return translate(instruction, self.language)

    def to_json(self) -> dict[str, Any]:
        """Plain values, the inverse of `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PolicySpec:
        """The specification in plain values; keys that are absent have their defaults, unknown keys are left out."""
        known = {known.name for known in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def read_policy_spec(path: Path) -> PolicySpec:
    """The specification in a TOML file (or YAML, where PyYAML is installed); its name is the file's unless given.

    Keys: name, policy, format, language, noise [cm], model, adapter, server, convention, and a table `options`.
    SettingError for anything else.
    """
    values = _read_table(path)
    known = [*FILE_KEYS, *SHORTHAND]
    for key in values:
        if key not in known:
            raise unknown_name(f"key of a policy specification in {path}", key, known)
    options = values.get("options", {})
    if not isinstance(options, Mapping):
        raise SettingError(f"`options` in {path} is {options!r}; expected a table of NAME = VALUE.")
    shorthand = {key: values[key] for key in SHORTHAND if key in values}
    twice = sorted(set(shorthand) & set(options))
    if twice:
        raise SettingError(f"{path} gives {', '.join(twice)} twice: as a key of its own and below `options`.")
    options = {**options, **shorthand}
    for key, value in options.items():
        if not isinstance(value, (str, int, float, bool)):
            raise SettingError(f"The option {key} in {path} is {value!r}; expected a text, a number, true or false.")
    fields: dict[str, Any] = {FILE_KEYS[key]: values[key] for key in values if key in FILE_KEYS and key != "options"}
    for key, name in FILE_KEYS.items():
        wanted = (int, float) if key == "noise" else (str,)
        if name in fields and (not isinstance(fields[name], wanted) or isinstance(fields[name], bool)):
            raise SettingError(f"`{key}` in {path} is {fields[name]!r}; expected a {wanted[-1].__name__}.")
    if "policy" not in values:
        raise SettingError(f'{path} names no policy; expected a line such as policy = "vlm".')
    return PolicySpec(**{"name": path.stem, **fields, "options": options})


def _read_table(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            values = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            values = _load_yaml(path, text)
        else:
            raise SettingError(f"{path} is no policy specification by its name; expected a .toml, .yaml or .yml file.")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"The policy specification {path} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise SettingError(f"{path} holds {type(values).__name__}; expected a table of keys and values.")
    return values


def _load_yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # pyright: ignore[reportMissingModuleSource]
    except ModuleNotFoundError as error:
        raise SettingError(f"Reading {path} needs PyYAML: pip install pyyaml. Or write it as TOML.") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError(f"The policy specification {path} cannot be read: {error}.") from error


def is_spec_file(text: str) -> bool:
    """Whether `text` names a specification's file rather than a policy."""
    return Path(text).suffix in (".toml", ".yaml", ".yml")
