"""Action formats: how actions are written as text. The protocol of a format, and the table that finds one by name.

Writer, reader and grammar of a format are one object, so that training text, constrained decoding and evaluation agree.
Your own format is "package.module:NAME", a class or an object with the methods of `ActionFormat`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from vlm2vla_sim.core.finder import find, making
from vlm2vla_sim.errors import ExtensionError, SettingError
from vlm2vla_sim.language.formats.choice import ChoiceFormat
from vlm2vla_sim.language.formats.clap import ClapFormat
from vlm2vla_sim.language.formats.goal_json import GoalJsonFormat
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.language.formats.grid import Resolution
from vlm2vla_sim.language.formats.integers import IntegersFormat
from vlm2vla_sim.language.formats.lap import LapCompactFormat, LapFormat, LapGripperFormat
from vlm2vla_sim.language.formats.paper import PaperFormat
from vlm2vla_sim.language.formats.properties import FormatProperties, properties_of
from vlm2vla_sim.language.formats.prose import ProseFormat, describe
from vlm2vla_sim.language.formats.protocol import ActionFormat
from vlm2vla_sim.language.formats.rows import RowsFormat, TokensFormat
from vlm2vla_sim.language.formats.statistics import ActionStatistics
from vlm2vla_sim.language.formats.vla0 import Vla0Format

__all__ = [
    "DIALECTS",
    "FORMATS",
    "ActionFormat",
    "ActionStatistics",
    "FormatProperties",
    "Grammar",
    "Resolution",
    "describe",
    "get_format",
    "is_self_delimiting",
    "needs_statistics",
    "properties_of",
]


def is_self_delimiting(action_format: ActionFormat, text: str) -> bool:
    """Whether `text`, an action that `action_format` reads, shows by itself that it is whole.

    >>> is_self_delimiting(RowsFormat(), "[[3, 0, -8, 1]]"), is_self_delimiting(ProseFormat(), "close gripper")
    (True, False)
    """
    method = getattr(action_format, "is_self_delimiting", None)
    return bool(method(text)) if callable(method) else False


FORMATS: dict[str, Callable[..., ActionFormat]] = {
    RowsFormat.name: RowsFormat,
    ProseFormat.name: ProseFormat,
    IntegersFormat.name: IntegersFormat,
    TokensFormat.name: TokensFormat,
}
"""This package's formats: name -> class. The fields of the class are its settings. `prompts_hash` covers them."""

DIALECTS: dict[str, Callable[..., ActionFormat]] = {
    PaperFormat.name: PaperFormat,
    LapFormat.name: LapFormat,
    LapGripperFormat.name: LapGripperFormat,
    LapCompactFormat.name: LapCompactFormat,
    Vla0Format.name: Vla0Format,
    ClapFormat.name: ClapFormat,
    GoalJsonFormat.name: GoalJsonFormat,
    ChoiceFormat.name: ChoiceFormat,
}
"""Formats of other projects, likewise; results record what they declare (`properties.describe_format`)."""


def needs_statistics(name: str) -> bool:
    """Whether the format `name` writes numbers over the range of a data set: its class has a field `statistics`."""
    found: Any = find("action format", name, {**FORMATS, **DIALECTS})
    return dataclasses.is_dataclass(found) and "statistics" in [field.name for field in dataclasses.fields(found)]


PARTS = ("name", "resolution", "rules", "example", "write", "read", "grammar")
"""The properties and methods of `ActionFormat`."""


def get_format(
    name: str,
    *,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    statistics: ActionStatistics | None = None,
) -> ActionFormat:
    """The format `name` of `FORMATS` or `DIALECTS`, or your own as "package.module:NAME"; None: the format's default.

    resolution: not for "integers", whose resolution is fixed. symbols: ten, required by "tokens", for no other format.
    statistics: the range of the training data, required by "vla0" and "clap".
    A class of your own is called without arguments, or, if it is a dataclass, with the settings that are its fields.
    UnknownNameError for an unknown name, SettingError for a setting that the format does not take, ExtensionError for
    an object without the methods of `ActionFormat`.

    >>> import numpy as np
    >>> get_format("prose", resolution=Resolution(rotation=1)).write(np.array([[0, 0, 0, 0, 0, -0.2, 1]]))
    'rotate clockwise 11 degrees, open gripper'
    """
    found: Any = find("action format", name, {**FORMATS, **DIALECTS})
    given: dict[str, Any] = {"resolution": resolution, "statistics": statistics}
    given["symbols"] = None if symbols is None else tuple(symbols)
    settings = {key: value for key, value in given.items() if value is not None}
    known = [field.name for field in dataclasses.fields(found)] if dataclasses.is_dataclass(found) else []
    for key in settings:
        if key not in known or not isinstance(found, type):
            raise SettingError(
                f"The format {name!r} takes no {key}; leave it out. It takes: {', '.join(known) or 'nothing'}."
            )
    with making("action format", name):
        made: Any = found(**settings) if isinstance(found, type) else found
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing:
        raise ExtensionError(f"The action format {name!r} has no {', '.join(missing)}; see `ActionFormat`.")
    return made
