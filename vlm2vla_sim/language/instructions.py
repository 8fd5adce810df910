"""Parses an instruction: the object, its goal, and the two subtasks that follow.

Rule-based labels and demonstrations both take the names of objects from here, so that they describe the same subtask in
the same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ARTICLE = r"(?:(?:the|a|an)\s+)?"
_PUT = re.compile(
    rf"(?:please\s+)?(?:put|place|move|stack|set|drop|transfer|pick\s+up|take|bring)\s+{_ARTICLE}(?P<object>.+?)"
    rf"(?:\s+and\s+(?:put|place|move|stack|set|drop)\s+it)?"
    rf"\s+(?P<place>on\s+top\s+of|on\s+to|onto|on|inside\s+of|inside|into|in\s+to|in|to|over)\s+{_ARTICLE}(?P<goal>.+)",
    re.IGNORECASE,
)
_TAKE = re.compile(
    rf"(?:please\s+)?(?:pick\s+up|pick|grasp|grab|lift|take|get|move|push|pull)\s+{_ARTICLE}(?P<object>.+?)"
    rf"(?:\s+(?:from|off|out\s+of|up|and|to)\b.*)?",
    re.IGNORECASE,
)
_INTO = frozenset({"in", "into", "in to", "inside", "inside of"})
_LONGEST = 60
"""The most characters of a name; a longer match is a sentence, not a name."""


@dataclass(frozen=True)
class ParsedInstruction:
    """What an instruction asks for. A name that it does not contain is empty."""

    instruction: str
    object_name: str = ""
    """Without an article: "carrot"."""
    goal: str = ""
    preposition: str = "on"
    """"on" or "into"."""

    @property
    def object_phrase(self) -> str:
        """The object as plans name it.

        >>> parse_instruction("put carrot on plate").object_phrase, parse_instruction("sweep").object_phrase
        ('the carrot', 'the object')
        """
        return f"the {self.object_name or 'object'}"

    @property
    def grasp(self) -> str:
        """The subtask that ends when the gripper has closed."""
        return f"grasp {self.object_phrase}"

    @property
    def put(self) -> str:
        """The subtask that ends when the gripper has opened again."""
        if not self.goal:
            return f"move {self.object_phrase} and let it go"
        return f"put {self.object_phrase} {self.preposition} the {self.goal}"


def parse_instruction(instruction: str, english: str = "") -> ParsedInstruction:
    """Parses `instruction`; what does not match one of the usual forms stays empty.

    english: the same instruction in English, where it is known. It is parsed instead if `instruction`, which may be in
    another language, does not name an object and a goal.

    >>> parsed = parse_instruction("Put the eggplant into yellow basket.")
    >>> parsed.grasp, parsed.put
    ('grasp the eggplant', 'put the eggplant into the yellow basket')
    >>> parse_instruction("stack the green block on the yellow block").goal
    'yellow block'
    >>> parse_instruction("wipe the table").object_name
    ''
    >>> parse_instruction("pon la zanahoria en el plato", "put carrot on plate").grasp
    'grasp the carrot'
    """
    parsed = _parse(instruction)
    if english and not (parsed.object_name and parsed.goal):
        translated = _parse(english)
        return translated if translated.object_name else parsed
    return parsed


def _parse(instruction: str) -> ParsedInstruction:
    words = " ".join(instruction.split()).rstrip(" .!")
    if found := _PUT.fullmatch(words):
        object_name, goal = found["object"].strip(), found["goal"].strip()
        if max(len(object_name), len(goal)) <= _LONGEST:
            place = " ".join(found["place"].lower().split())
            return ParsedInstruction(instruction, object_name, goal, "into" if place in _INTO else "on")
    if (found := _TAKE.fullmatch(words)) and len(found["object"]) <= _LONGEST:
        return ParsedInstruction(instruction, found["object"].strip())
    return ParsedInstruction(instruction)
