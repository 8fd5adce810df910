"""Reads what a motion plan says: the directions in which the gripper is to move, and whether it is to open or close.

The counterpart of `plan_words`, for the plans of any model. Only English words that name a motion of the gripper are
read; everything else, other languages included, is unknown and says nothing.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

from vlm2vla_sim.language.words import WORDS

Direction = tuple[int, int]
"""Axis (0 forward, 1 left, 2 up) and sign, base frame."""

_NOT_A_MOTION = re.compile(
    r"\b(?:tilt|rotate|turn|roll|twist|spin|not|don't|never|without|instead of)\b.*?(?=[,;.]|\bthen\b|\band move\b|$)"
    r"|\b(?:pick|line|end)\b(?:\s+\w+){0,3}?\s+up\b"  # pick it up
    r"|\b(?:left|right)\s+(?:of|side|edge|corner|next|at|on|in)\b|(?<!and )\bright\s+(?:above|over)\b"  # right above it
    r"|\bto\s+(?:lift|raise|lower|grasp|grip|grab|pick|release|open|close|let)\b"  # down to grasp it
    r"|\b(?:on|at|from|in|is|are)\s+(?:the\s+|its\s+)?(?:left|right|back|up|down)\b"  # the one on the left
    r"|\b(?:the|its)\s+(?:left|right|back|lower)\b(?=\s+(?!and\b|then\b|while\b|until\b|by\b)\w)"  # the left block
    r"|\bclose(?:r)?\s+to\b"
)
_DIRECTIONS: tuple[tuple[re.Pattern[str], Direction], ...] = tuple(
    (re.compile(rf"\b(?:{words})\b"), (axis, sign))
    for axis, sign, words in (
        (0, 1, r"forwards?"),
        (0, -1, r"back(?:wards?)?"),
        (1, 1, r"left(?:wards?)?"),
        (1, -1, r"right(?:wards?)?"),
        (2, 1, r"up(?:wards?)?|lift(?:s|ing)?|raise|rais(?:es|ing)"),
        (2, -1, r"down(?:wards?)?|lower(?:s|ing)?|descend(?:s|ing)?"),
    )
)
_OPEN = r"open(?:s|ed|ing)?|release|releases|releasing|let(?:\s+\w+){0,2}?\s+go"
_CLOSE = r"close|closes|closed|closing|grasp(?:s|ing)?|grip(?:s|ping)?|grab(?:s|bing)?"
_GRIPPER = re.compile(rf"\b(?:(?P<open>{_OPEN})|(?:{_CLOSE}))\b")


@dataclass(frozen=True)
class SaidMotion:
    """What a plan says."""

    directions: tuple[Direction, ...]
    """In the order of the axes. An axis that is named both ways ("down, then up") is left out."""
    gripper: int | None
    """At the end of the motion: 1 open, 0 closed; None where the plan does not say."""
    both: tuple[int, ...] = field(default=(), repr=False)
    """The axes that are named both ways."""


@functools.lru_cache(maxsize=256)
def read_motion(plan: str) -> SaidMotion:
    """The motion that `plan` names.

    >>> read_motion("move left and forward above the carrot, with the gripper open")
    SaidMotion(directions=((0, 1), (1, 1)), gripper=1)
    >>> read_motion("stay where you are")
    SaidMotion(directions=(), gripper=None)
    """
    text = _NOT_A_MOTION.sub(" ", " ".join(plan.lower().split()))
    named = [direction for pattern, direction in _DIRECTIONS if pattern.search(text)]
    clear = tuple((axis, sign) for axis, sign in named if (axis, -sign) not in named)
    both = tuple(dict.fromkeys(axis for axis, sign in named if (axis, -sign) in named))
    mentions = [int(match["open"] is not None) for match in _GRIPPER.finditer(text)]
    return SaidMotion(clear, mentions[-1] if mentions else None, both)


def direction_name(direction: Direction) -> str:
    """The word for a direction, such as "forward"."""
    axis, sign = direction
    return WORDS[axis].plus if sign > 0 else WORDS[axis].minus
