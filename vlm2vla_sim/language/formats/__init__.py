"""How actions are put into words: what every format can do, and the table that finds one by name.

Writer, reader and grammar of a format are one object, so that training text, constrained decoding and evaluation cannot
speak different dialects. Adding a format is one class and one line in `FORMATS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.language.formats.grid import Resolution
from vlm2vla_sim.language.formats.integers import IntegersFormat
from vlm2vla_sim.language.formats.prose import ProseFormat, describe
from vlm2vla_sim.language.formats.rows import RowsFormat, TokensFormat
from vlm2vla_sim.types import ActionChunk

__all__ = ["FORMATS", "ActionFormat", "Grammar", "Resolution", "describe", "get_format"]


class ActionFormat(Protocol):
    """A way to write motion as text, and to read it back."""

    @property
    def name(self) -> str:
        """As in `FORMATS`."""
        ...

    @property
    def resolution(self) -> Resolution:
        """How finely `write` writes."""
        ...

    @property
    def rules(self) -> str:
        """How to write it, in a few sentences for the prompt."""
        ...

    @property
    def example(self) -> str:
        """A short text as `write` writes it, for the prompt."""
        ...

    def write(self, deltas: np.ndarray) -> str:
        """`deltas`, (1 to 32, 7) as in `ActionChunk.deltas`, rounded to the resolution; a gripper above 0.5 is open.

        ActionError for what no text can say: another shape, a number that is not finite or too large.
        """
        ...

    def read(self, text: str) -> ActionChunk:
        """What `text` means, taken as finely as it is written. The inverse of `write` on the resolution's grid.

        ActionTextError, saying where and why, for what is no action; bounded in time whatever the text.
        """
        ...

    def grammar(self) -> Grammar:
        """The texts `write` writes, and none that `read` refuses."""
        ...


FORMATS: dict[str, Callable[..., ActionFormat]] = {
    RowsFormat.name: RowsFormat,
    ProseFormat.name: ProseFormat,
    IntegersFormat.name: IntegersFormat,
    TokensFormat.name: TokensFormat,
}
"""Name -> class; a class takes the settings that are its fields."""


def get_format(
    name: str, *, resolution: Resolution | None = None, symbols: Sequence[str] | None = None
) -> ActionFormat:
    """The format called `name`; what is None is the format's own default.

    resolution: not for "integers", whose numbers have a fixed meaning. symbols: ten, for "tokens" only, which needs
    them.

    >>> get_format("prose", resolution=Resolution(rotation=1)).write(np.array([[0, 0, 0, 0, 0, -0.2, 1]]))
    'rotate clockwise 11 degrees, open gripper'
    """
    if name not in FORMATS:
        raise unknown_name("action format", name, FORMATS)
    factory: Any = FORMATS[name]
    given = {"resolution": resolution, "symbols": None if symbols is None else tuple(symbols)}
    settings = {key: value for key, value in given.items() if value is not None}
    known = [field.name for field in dataclasses.fields(factory)]
    for key in settings:
        if key not in known:
            raise SettingError(
                f"The format {name!r} takes no {key}; leave it out. It takes: {', '.join(known) or 'nothing'}."
            )
    return factory(**settings)
