"""Parses a list of rows of numbers in a model's answer, tolerantly where that is safe.

Models add prose around the list, omit the outer brackets or add units, which is accepted. A missing number or a letter
in place of one is an error, not a guess.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from vlm2vla_sim.language.formats.cursor import UNITS, TextCursor
from vlm2vla_sim.language.formats.grammar import DIGITS
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS

CM_OF = {"cm": 1, "m": 100}
"""Unit of lengths in a text -> how many cm it is."""

_UNIT = re.compile(r"[A-Za-z°]+")
_FOUR = (0, 1, 2)
_SEVEN = (0, 1, 2, 3, 4, 5)
"""The columns, in `COLUMNS`, of a row's numbers before the gripper."""


@dataclass(frozen=True)
class _Cell:
    value: float
    unit: str
    at: int


@functools.cache
def start_of_list(digits: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a bracket followed by a row, a number or nothing, also where the text ends: `[the cup]` is prose."""
    # No two adjacent runs of blanks: the search would take quadratic time on many blanks.
    return re.compile(rf"\[\s*(?=[\[\]]|[+-]?\.?(?:{_digit(digits)}|\Z)|[+-]?(?i:nan|inf))")


class ListReader:
    """Parses one list, from its first bracket on."""

    def __init__(self, cursor: TextCursor, digits: tuple[str, ...], at: int, unit: str = "cm") -> None:
        """digits: the symbols for 0 to 9. at: the position of the list's first bracket. unit: of lengths, cm or m."""
        self.at = self.start = at
        """The present position."""
        self.has_units = False
        """Whether a length has its unit behind it."""
        self._unit = unit
        self.is_nested = False
        """Whether the rows are inside an outer list, whose bracket shows that there are no more."""
        self._cursor = cursor
        self._digits = digits

    def read_list(self) -> list[list[float]]:
        """The rows, each of seven numbers as `grid.to_chunk` takes them."""
        self._expect("[")
        self.is_nested = self._peek() == "["
        if not self.is_nested:
            self.at -= 1
        rows: list[list[float]] = []
        arity = 0
        while not rows or self._another_row():
            index = len(rows) + 1
            self._peek()
            begin = self.at
            if index > MAX_ROWS:
                raise self._cursor.error(f"there are more than {MAX_ROWS} rows; say the rest later.", begin)
            cells = self._read_row(index)
            if rows and len(cells) != arity:
                why = f"row {index} has {len(cells)} numbers but row 1 has {arity}; expected the same in every row."
                raise self._cursor.error(why, begin)
            arity = len(cells)
            rows.append(self._to_row(cells, index, begin))
        if self.is_nested:
            self._expect("]")
        return rows

    def _another_row(self) -> bool:
        """Skip the comma before another row; after rows without an outer list, a comma before prose is prose."""
        before = self.at
        if not self._take(","):
            return False
        follows = self._peek()
        if follows == "[":
            return True
        if follows and not self.is_nested:
            self.at = before
        elif follows != "]":
            raise self._cursor.error(f"expected another row, found {self._cursor.found(self.at)}.", self.at)
        return False

    def _read_row(self, index: int) -> list[_Cell]:
        self._expect("[")
        cells: list[_Cell] = []
        if self._peek() == "]":
            raise self._cursor.error(f"row {index} is empty; {self._cursor.expected}", self.at)
        while self._peek() != "]":
            cells.append(self._read_cell())
            if len(cells) > len(_SEVEN) + 1:
                raise self._cursor.error(f"row {index} has more than 7 numbers; expected 4 or 7.", cells[-1].at)
            if not self._take(","):
                break
        self._expect("]")
        return cells

    def _read_cell(self) -> _Cell:
        self._peek()
        begin = self.at
        number = _number(self._digits).match(self._cursor.plain, begin)
        if number is None:
            found = self._cursor.found(begin)
            raise self._cursor.error(f"expected a number such as {self._in_symbols('-8')}, found {found}.", begin)
        self.at = number.end()
        self._peek()
        unit = _UNIT.match(self._cursor.plain, self.at)
        if unit is not None:
            self.at = unit.end()
        return _Cell(self._value(number.group()), unit.group() if unit else "", begin)

    def _to_row(self, cells: list[_Cell], index: int, begin: int) -> list[float]:
        columns = {4: _FOUR, 7: _SEVEN}.get(len(cells))
        if columns is None:
            raise self._cursor.error(
                f"row {index} has {len(cells)} numbers; expected 4 (dx, dy, dz, gripper) or 7 (with roll, pitch, yaw).",
                begin,
            )
        *motion, gripper = cells
        row = [0.0] * len(COLUMNS)
        for column, cell in zip(columns, motion, strict=True):
            row[column] = self._measured(column, cell, index)
        if gripper.value not in (0, 1) or gripper.unit:
            given = f"{gripper.value:g} {gripper.unit}".strip()
            why = f"the gripper of row {index} is {given}; expected 1 (open) or 0 (closed)."
            raise self._cursor.error(why, gripper.at)
        return [*row, gripper.value]

    def _measured(self, column: int, cell: _Cell, index: int) -> float:
        """The number in the unit of `COLUMNS[column]`."""
        is_length = column in _FOUR
        unit = self._unit if is_length else COLUMNS[column].unit
        if cell.unit and cell.unit.lower() not in UNITS[unit]:
            what = f"{COLUMNS[column].name} of row {index} is in {cell.unit!r}; expected {unit}."
            raise self._cursor.error(what, cell.at)
        self.has_units |= is_length and bool(cell.unit)
        if unit == "m" and abs(cell.value) > 1:
            name = f"{COLUMNS[column].name} of row {index}"
            raise self._cursor.error(f"{name} is {cell.value:g} m: almost certainly cm; expected metres.", cell.at)
        value = cell.value * CM_OF[unit] if is_length else cell.value
        self._cursor.check_motion(column, value, row=index, at=cell.at)
        return value

    def _value(self, written: str) -> float:
        if self._digits != DIGITS:
            symbol = re.compile(_digit(self._digits))
            written = symbol.sub(lambda match: str(self._digits.index(match.group())), written)
        return float(written)

    def _in_symbols(self, text: str) -> str:
        return "".join(self._digits[int(c)] if c in DIGITS else c for c in text)

    def _peek(self) -> str:
        """Skip blanks; returns the next character, or "" at the end."""
        while self.at < len(self._cursor.plain) and self._cursor.plain[self.at].isspace():
            self.at += 1
        return self._cursor.plain[self.at : self.at + 1]

    def _take(self, character: str) -> bool:
        taken = self._peek() == character
        self.at += taken
        return taken

    def _expect(self, character: str) -> None:
        if not self._take(character):
            also = "',' or " if character == "]" else ""
            found = self._cursor.found(self.at)
            raise self._cursor.error(f"expected {also}{character!r}, found {found}.", self.at)


def _digit(digits: tuple[str, ...]) -> str:
    """A regular expression for one digit."""
    return "[0-9]" if digits == DIGITS else f"(?:{'|'.join(map(re.escape, digits))})"


@functools.cache
def _number(digits: tuple[str, ...]) -> re.Pattern[str]:
    one = _digit(digits)
    return re.compile(rf"[+-]?(?:{one}+(?:\.{one}*)?|\.{one}+)")
