"""The format `choice`: one phrase of a closed list of motions, such as `move down 10 cm` or `close gripper`.

A model that chooses among phrases needs no numbers of its own. After CLIP-RT (arXiv 2411.00508), which compares an
image with each phrase of its list; the list here is this package's.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.errors import ActionError
from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS, Resolution, check_deltas
from vlm2vla_sim.language.formats.properties import FormatProperties, check_pose
from vlm2vla_sim.language.words import CLOSE, OPEN, WORDS
from vlm2vla_sim.types import ActionChunk

STAY = "stay"
AMOUNTS = {"cm": (1, 3, 10), "degrees": (5, 15, 45)}
"""In a phrase, by the unit of its column."""

_BLANKS = re.compile(r"\s+")
_QUOTES = "\"'`*.- \t\r\n"


def _phrases() -> dict[str, tuple[int, int]]:
    found = {}
    for column, (words, measure) in enumerate(zip(WORDS, COLUMNS, strict=True)):
        for direction, sign in ((words.plus, 1), (words.minus, -1)):
            for amount in AMOUNTS[measure.unit]:
                found[f"{words.verb} {direction} {amount} {measure.unit}"] = (column, sign * amount)
    return found


MOTIONS = _phrases()
"""Phrase -> column of `grid.COLUMNS` and amount in its unit."""
PHRASES = (*MOTIONS, OPEN, CLOSE, STAY)


@dataclass(frozen=True)
class ChoiceFormat:
    """`move down 10 cm`, one of `PHRASES`.

    >>> ChoiceFormat().read("2. Move down 10 cm.", pose=np.array([0.3, 0, 0.2, 0, 0, 0, 1])).deltas.round(2).tolist()
    [[0.0, 0.0, -0.10000000149011612, 0.0, 0.0, 0.0, 1.0]]
    """

    name = "choice"
    properties = FormatProperties(
        origin="after CLIP-RT, arXiv 2411.00508", gripper="kept", max_rows=1, recorded=False, own_prompt=True
    )
    resolution = Resolution(translation=0.01, rotation=5)

    @property
    def example(self) -> str:
        """A phrase."""
        return "move down 10 cm"

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt: the whole list."""
        return f"Choose what the gripper does next, one of these phrases: {', '.join(PHRASES)}."

    def write(self, deltas: np.ndarray, *, pose: np.ndarray | None = None) -> str:
        """See `ActionFormat.write`: one row, which has to be one of the phrases to within half a step.

        pose: (7,) as `properties.POSE_SIZE`, for what the gripper was last told.
        """
        (row,) = check_deltas(deltas, 1)
        told = check_pose(pose, self.name)[6] > 0.5
        moved = [
            round(float(value) / column.si / float(step)) * int(step)
            for value, column, step in zip(row[:6], COLUMNS, self.resolution.steps, strict=True)
        ]
        columns = [column for column, amount in enumerate(moved) if amount]
        changes = bool(row[6] > 0.5) != told
        if not columns:
            return (OPEN if row[6] > 0.5 else CLOSE) if changes else STAY
        if len(columns) == 1 and not changes:
            for phrase, motion in MOTIONS.items():
                if motion == (columns[0], moved[columns[0]]):
                    return phrase
        raise ActionError(f"No phrase of the format 'choice' is the motion {moved} (cm, degrees). Split it up.")

    def read(self, text: str, *, pose: np.ndarray | None = None) -> ActionChunk:
        """See `ActionFormat.read`: the phrase in any case, with quotes, a number or a full stop around it."""
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        told = float(check_pose(pose, self.name)[6] > 0.5)
        start, end = cursor.inside_fence()
        said = re.sub(r"^\s*[0-9]{1,2}[.)]\s", "", cursor.plain[start:end])
        said = _BLANKS.sub(" ", said.strip(_QUOTES)).lower()
        row = [0.0] * len(COLUMNS) + [told]
        if said in MOTIONS:
            column, amount = MOTIONS[said]
            row[column] = amount * COLUMNS[column].si
        elif said in (OPEN, CLOSE):
            row[6] = float(said == OPEN)
        elif said != STAY:
            shown = said if len(said) <= 40 else said[:40] + "…"
            raise cursor.error(f"{shown!r} is not one of the {len(PHRASES)} phrases; {cursor.expected}", start)
        return ActionChunk(np.array([row]), text)

    def is_self_delimiting(self, text: str) -> bool:
        """See `ActionFormat`: no phrase begins another."""
        return True

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return _grammar()

    def pieces(self, rows: np.ndarray, gripper: float) -> np.ndarray:
        """See `properties.in_pieces`: each row as phrases, the largest first, up before the rest and down after it."""
        found: list[list[float]] = []
        for row in np.asarray(rows, dtype=np.float64):
            first = len(found)
            order = sorted(range(len(COLUMNS)), key=lambda column: 1 if column != 2 else 0 if row[2] > 0 else 2)
            for column in order:
                found += _of_column(column, float(row[column]), gripper)
            if len(found) == first or float(row[6] > 0.5) != gripper:
                found.append([0.0] * len(COLUMNS) + [float(row[6] > 0.5)])
            gripper = float(row[6] > 0.5)
        return np.array(found)


def _of_column(column: int, value: float, gripper: float) -> list[list[float]]:
    """The motion `value` [m or rad] of one column as rows of the amounts that have a phrase."""
    amounts, si = AMOUNTS[COLUMNS[column].unit], COLUMNS[column].si
    left = round(abs(value) / si / amounts[0]) * amounts[0]
    found = []
    for amount in reversed(amounts):
        while left >= amount:
            row = [0.0] * len(COLUMNS) + [gripper]
            row[column] = np.sign(value) * amount * si
            found.append(row)
            left -= amount
    return found


@functools.cache
def _grammar() -> g.Grammar:
    return g.compile_grammar(g.Choice(tuple(g.Literal(phrase) for phrase in PHRASES)))
