"""The text of an action while it is parsed: length limit, look-alike characters, and errors with a position.

The errors show the place in the text and the reason, so that a missing comma can be told from a motion that is too
large. The length limit bounds the time for an answer that does not end.
"""

from __future__ import annotations

import math
import re

from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.language.formats.grid import COLUMNS

MAX_CHARACTERS = 20_000
"""The longest text that is parsed. The longest text that a format writes has less than 6,000 characters."""

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
"""Parsed as what they look like. One character each, so that positions stay valid."""

UNITS = {
    "cm": frozenset({"cm", "centimeter", "centimeters", "centimetre", "centimetres"}),
    "m": frozenset({"m", "meter", "meters", "metre", "metres"}),
    "degrees": frozenset({"degrees", "degree", "deg", "°"}),
}
"""How the units of `grid.COLUMNS`, and metres, may be written, in lower case."""

_REACH = 30
"""Characters shown on each side of the position."""
_FOUND = re.compile(r"[A-Za-z0-9.+-]{1,20}|\S")
_FENCE = re.compile(r"```[A-Za-z0-9_+-]*")


class TextCursor:
    """A text that is being parsed into a chunk."""

    def __init__(self, text: str, *, format_name: str, example: str) -> None:
        """ActionTextError if `text` is not a text, is empty, or has more than MAX_CHARACTERS."""
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
        """The error with the reason `why`, showing the text around position `at`."""
        start, end = max(0, at - _REACH), min(len(self.text), at + _REACH)
        shown = "".join(character if character.isprintable() else " " for character in self.text[start:end])
        head, tail = "…" if start else "", "…" if end < len(self.text) else ""
        return ActionTextError(
            f"Unreadable {self.format_name} action, position {at}: {why}\n"
            f"    {head}{shown}{tail}\n    {' ' * (len(head) + at - start)}^",
            position=at,
        )

    def found(self, at: int) -> str:
        """The word at position `at`, for "found ..."."""
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
        """Start and end of the action: the content of the code fence if there is one, else the whole text."""
        fences = list(_FENCE.finditer(self.plain))
        if not fences:
            return 0, len(self.plain)
        if len(fences) > 2:
            raise self.error("there is more than one code block; expected one action.", fences[2].start())
        return fences[0].end(), fences[1].start() if len(fences) == 2 else len(self.plain)
