"""Options of policies are plain values from a command line or a settings file: each is held to its field's own type."""

from __future__ import annotations

import dataclasses
from typing import Any

from vlm2vla_sim.errors import SettingError


def check_types(options: Any) -> None:
    """SettingError unless every field of the dataclass `options` has the type of its default; 1 passes as 1.0."""
    for field in dataclasses.fields(options):
        value, kind = getattr(options, field.name), type(field.default)
        if kind is float and type(value) is int:
            object.__setattr__(options, field.name, float(value))
        elif type(value) is not kind:
            raise SettingError(f"The option {field.name} is {value!r}; expected a {kind.__name__}.")
