"""The formats `vlm2vla`, a list of rows of numbers, and `tokens`, the same rows in ten symbols instead of digits.

The paper writes an action as a list of lists, without stating unit or decimals. Here: centimetres, degrees, gripper 1
open and 0 closed. The paper's actions have no rotation; the three further numbers of a row are an extension.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import LOOK_ALIKES, TextCursor
from vlm2vla_sim.language.formats.grid import MAX_ROWS, Resolution, numeral, to_chunk, to_grid
from vlm2vla_sim.language.formats.list_reader import CM_OF, ListReader, start_of_list
from vlm2vla_sim.types import ActionChunk

EXAMPLE = np.array([[0.03, 0, -0.08, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]])
"""(2, 7) as `ActionChunk.deltas`: the example of every format. Move with the gripper open; close it."""

METRES_BELOW = 0.5
"""[cm] A text without units whose lengths are all below this is refused, unless the format writes so finely itself: the
figure of the paper has metres, `[0.1, 0.03, -0.2, 1]`, and nobody moves an arm by a millimetre."""

_MOVE, _TURN = slice(0, 3), slice(3, 6)


@dataclass(frozen=True)
class RowsFormat:
    """`[[3, 0, -8, 1], [0, 0, 0, 0]]`: dx, dy, dz [cm], gripper; with rotation, roll, pitch, yaw [degrees] before it.

    >>> RowsFormat().write(EXAMPLE)
    '[[3, 0, -8, 1], [0, 0, 0, 0]]'
    >>> RowsFormat().read("Sure: [[3, 0, -8, 1]]").deltas.tolist()[0][2]  # doctest: +ELLIPSIS
    -0.07999...
    """

    resolution: Resolution = field(default_factory=Resolution)

    name = "vlm2vla"
    unit = "cm"
    """The unit of lengths in the text, "cm" or "m"."""

    @property
    def digits(self) -> tuple[str, ...]:
        """The symbols for 0 to 9."""
        return g.DIGITS

    @property
    def example(self) -> str:
        """`EXAMPLE` in this format."""
        return self.write(EXAMPLE)

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        return (
            "Write a list of rows [dx, dy, dz, gripper]: dx, dy, dz in cm, gripper 1 for open or 0 for closed. If the "
            "gripper must turn, make all rows [dx, dy, dz, roll, pitch, yaw, gripper], the angles in degrees."
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`. All rows have seven numbers if one of them rotates, else all have four."""
        rows = to_grid(deltas, self.resolution)
        turns = any(any(row.motion[_TURN]) for row in rows)
        written = []
        for row in rows:
            motion = row.motion if turns else row.motion[_MOVE]
            lengths = [numeral(value / CM_OF[self.unit]) for value in motion[_MOVE]]
            numbers = [*lengths, *map(numeral, motion[_TURN]), str(int(row.is_open))]
            written.append(f"[{', '.join(numbers)}]")
        return self._in_symbols(f"[{', '.join(written)}]")

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`. It also allows rows of seven numbers without rotation, never written."""
        return _grammar(self.resolution, self.digits, self.unit)

    def read(self, text: str) -> ActionChunk:
        """See `ActionFormat.read`. Prose around the list is ignored; a second list must be equal."""
        return to_chunk(self._find(text)[0], text)

    def is_self_delimiting(self, text: str) -> bool:
        """See `ActionFormat`: whether the rows are inside an outer list, as `write` puts them.

        >>> RowsFormat().is_self_delimiting("[[3, 0, -8, 1]]"), RowsFormat().is_self_delimiting("[3, 0, -8, 1]")
        (True, False)
        """
        return self._find(text)[1]

    def _find(self, text: str) -> tuple[list[list[float]], bool]:
        """The rows in `text`, and whether an outer list encloses them."""
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        found: list[list[float]] | None = None
        closed = False
        at, starts = 0, start_of_list(self.digits)
        while start := starts.search(cursor.plain, at):
            reader = ListReader(cursor, self.digits, start.start(), self.unit)
            rows = reader.read_list()
            if found is not None and rows != found:
                raise cursor.error("a second list with other numbers; expected one list.", start.start())
            self._check_unit(cursor, rows, reader)
            found, at, closed = rows, reader.at, closed or reader.is_nested
        if found is None:
            raise cursor.error(f"there is no list of numbers; {cursor.expected}", 0)
        return found, closed

    def _check_unit(self, cursor: TextCursor, rows: list[list[float]], reader: ListReader) -> None:
        """Raise if the lengths, in cm, are almost certainly metres: all of them below half of what is written in cm."""
        lengths = [abs(length) for row in rows for length in row[_MOVE] if length]
        if self.unit != "cm" or reader.has_units or not lengths or max(lengths) >= METRES_BELOW:
            return
        if self.resolution.translation * 100 >= METRES_BELOW:
            raise cursor.error(
                f"every length is below {METRES_BELOW:g} (the largest is {max(lengths):g}), and lengths are in cm "
                "here: they are almost certainly metres. Use the format 'paper', which reads metres, or write cm "
                "after them.",
                reader.start,
            )

    def _in_symbols(self, text: str) -> str:
        if self.digits == g.DIGITS:
            return text
        return text.translate({ord(digit): symbol for digit, symbol in zip(g.DIGITS, self.digits, strict=True)})


@dataclass(frozen=True)
class TokensFormat(RowsFormat):
    """The paper's ablation VLM2VLA-AT: `RowsFormat` with ten rare tokens of the model in the place of the ten digits.

    >>> TokensFormat(symbols=tuple("zabcdefghi")).write(EXAMPLE)
    '[[c, z, -h, a], [z, z, z, z]]'
    """

    symbols: tuple[str, ...] = ()
    """For the digits 0 to 9, each the text of one token."""

    name = "tokens"

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if len(self.symbols) != 10 or len(set(self.symbols)) != 10:
            raise SettingError(
                f"The format 'tokens' was given {len(set(self.symbols))} different symbols; expected ten, which stand "
                "for the digits 0 to 9. They are stored beside the adapter that was trained with them."
            )
        for symbol in self.symbols:
            # A digit would be misread by people; the other characters would make a row ambiguous.
            changed = symbol.translate(LOOK_ALIKES) != symbol
            if changed or symbol.isdigit() or not re.fullmatch(r"[^\s\[\],.+-]{1,16}", symbol):
                raise SettingError(
                    f"The symbol {symbol!r} cannot stand for a digit; expected 1 to 16 characters, not a digit, "
                    "without blanks and without any of [ ] , . + -"
                )
            longer = [other for other in self.symbols if other != symbol and other.startswith(symbol)]
            if longer:
                raise SettingError(
                    f"The symbol {symbol!r} begins the symbol {longer[0]!r}; expected symbols that do not."
                )

    @property
    def digits(self) -> tuple[str, ...]:
        """The symbols."""
        return self.symbols

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        return super().rules + f" In the place of the digits 0 to 9, write {' '.join(self.symbols)}."


@functools.cache
def _grammar(resolution: Resolution, digits: tuple[str, ...], unit: str) -> g.Grammar:
    def number(name: str, column: int) -> g.Pattern:
        by = CM_OF[unit] if column < 3 else 1
        amounts = [numeral(amount / by) for amount in resolution.amounts(column)]
        return g.Rule(name, g.Numerals.of(["0", *amounts, *(f"-{amount}" for amount in amounts)], digits))

    def rows(name: str, numbers: tuple[g.Pattern, ...]) -> g.Pattern:
        cells = [part for number in numbers for part in (number, g.Literal(", "))]
        row = g.Rule(name, g.Sequence((g.Literal("["), *cells, gripper, g.Literal("]"))))
        return g.Sequence((g.Literal("["), g.rows_of(row, ", ", MAX_ROWS), g.Literal("]")))

    gripper = g.Rule("GRIPPER", g.Numerals.of("01", digits))
    move, turn = (number("CM", 0),) * 3, (number("DEGREES", 3),) * 3
    return g.compile_grammar(g.Choice((rows("moving_row", move), rows("turning_row", move + turn))))
