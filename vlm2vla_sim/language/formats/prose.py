"""The format `prose`: motion in plain words, such as `move forward 3 cm and down 8 cm, close gripper`.

It is closest to what a language model writes without training. The rules make it unambiguous: a text is a sequence of
rows, joined by "; ". A row has its motion (zeros omitted, in the order of `types.ACTION_SIZE`) and ends with the state
of the gripper after it, so that a row without motion is `close gripper`. The parser (`prose_reader.py`) follows the
same rules and accepts more wordings.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS, GridRow, Resolution, numeral, to_chunk, to_grid
from vlm2vla_sim.language.formats.prose_reader import ProseReader
from vlm2vla_sim.language.formats.rows import EXAMPLE
from vlm2vla_sim.language.words import CLOSE, OPEN, WORDS
from vlm2vla_sim.types import ActionChunk


@dataclass(frozen=True)
class ProseFormat:
    """`move forward 3 cm and down 8 cm, open gripper; close gripper`.

    >>> ProseFormat().write(EXAMPLE)
    'move forward 3 cm and down 8 cm, open gripper; close gripper'
    >>> ProseFormat().read("Move left by 4.2 centimeters and close the gripper.").deltas.round(3).tolist()
    [[0.0, 0.041999999433755875, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """

    resolution: Resolution = field(default_factory=Resolution)

    name = "prose"

    @property
    def example(self) -> str:
        """`EXAMPLE` in this format."""
        return self.write(EXAMPLE)

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        return (
            "Say how far to move in cm, then how far to tilt (left, right, backward or forward: where the fingertips "
            "go) or rotate (clockwise or counterclockwise, seen from above) in degrees, and leave out what is zero. "
            "End each step with open gripper or close gripper, and put a semicolon between steps."
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`."""
        return "; ".join(_write_row(row) for row in to_grid(deltas, self.resolution))

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return _grammar(self.resolution)

    def read(self, text: str, *, gripper: float | None = None) -> ActionChunk:
        """See `ActionFormat.read`. Text before a colon is skipped, and so is everything outside a code fence.

        gripper: how the gripper is now, 0 (closed) .. 1 (open). Rows before the first that mentions the gripper keep
        it. None, which is what policies use: the first row has to mention it.
        """
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        return to_chunk(ProseReader(cursor, gripper=gripper).read_rows(), text)


def describe(chunk: ActionChunk) -> tuple[str, ...]:
    """Each row of `chunk` as text for people, to a tenth of a millimetre and a hundredth of a degree.

    >>> describe(ActionChunk(EXAMPLE, text=""))
    ('move forward 3 cm and down 8 cm, open gripper', 'close gripper')
    """
    rows = np.asarray(chunk.deltas, dtype=np.float64)
    si = [column.si for column in COLUMNS]
    return tuple(
        _write_row(GridRow(tuple(Decimal(f"{v:.2f}") for v in row[:6] / si), bool(row[6] > 0.5))) for row in rows
    )


def _write_row(row: GridRow) -> str:
    phrases: dict[str, list[str]] = {}
    for words, column, value in zip(WORDS, COLUMNS, row.motion, strict=True):
        if value:
            direction = words.plus if value > 0 else words.minus
            phrases.setdefault(words.verb, []).append(f"{direction} {numeral(abs(value))} {column.unit}")
    said = [f"{verb} {' and '.join(parts)}" for verb, parts in phrases.items()]
    return ", ".join([*said, OPEN if row.is_open else CLOSE])


@functools.cache
def _grammar(resolution: Resolution) -> g.Grammar:
    def part(column: int) -> g.Pattern:
        words, unit = WORDS[column], COLUMNS[column].unit
        amounts = g.Numerals.of(numeral(amount) for amount in resolution.amounts(column))
        direction = g.Choice((g.Literal(f"{words.plus} "), g.Literal(f"{words.minus} ")))
        amount = g.Sequence((g.Rule(unit.upper(), amounts), g.Literal(f" {unit}")))
        return g.Rule(COLUMNS[column].name, g.Sequence((direction, amount)))

    def phrase(verb: str) -> g.Pattern:
        parts = [part(column) for column, words in enumerate(WORDS) if words.verb == verb]
        after = [g.optional(g.Sequence((g.Literal(" and "), part))) for part in parts]
        first = [g.Sequence((part, *after[index + 1 :])) for index, part in enumerate(parts)]
        return g.optional(g.Sequence((g.Literal(f"{verb} "), g.Choice(tuple(first)), g.Literal(", "))))

    gripper = g.Choice((g.Literal(OPEN), g.Literal(CLOSE)))
    verbs = dict.fromkeys(words.verb for words in WORDS)
    row = g.Rule("row", g.Sequence((*map(phrase, verbs), gripper)))
    return g.compile_grammar(g.rows_of(row, "; ", MAX_ROWS))
