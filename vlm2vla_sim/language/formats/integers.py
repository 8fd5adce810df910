"""The format `integers`, after VLA-0: seven whole numbers from 0 to 1000 a row, separated by blanks.

VLA-0 maps 0 to 1000 onto the range of its training data, so its text depends on that file. Here the range is part of
the format: 500 is no motion, 0 and 1000 are the ends of `grid.COLUMNS`, hence 1 mm and 0.36 degrees a unit, and
the gripper is 0 (closed) or 1000 (open). (VLA-0: arXiv 2510.13054.)
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS, Resolution, to_chunk, to_grid
from vlm2vla_sim.language.formats.rows import EXAMPLE
from vlm2vla_sim.types import ACTION_SIZE, ActionChunk

TOP = 1000
"""The largest number; the smallest is 0, the other end of the range."""
MIDDLE = TOP // 2

_RESOLUTION = Resolution(translation=0.001, rotation=0.36)

_NOT_A_NUMBER = re.compile(r"\b(?:nan|inf|infinity)\b", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,\[\]]*")
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class IntegersFormat:
    """`530 500 420 500 500 500 1000`: dx, dy, dz, roll, pitch, yaw, gripper; as many rows as there are sevens.

    >>> IntegersFormat().write(EXAMPLE)
    '530 500 420 500 500 500 1000 500 500 500 500 500 500 0'
    """

    name = "integers"

    @property
    def resolution(self) -> Resolution:
        """Fixed by the range: 1 mm and 0.36 degrees."""
        return _RESOLUTION

    @property
    def example(self) -> str:
        """`EXAMPLE` in this format."""
        return self.write(EXAMPLE)

    @property
    def rules(self) -> str:
        """How to write it, for the prompt."""
        move, turn = COLUMNS[0], COLUMNS[3]
        return (
            f"Write seven whole numbers from 0 to {TOP} for each step, all separated by blanks: dx, dy, dz, where "
            f"{MIDDLE} is no motion, 0 is -{move.limit} {move.unit} and {TOP} is {move.limit} {move.unit}; roll, "
            f"pitch, yaw, where {MIDDLE} is no turn, 0 is -{turn.limit} {turn.unit} and {TOP} is {turn.limit} "
            f"{turn.unit}; then the gripper, 0 for closed or {TOP} for open."
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`."""
        steps = _RESOLUTION.steps
        numbers = []
        for row in to_grid(deltas, _RESOLUTION):
            numbers += [MIDDLE + int(value / step) for value, step in zip(row.motion, steps, strict=True)]
            numbers.append(TOP if row.is_open else 0)
        return " ".join(map(str, numbers))

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return _grammar()

    def read(self, text: str) -> ActionChunk:
        """See `ActionFormat.read`. Around the numbers there may be prose without numbers; commas and brackets pass."""
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        numbers = find_numbers(cursor)
        if len(numbers) % ACTION_SIZE:
            why = f"there are {len(numbers)} numbers; expected {ACTION_SIZE} for each row."
            raise cursor.error(why, numbers[-1][1])
        if len(numbers) > MAX_ROWS * ACTION_SIZE:
            why = f"there are more than {MAX_ROWS} rows of {ACTION_SIZE} numbers; say the rest later."
            raise cursor.error(why, numbers[MAX_ROWS * ACTION_SIZE][1])
        starts = range(0, len(numbers), ACTION_SIZE)
        rows = [_to_row(cursor, numbers[start : start + ACTION_SIZE], start // ACTION_SIZE + 1) for start in starts]
        return to_chunk(rows, text)


def find_numbers(cursor: TextCursor) -> list[tuple[int, int]]:
    """Every number with its position, from the first digit of the text to its last."""
    plain = cursor.plain
    if wrong := _NOT_A_NUMBER.search(plain):
        raise cursor.error(f"expected a whole number from 0 to {TOP}, found {wrong.group()!r}.", wrong.start())
    at, end = cursor.inside_fence()
    _check_end(cursor, at, end)
    digits = [match.start() for match in re.finditer("[0-9]", plain[at:end])]
    if not digits:
        raise cursor.error(f"there are no numbers; {cursor.expected}", at)
    at, end = at + digits[0], at + digits[-1] + 1
    if at and plain[at - 1] in "+-.":
        at -= 1
    numbers = []
    while at < end:
        number = _INTEGER.match(plain, at)
        # float() first: int() refuses thousands of digits with an error of its own.
        if number is None or not 0 <= float(number.group()) <= TOP:
            found = cursor.found(at)
            raise cursor.error(f"expected a whole number from 0 to {TOP}, found {found}.", at)
        numbers.append((int(number.group()), at))
        after = number.end()
        at = _BETWEEN.match(plain, after).end()  # type: ignore[union-attr]  # it matches the empty text too
        if at == after < end:
            raise cursor.error(f"expected a blank between numbers, found {cursor.found(at)}.", at)
    return numbers


def _check_end(cursor: TextCursor, start: int, end: int) -> None:
    """Raise if the text ends after a comma or inside brackets: it is the beginning of another text."""
    said = cursor.plain[start:end]
    last = len(said.rstrip()) - 1
    if said[last:].startswith(","):
        raise cursor.error(f"the text ends after ','; {cursor.expected}", start + last)
    if said.count("[") > said.count("]"):
        raise cursor.error("the text ends before its brackets do; expected ']'.", end)


def _to_row(cursor: TextCursor, numbers: list[tuple[int, int]], index: int) -> list[float]:
    *motion, (gripper, at) = numbers
    if gripper not in (0, TOP):
        raise cursor.error(f"the gripper of row {index} is {gripper}; expected {TOP} (open) or 0 (closed).", at)
    steps = _RESOLUTION.steps
    return [float((number - MIDDLE) * step) for (number, _), step in zip(motion, steps, strict=True)] + [gripper / TOP]


@functools.cache
def _grammar() -> g.Grammar:
    number = g.Rule("NUMBER", g.Numerals.of(range(TOP + 1)))
    cells = [part for _ in COLUMNS for part in (number, g.Literal(" "))]
    row = g.Rule("row", g.Sequence((*cells, g.Rule("GRIPPER", g.Numerals.of((0, TOP))))))
    return g.compile_grammar(g.rows_of(row, " ", MAX_ROWS))
