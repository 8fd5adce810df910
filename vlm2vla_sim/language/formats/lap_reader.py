"""Reads a sentence of LAP's: moves that add up, words for amounts, tilts, and a gripper between open and closed.

Every clause has to be understood, so that the arm never carries out a part of what was said. What LAP's own reader
understands is read with the same numbers.
"""

from __future__ import annotations

import re

from vlm2vla_sim.language.formats.cursor import UNITS, TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS

AMOUNTS = {"slightly": 1.5, "moderately": 5.0, "a lot": 10.0}
"""[cm] what LAP's reader takes these words for (lang_action_formats.py:58)."""
DIRECTIONS = {
    "forward": (0, 1),
    "backward": (0, -1),
    "back": (0, -1),
    "left": (1, 1),
    "right": (1, -1),
    "up": (2, 1),
    "down": (2, -1),
}
TURNS = {
    "tilt left": (3, 1),
    "tilt right": (3, -1),
    "tilt down": (4, 1),
    "tilt back": (4, 1),
    "tilt backward": (4, 1),
    "tilt up": (4, -1),
    "tilt forward": (4, -1),
    "rotate counterclockwise": (5, 1),
    "rotate clockwise": (5, -1),
}
"""Words -> column of `grid.COLUMNS` and sign."""

EXPECTED = (
    "expected 'move forward 3 cm', 'move left slightly', 'tilt back 10 degrees', 'rotate clockwise 20 degrees', "
    "'open gripper', 'close gripper' or 'set gripper to 0.3'"
)
_NUMBER = r"[+-]?(?:[0-9]{1,6}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})"
_FLAGS = re.IGNORECASE | re.ASCII
_WORDS = "|".join(AMOUNTS)
_WHERE = "|".join(DIRECTIONS)
_MOVE = re.compile(
    rf"(?P<verb>move\s+)?(?:(?P<first>{_WORDS})\s+)?(?P<where>{_WHERE})"
    rf"(?:\s+(?:by\s+)?(?:(?P<words>{_WORDS})|(?P<amount>{_NUMBER})\s*(?P<unit>[a-z]*)))?",
    _FLAGS,
)
_TURN = re.compile(
    rf"(?P<turn>{'|'.join(words.replace(' ', r'[ ]') for words in TURNS)})"
    rf"(?:\s+(?:by\s+)?(?:(?P<words>{_WORDS})|(?P<amount>{_NUMBER})\s*(?P<unit>[a-z°]*)))?",
    _FLAGS,
)
_GRIPPER = re.compile(
    rf"(?P<does>open|close)\s+(?:the\s+)?gripper|set\s+(?:the\s+)?gripper\s+to\s+(?P<to>{_NUMBER})", _FLAGS
)
_STILL = re.compile(r"stay|stay still|no movement|remain stationary|do not move", _FLAGS)
_SEPARATOR = re.compile(r"[,;\n]|\.(?![0-9])|\b(?:and|then)\b", _FLAGS)
_OPEN_ENDED = frozenset({",", ";", "and", "then"})
_SHOWN = 40


class LapReader:
    """Reads one sentence, clause by clause."""

    def __init__(self, cursor: TextCursor, gripper: float | None = None) -> None:
        """gripper: 0 (closed) .. 1 (open), for a sentence that does not mention it; None: it has to."""
        self._cursor = cursor
        self._motion = [0.0] * len(COLUMNS)
        self._kept = gripper
        self._said: float | None = None
        self._moving = False

    def read_row(self) -> list[float]:
        """dx, dy, dz [cm], roll, pitch, yaw [degrees], gripper [0..1]."""
        start, end = self._cursor.inside_fence()
        plain, at, found = self._cursor.plain, start, False
        unfinished: re.Match[str] | None = None
        for separator in _SEPARATOR.finditer(plain, start, end):
            if self._read_clause(at, separator.start()):
                found, unfinished = True, None
            if separator.group().lower() in _OPEN_ENDED:
                unfinished = separator
            at = separator.end()
        last = self._read_clause(at, end)
        if unfinished and not last:
            raise self._cursor.error(f"the text ends after {unfinished.group()!r}; {EXPECTED}.", unfinished.start())
        if not (found or last):
            raise self._cursor.error(f"there is no action; {EXPECTED}.", start)
        gripper = self._kept if self._said is None else self._said
        if gripper is None:
            why = "the sentence does not say what the gripper does; end it with 'open gripper' or 'close gripper'."
            raise self._cursor.error(why, max(end - 1, 0))
        for column, value in enumerate(self._motion):
            self._cursor.check_motion(column, value, row=1, at=start)
        return [*self._motion, gripper]

    def _read_clause(self, start: int, end: int) -> bool:
        """Read what is said between two separators; whether anything is."""
        plain = self._cursor.plain
        clause = plain[start:end].strip(" \t\r\"'*`")
        if not clause:
            return False
        start = plain.index(clause, start)
        end = start + len(clause)
        if move := _MOVE.fullmatch(plain, start, end):
            self._add_move(move)
        elif turn := _TURN.fullmatch(plain, start, end):
            self._add_turn(turn)
        elif gripper := _GRIPPER.fullmatch(plain, start, end):
            self._set_gripper(gripper)
        elif not _STILL.fullmatch(plain, start, end):
            shown = clause if len(clause) <= _SHOWN else clause[:_SHOWN] + "…"
            raise self._cursor.error(f"{EXPECTED}, found {shown!r}.", start)
        return True

    def _add_move(self, move: re.Match[str]) -> None:
        if not move["verb"] and not self._moving:
            raise self._cursor.error(f"{move['where']!r} without a verb; {EXPECTED}.", move.start())
        self._moving = True
        column, sign = DIRECTIONS[move["where"].lower()]
        words = move["first"] or move["words"]
        if move["first"] and (move["words"] or move["amount"]):
            raise self._cursor.error("two amounts for one move; expected one.", move.start())
        if not words and not move["amount"]:
            raise self._cursor.error(f"'{move.group()}' does not say how far; {EXPECTED}.", move.start())
        if move["amount"] and move["unit"].lower() not in UNITS["cm"]:
            given = f"is in {move['unit']!r}" if move["unit"] else "has no unit"
            why = f"the amount for '{move['where']}' {given}; expected cm."
            raise self._cursor.error(why, move.start("amount"))
        self._motion[column] += sign * (AMOUNTS[words.lower()] if words else float(move["amount"]))

    def _add_turn(self, turn: re.Match[str]) -> None:
        self._moving = False
        column, sign = TURNS[" ".join(turn["turn"].lower().split())]
        if not turn["amount"]:
            said = f"'{turn['words']}' stands for no angle in LAP" if turn["words"] else "it does not say how far"
            raise self._cursor.error(f"'{turn['turn']}': {said}; expected degrees.", turn.start())
        if turn["unit"].lower() not in UNITS["degrees"]:
            given = f"is in {turn['unit']!r}" if turn["unit"] else "has no unit"
            raise self._cursor.error(
                f"the amount for '{turn['turn']}' {given}; expected degrees.", turn.start("amount")
            )
        amount = float(turn["amount"])
        if amount < 0:
            raise self._cursor.error("an angle below zero; expected the opposite direction.", turn.start("amount"))
        self._motion[column] += sign * amount

    def _set_gripper(self, gripper: re.Match[str]) -> None:
        said = float(gripper["to"]) if gripper["to"] else float(gripper["does"].lower() == "open")
        if not 0 <= said <= 1:
            raise self._cursor.error(
                f"the gripper is set to {said:g}; expected 0 (closed) to 1 (open).", gripper.start()
            )
        if self._said not in (None, said):
            raise self._cursor.error("the sentence sets the gripper twice; expected once.", gripper.start())
        self._said = said
