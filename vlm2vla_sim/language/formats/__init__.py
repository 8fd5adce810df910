"""Action formats: how actions are written as text. The protocol of a format, and the table that finds one by name.

Writer, reader and grammar of a format are one object, so that training text, constrained decoding and evaluation agree.
Your own format is "package.module:NAME", a class or an object with the methods of `ActionFormat`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.core.finder import find, making
from vlm2vla_sim.errors import ExtensionError, SettingError
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.language.formats.grid import Resolution
from vlm2vla_sim.language.formats.integers import IntegersFormat
from vlm2vla_sim.language.formats.prose import ProseFormat, describe
from vlm2vla_sim.language.formats.rows import RowsFormat, TokensFormat
from vlm2vla_sim.types import ActionChunk

__all__ = ["FORMATS", "ActionFormat", "Grammar", "Resolution", "describe", "get_format", "is_self_delimiting"]


class ActionFormat(Protocol):
    """Writes motion as text, and parses it.

    A format whose texts show their own end may have a method `is_self_delimiting(text) -> bool`, which is called with
    texts that `read` accepts: True if no shorter beginning of the text is an action. Of the built-in formats, `vlm2vla`
    and `tokens` have it: their list ends with its outer bracket. A `prose` or `integers` action cut off after a row is
    a whole action of fewer rows, so that only the model can tell (`Stage.finish`).
    """

    @property
    def name(self) -> str:
        """The name in `FORMATS`, or one of your own."""
        ...

    @property
    def resolution(self) -> Resolution:
        """The resolution of `write`."""
        ...

    @property
    def rules(self) -> str:
        """The rules of the format, in a few sentences for the prompt."""
        ...

    @property
    def example(self) -> str:
        """A short output of `write`, for the prompt."""
        ...

    def write(self, deltas: np.ndarray) -> str:
        """`deltas`, (1 to 32, 7) as in `ActionChunk.deltas`, rounded to the resolution; a gripper above 0.5 is open.

        ActionError for another shape, or a number that is not finite or too large.
        """
        ...

    def read(self, text: str) -> ActionChunk:
        """The action in `text`, at the precision it is written with. The inverse of `write` on the resolution's grid.

        ActionTextError with the position and the reason for any other text; the time is bounded for every text.
        """
        ...

    def grammar(self) -> Grammar:
        """A grammar of the texts that `write` produces; `read` accepts all of them."""
        ...


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
"""Name -> class. The fields of the class are its settings."""


PARTS = ("name", "resolution", "rules", "example", "write", "read", "grammar")
"""The properties and methods of `ActionFormat`."""


def get_format(
    name: str, *, resolution: Resolution | None = None, symbols: Sequence[str] | None = None
) -> ActionFormat:
    """The format `name` of `FORMATS`, or your own as "package.module:NAME"; None is the format's own default.

    resolution: not for "integers", whose resolution is fixed. symbols: ten, required by "tokens", for no other format.
    A class of your own is called without arguments, or, if it is a dataclass, with the settings that are its fields.
    UnknownNameError for an unknown name, SettingError for a setting that the format does not take, ExtensionError for
    an object without the methods of `ActionFormat`.

    >>> get_format("prose", resolution=Resolution(rotation=1)).write(np.array([[0, 0, 0, 0, 0, -0.2, 1]]))
    'rotate clockwise 11 degrees, open gripper'
    """
    found: Any = find("action format", name, FORMATS)
    given = {"resolution": resolution, "symbols": None if symbols is None else tuple(symbols)}
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
