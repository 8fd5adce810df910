"""Flags that take several values and were given twice: only the last ones would count, so that is refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from vlm2vla_sim.errors import SettingError


def check_repeated(command: Any, words: Sequence[str]) -> None:
    """SettingError if a flag of `command` that takes several values is in `words` more than once."""
    given = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    for name in sorted({name for name in given if given.count(name) > 1}):
        if name.removeprefix("--").replace("-", "_") in _several(command):
            raise SettingError(f"{name} was given twice. Give it once, with all its values: {name} VALUE VALUE.")


def _several(command: Any) -> set[str]:
    """The names of the parameters that take several values, those of subcommands included."""
    return {name for kind in _kinds(command) for name, hint in kind.items() if typing.get_args(hint)[1:] == (Ellipsis,)}


def _kinds(command: Any) -> Iterator[dict[str, Any]]:
    hints = typing.get_type_hints(command)
    yield hints
    for hint in hints.values():
        parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        yield from (typing.get_type_hints(part) for part in parts if dataclasses.is_dataclass(part))
