"""The text an action is read from: its limits, its look-alike characters, and errors that point at the spot.

Without it each reader would say "cannot parse" about a hundred words, and a person looking at a failed episode could
not tell a missing comma from a motion that is too large. It is also what keeps a runaway answer of ten megabytes short.
"""

from __future__ import annotations

import math
import re

from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.language.formats.grid import COLUMNS

MAX_CHARACTERS = 20_000
"""Longest text that is read. The longest that a format writes by itself is under 6,000 characters."""

LOOK_ALIKES = {
    ord("−"): "-",  # noqa: RUF001 - the minus sign of typeset text
    ord("–"): "-",  # noqa: RUF001
    ord("‑"): "-",  # noqa: RUF001
    ord("º"): "°",
    ord("’"): "'",  # noqa: RUF001
    ord("\N{NO-BREAK SPACE}"): " ",
    ord("\N{NARROW NO-BREAK SPACE}"): " ",
    ord("\N{THIN SPACE}"): " ",
    ord("\N{ZERO WIDTH SPACE}"): " ",
    ord("\N{BYTE ORDER MARK}"): " ",
}
"""Read as what they look like. One character for one, so that positions stay true."""

UNITS = {
    "cm": frozenset({"cm", "centimeter", "centimeters", "centimetre", "centimetres"}),
    "degrees": frozenset({"degrees", "degree", "deg", "°"}),
}
"""How a model may write the units of `grid.COLUMNS`, in lower case."""

_REACH = 30
"""Characters shown on each side of the spot."""
_FOUND = re.compile(r"[A-Za-z0-9.+-]{1,20}|\S")
_FENCE = re.compile(r"```[A-Za-z0-9_+-]*")


class TextCursor:
    """One text on its way to becoming a chunk."""

    def __init__(self, text: str, *, format_name: str, example: str) -> None:
        """ActionTextError for what is not worth looking at: no text, an empty one, or more than MAX_CHARACTERS."""
        self.format_name = format_name
        self.expected = f"expected for example: {example}"
        if not isinstance(text, str):
            raise ActionTextError(f"The action is of type {type(text).__name__}; expected a text.")
        if len(text) > MAX_CHARACTERS:
            raise ActionTextError(
                f"The action text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.",
                position=MAX_CHARACTERS,
            )
        if not text.strip():
            raise ActionTextError(f"The action text is empty; {self.expected}")
        self.text = text
        self.plain = text.translate(LOOK_ALIKES)

    def error(self, why: str, at: int) -> ActionTextError:
        """The error for "`why`, at character `at`", with the place shown and pointed at."""
        start, end = max(0, at - _REACH), min(len(self.text), at + _REACH)
        shown = "".join(character if character.isprintable() else " " for character in self.text[start:end])
        head, tail = "…" if start else "", "…" if end < len(self.text) else ""
        return ActionTextError(
            f"Unreadable {self.format_name} action, position {at}: {why}\n"
            f"    {head}{shown}{tail}\n    {' ' * (len(head) + at - start)}^",
            position=at,
        )

    def found(self, at: int) -> str:
        """What stands at `at`, short, for "found ..."."""
        word = _FOUND.search(self.plain, at)
        return repr(word.group()) if word else "the end of the text"

    def check_motion(self, column: int, value: float, *, row: int, at: int) -> None:
        """Raise unless `value`, in the column's unit, is within the range of `COLUMNS[column]`."""
        limits = COLUMNS[column]
        if not math.isfinite(value) or abs(value) > limits.limit:
            raise self.error(
                f"{limits.name} of row {row} is {value:g} {limits.unit}; expected {limits.range_text()}.", at
            )

    def inside_fence(self) -> tuple[int, int]:
        """Where the text stands that is meant: inside the code fence when there is one, else everything."""
        fences = list(_FENCE.finditer(self.plain))
        if not fences:
            return 0, len(self.plain)
        if len(fences) > 2:
            raise self.error("there is more than one code block; expected one action.", fences[2].start())
        return fences[0].end(), fences[1].start() if len(fences) == 2 else len(self.plain)
