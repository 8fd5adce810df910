"""How each direction is called: one table for the writer, the grammar and the reader of the format `prose`.

The words are where a swapped sign hides best: everything reads well and the arm goes the other way. The tests hold
every entry of this table against the geometry.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """How the two directions of a column are called."""

    verb: str
    plus: str
    minus: str


WORDS = (
    Words("move", "forward", "backward"),
    Words("move", "left", "right"),
    Words("move", "up", "down"),
    # A tilt is named after where the fingertips of a gripper that points down go: a positive turn about +x (forward)
    # takes -z to +y (left), one about +y (left) takes -z to -x (backward).
    Words("tilt", "left", "right"),
    Words("tilt", "backward", "forward"),
    Words("rotate", "counterclockwise", "clockwise"),  # seen from above
)
"""One for each of `grid.COLUMNS`. The verbs are the authors' own in a later work, lihzha/lap@3958d14."""

OPEN, CLOSE = "open gripper", "close gripper"
