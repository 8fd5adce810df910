"""The commands behind `vlm2vla …`, one module each: parse, call, and return an `CommandResult`.

What a command can do, a few lines of Python can do as well; what would only work from the command line does not belong
here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

BROKE = 3
"""Exit status when every episode broke: neither a success nor a failure was seen."""


@dataclass(frozen=True)
class CommandResult:
    """What a command has to say."""

    text: str
    """For people."""
    values: object
    """The same for programs: plain values for JSON."""
    as_json: bool = False
    code: int = 0
    """Exit status."""

    def printed(self) -> str:
        """What goes to standard output: the text, or one line of JSON."""
        return json.dumps(self.values, ensure_ascii=False) if self.as_json else self.text


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned lines; the first row is the heading."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
