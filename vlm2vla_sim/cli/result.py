"""What a command returns: text for people, values for programs, and an exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

ALL_ERRORS, SOME_ERRORS = 3, 4
"""Exit statuses of a run in which every episode, or some but not all, ended in an error: outcome `error`, which is
neither a success nor a failure of the policy."""
STOPPED = 6
"""Exit status of a session that its operator stopped."""
TOO_LOW = 5
"""Exit status of a run that does not reach a required success rate."""


@dataclass(frozen=True)
class CommandResult:
    """The output of a command."""

    text: str
    """Printed by default."""
    values: object
    """Printed with --json: plain values."""
    as_json: bool = False
    code: int = 0
    """Exit status of the process."""

    def printed(self) -> str:
        """What goes to standard output: the text, or one line of JSON, which is ASCII on every terminal."""
        return json.dumps(self.values) if self.as_json else self.text


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned lines; the first row is the heading."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
