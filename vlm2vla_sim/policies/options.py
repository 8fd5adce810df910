"""Options of policies: plain values from a command line or a settings file, checked against a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from vlm2vla_sim.errors import SettingError

Value = TypeVar("Value")

RENAMED = {policy: {"located": "grounded_plan", "commanded": "commanded_state"} for policy in ("vlm", "mini")}
"""Policy -> old name of an option -> present name. Old names stay valid, in flags and in settings of old runs."""


def check_types(options: Any) -> None:
    """SettingError unless every field of the dataclass `options` has the type of its default; 1 passes as 1.0."""
    for field in dataclasses.fields(options):
        value, kind = getattr(options, field.name), type(field.default)
        if kind is float and type(value) is int:
            object.__setattr__(options, field.name, float(value))
        elif type(value) is not kind:
            raise SettingError(f"The option {field.name} is {value!r}; expected a {kind.__name__}.")


def with_present_names(policy: str, options: Mapping[str, Value]) -> dict[str, Value]:
    """`options` with old names replaced; each old name is reported once on stderr.

    SettingError when an option is given under both its names.
    """
    renamed = RENAMED.get(policy, {})
    for old in sorted(set(options) & set(renamed)):
        if renamed[old] in options:
            raise SettingError(f"The option {renamed[old]} is given twice: {old} is its old name.")
        _report(old, renamed[old])
    return {renamed.get(name, name): value for name, value in options.items()}


@functools.cache
def _report(old: str, new: str) -> None:
    sys.stderr.write(f"The policy option {old} is now called {new}; the old name still works.\n")
