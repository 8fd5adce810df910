"""Compares the settings that a folder was made with, as read from JSON, with those that are given now.

The comparison goes field by field. A field that the saved settings do not have is new: its default stands in for it.
A field that only the saved settings have was removed: it is ignored, and so is one that its dataclass does not compare
(`field(compare=False)`). Hence a version that adds or removes a field can
resume what an earlier version began.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NOT_RECORDED = "(not recorded)"


@dataclass(frozen=True)
class Difference:
    """A setting whose saved and given value differ."""

    name: str
    """Its field; a nested one as "policies[0].seed"."""
    before: Any
    """The saved value, plain JSON; `NOT_RECORDED` if there is none and the field has no default."""
    now: Any
    """The given value, plain JSON."""

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.before)}, not {_shown(self.now)}"


def to_plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses become dicts, tuples lists, paths strings."""
    return json.loads(json.dumps(value, default=_default))


def differences(saved: Any, given: Any, name: str = "") -> Iterator[Difference]:
    """The differences between `saved`, plain JSON values, and `given`, a dataclass or a mapping or sequence of them."""
    if dataclasses.is_dataclass(given) and not isinstance(given, type) and isinstance(saved, Mapping):
        for field in (one for one in dataclasses.fields(given) if one.compare):
            before = saved[field.name] if field.name in saved else to_plain(_default_of(field))
            yield from differences(before, getattr(given, field.name), f"{name}.{field.name}".removeprefix("."))
    elif not name and isinstance(given, Mapping) and isinstance(saved, Mapping):
        for key, value in given.items():
            yield from differences(saved.get(key, NOT_RECORDED), value, str(key))
    elif isinstance(given, (list, tuple)) and isinstance(saved, list) and len(given) == len(saved):
        if any(dataclasses.is_dataclass(item) for item in given):
            for index, (before, item) in enumerate(zip(saved, given, strict=True)):
                yield from differences(before, item, f"{name}[{index}]")
        elif saved != to_plain(given):
            yield Difference(name, saved, to_plain(given))
    elif saved != (now := to_plain(given)):
        yield Difference(name, saved, now)


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return NOT_RECORDED if field.default_factory is dataclasses.MISSING else field.default_factory()


def _default(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value) or "(empty)"
