"""Reads motion from plain English, clause by clause.

Every clause between two separators must be a motion, a gripper command or "stay". Anything else is an error, so that
the arm never carries out half of a sentence. What is said about the gripper ends a row, because in a row the motion
comes first (see `envs.motion.split`); a semicolon, a full stop, a line break and "then" end one too. A row that does
not mention the gripper leaves it as the row before did. The first row has to mention it, and so has a motion with which
the text ends, which may be cut off before it; unless the caller says how the gripper is now. A text that ends with a
comma, a semicolon, "and" or "then" is the beginning of another one.
"""

from __future__ import annotations

import math
import re

from vlm2vla_sim.language.formats.cursor import UNITS, TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS
from vlm2vla_sim.language.words import CLOSE, OPEN, WORDS

EXPECTED = "expected 'move forward 3 cm', 'rotate clockwise 20 degrees', 'open gripper' or 'close gripper'"
_SHOWN = 40
"""Characters of a clause that are shown in an error."""

_FACTORS: dict[str, tuple[str, float]] = {
    **{name: (unit, 1.0) for unit, names in UNITS.items() for name in names},
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), ("cm", 100.0)),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), ("cm", 0.1)),
    **dict.fromkeys(("rad", "radian", "radians"), ("degrees", 180 / math.pi)),
}
"""Unit in lower case -> the unit of `grid.COLUMNS` it measures, and how many of those it is."""
_ACCEPTED = {"cm": "cm, mm or m", "degrees": "degrees or radians"}

_VERBS = {"move": "move", "go": "move", "tilt": "tilt", "rotate": "rotate", "turn": "rotate"}
_DIRECTIONS = {
    "forwards": "forward",
    "back": "backward",
    "backwards": "backward",
    "leftward": "left",
    "leftwards": "left",
    "rightward": "right",
    "rightwards": "right",
    "upward": "up",
    "upwards": "up",
    "downward": "down",
    "downwards": "down",
    "counter-clockwise": "counterclockwise",
    "anticlockwise": "counterclockwise",
    "anti-clockwise": "counterclockwise",
}

# Each is matched against one clause, between separators. No two neighbouring runs can match the same blanks: on many
# blanks the match would take the square of their number.
_VERB = rf"(?:(?P<verb>{'|'.join(_VERBS)})\s+)?"
_DIRECTION = r"(?:to\s+the\s+)?(?P<word>[a-z]+(?:-[a-z]+)?)"
_AMOUNT = r"(?:by\s+)?(?P<amount>[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))"
_MOTIONS = (
    re.compile(rf"{_VERB}{_DIRECTION}\s+{_AMOUNT}\s*(?P<unit>[a-z°]*)", re.IGNORECASE | re.ASCII),
    re.compile(rf"{_VERB}{_AMOUNT}\s*(?P<unit>[a-z°]+)\s+{_DIRECTION}", re.IGNORECASE | re.ASCII),
)
_GRIPPERS = (
    re.compile(r"(?P<does>open|close)\s+(?:the\s+)?gripper", re.IGNORECASE | re.ASCII),
    re.compile(
        r"(?:(?:keep|leave|hold)\s+)?(?:the\s+)?gripper\s+(?:(?:is|stays)\s+)?(?P<does>open|closed)",
        re.IGNORECASE | re.ASCII,
    ),
)
_STILL = re.compile(r"stay|stay\s+still|hold\s+still|do\s+not\s+move|don't\s+move", re.IGNORECASE | re.ASCII)
_SEPARATOR = re.compile(r"(?P<row>;|\n|\.(?![0-9])|\bthen\b)|,|\band\b", re.IGNORECASE | re.ASCII)
_CONTINUING = frozenset({",", ";", "and", "then"})
"""Separators that a text cannot end with."""
_BULLET = re.compile(r"^[ \t]*(?:[0-9]{1,2}[.)]|[-•])[ \t]", re.MULTILINE)
_BLANKED = {ord(character): " " for character in '"“”`*'}


class ProseReader:
    """Reads the rows of one text, clause by clause."""

    def __init__(self, cursor: TextCursor, *, gripper: float | None = None) -> None:
        """gripper: 0 (closed) .. 1 (open), kept by rows before the first that mentions it; None: the first row must."""
        self._cursor = cursor
        self._gripper = gripper
        self._plain = cursor.plain.translate(_BLANKED)
        self._rows: list[list[float]] = []
        self._motion: dict[int, float] = {}
        self._row_at: int | None = None
        """Where the current row began; None between rows."""
        self._tilting = False

    def read_rows(self) -> list[list[float]]:
        """The rows, each of seven numbers as `grid.to_chunk` takes them."""
        at, end = self._bounds()
        plain = _BULLET.sub(lambda bullet: " " * len(bullet.group()), self._plain)
        unfinished: re.Match[str] | None = None
        for separator in _SEPARATOR.finditer(plain, at, end):
            if self._read_clause(plain, at, separator.start()):
                unfinished = None
            if separator["row"]:
                self._end_row(None)
            if separator.group().lower() in _CONTINUING:
                unfinished = separator
            at = separator.end()
        if not self._read_clause(plain, at, end) and unfinished:
            raise self._cursor.error(f"the text ends after {unfinished.group()!r}; {EXPECTED}.", unfinished.start())
        if self._row_at is not None and self._rows and self._motion and self._gripper is None:
            why = f"the last row does not say what the gripper does; end it with '{OPEN}' or '{CLOSE}'."
            raise self._cursor.error(why, self._row_at)
        self._end_row(None)
        if not self._rows:
            raise self._cursor.error(f"there is no action; {EXPECTED}.", at)
        return self._rows

    def _bounds(self) -> tuple[int, int]:
        start, end = self._cursor.inside_fence()
        colon = self._plain.find(":", start, end)
        said = self._plain[start:colon] if colon >= 0 else ""
        # With a number or a gripper before the colon ("option 1: ...") what is passed over might have been an action.
        if colon >= 0 and not re.search("[0-9]", said) and not any(pattern.search(said) for pattern in _GRIPPERS):
            start = colon + 1
        return start, end

    def _read_clause(self, plain: str, start: int, end: int) -> bool:
        """Read what is said between two separators; whether anything is."""
        clause = plain[start:end]
        start += len(clause) - len(clause.lstrip())
        end = start + len(clause.strip())
        if start == end:
            return False
        if self._row_at is None:
            self._row_at = start
        if gripper := _first_match(_GRIPPERS, plain, start, end):
            self._end_row(gripper["does"].lower() == "open")
        elif motion := _first_match(_MOTIONS, plain, start, end):
            self._add_motion(motion)
        elif not _STILL.fullmatch(plain, start, end):
            said = plain[start:end] if end - start <= _SHOWN else plain[start : start + _SHOWN] + "…"
            raise self._cursor.error(f"{EXPECTED}, found {said!r}.", start)
        return True

    def _add_motion(self, motion: re.Match[str]) -> None:
        word, unit = motion["word"].lower(), motion["unit"].lower()
        word = _DIRECTIONS.get(word, word)
        verb = _VERBS[motion["verb"].lower()] if motion["verb"] else self._guess_verb(word, unit, motion.start())
        self._tilting = verb == "tilt"
        column, sign = self._direction(verb, word, motion.start("word"))
        measured, factor = _FACTORS.get(unit, ("", 1.0))
        if measured != COLUMNS[column].unit:
            given = f"is in {unit!r}" if unit else "has no unit"
            why = f"the amount for '{verb} {word}' {given}; expected {_ACCEPTED[COLUMNS[column].unit]}."
            raise self._cursor.error(why, motion.start("amount"))
        if column in self._motion:
            either = f"{verb} {WORDS[column].plus} or {WORDS[column].minus}"
            raise self._cursor.error(f"row {len(self._rows) + 1} says twice how far to {either}.", motion.start())
        amount = float(motion["amount"]) * factor
        if amount < 0:
            why = "an amount below zero; expected the opposite direction instead."
            raise self._cursor.error(why, motion.start("amount"))
        self._cursor.check_motion(column, sign * amount, row=len(self._rows) + 1, at=motion.start("amount"))
        self._motion[column] = sign * amount

    def _guess_verb(self, word: str, unit: str, at: int) -> str:
        """The verb of "... and down 8 cm", of "clockwise 20 degrees", and of a direction after another tilt."""
        if _FACTORS.get(unit, ("", 1.0))[0] == "cm":
            return "move"
        if word in ("clockwise", "counterclockwise"):
            return "rotate"
        if self._tilting:
            return "tilt"
        raise self._cursor.error(f"'{word}' without a verb; expected move, tilt or rotate before it.", at)

    def _direction(self, verb: str, word: str, at: int) -> tuple[int, int]:
        for column, words in enumerate(WORDS):
            if words.verb == verb and word in (words.plus, words.minus):
                return column, 1 if word == words.plus else -1
        known = [word for words in WORDS if words.verb == verb for word in (words.plus, words.minus)]
        raise self._cursor.error(f"'{verb} {word}' is not a direction; expected {verb} {', '.join(known)}.", at)

    def _end_row(self, is_open: bool | None) -> None:
        if self._row_at is None:
            return
        before = self._rows[-1][6] if self._rows else self._gripper
        gripper = before if is_open is None else float(is_open)
        if gripper is None:
            why = f"the first row does not say what the gripper does; end it with '{OPEN}' or '{CLOSE}'."
            raise self._cursor.error(why, self._row_at)
        if len(self._rows) == MAX_ROWS:
            raise self._cursor.error(f"there are more than {MAX_ROWS} rows; say the rest later.", self._row_at)
        self._rows.append([self._motion.get(column, 0.0) for column in range(len(COLUMNS))] + [gripper])
        self._motion, self._row_at, self._tilting = {}, None, False


def _first_match(patterns: tuple[re.Pattern[str], ...], text: str, start: int, end: int) -> re.Match[str] | None:
    return next((match for pattern in patterns if (match := pattern.fullmatch(text, start, end))), None)
