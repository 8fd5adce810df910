"""The commands behind `vlm2vla …`, one module each: parse, call, and return an `Answer`.

What a command can do, a few lines of Python can do as well; what would only work from the command line does not belong
here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.run_folder import Option


@dataclass(frozen=True)
class Answer:
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


def read_options(
    words: Sequence[str], *, of: str = "backend", example: str = "profile=maniskill3"
) -> dict[str, Option]:
    """NAME=VALUE, ... as a dictionary; a value is a number or true or false where it reads as one, else text."""
    options: dict[str, Option] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals):
            raise SettingError(f"{word!r} is no option of a {of}; expected NAME=VALUE, for example {example}.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        options[name] = value if isinstance(value, (bool, int, float)) else text
    return options


def read_policy_options(words: Sequence[str], *, model: str, adapter: str) -> dict[str, Option]:
    """The options of a policy: those with a flag of their own, and NAME=VALUE, ..."""
    named = {name: value for name, value in (("model", model), ("adapter", adapter)) if value}
    return {**read_options(words, of="policy", example="verifier=truth"), **named}


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned lines; the first row is the heading."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
