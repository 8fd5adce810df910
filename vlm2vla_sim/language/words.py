"""The names of directions: one table for writer, grammar and parser of the format `prose`, and for plans.

A swapped sign here would move the arm the other way while all text looks right. The tests compare every entry with the
geometry.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The names of the two directions of a column."""

    verb: str
    plus: str
    minus: str


WORDS = (
    Words("move", "forward", "backward"),
    Words("move", "left", "right"),
    Words("move", "up", "down"),
    # A tilt is named after the motion of the fingertips of a gripper that points down: a positive rotation about +x
    # (forward) takes -z to +y (left), one about +y (left) takes -z to -x (backward).
    Words("tilt", "left", "right"),
    Words("tilt", "backward", "forward"),
    Words("rotate", "counterclockwise", "clockwise"),  # seen from above
)
"""One for each of `grid.COLUMNS`. The verbs are those of a later work of the paper's authors, lihzha/lap@3958d14."""

OPEN, CLOSE = "open gripper", "close gripper"
