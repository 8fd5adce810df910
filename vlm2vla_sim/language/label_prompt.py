"""The prompt for a model that labels recorded motion, and the parser of its answer.

A replication of the paper's labelling on CALVIN found that, with small images and numbers for a few steps only, the
model invents subtasks and their boundaries. So the prompt has the whole log and explains the axes, and an answer whose
phases leave a gap is asked for again instead of being corrected. What costs nothing to repair is repaired here: text
around the JSON, and amounts in a plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.errors import AnswerError
from vlm2vla_sim.language.prompts import MAX_SUBTASKS, axes

MOST_PHASES = 24
LONGEST = 300
"""The most characters of a subtask or a plan."""

_PROMPT = (
    "The {pictures} pictures show a robot arm doing a task, in order; they were taken at the steps {shown}.\n"
    "Its task: {instruction}\n"
    "{axes} One step takes {seconds:.3g} seconds. The log has a line for every step: its number; where the gripper is "
    "(x, y, z in cm); how it is turned (roll, pitch, yaw in degrees, 0 when it points down); how far it is open (0 "
    "closed, 1 open); and whether it is then told to be open (1) or closed (0).\n"
    "{log}\n"
    "Divide the whole of it into phases, from step 0 to step {last}, each a stretch with one purpose and direction of "
    "motion: every phase starts where the one before stops. A change of the gripper ends a phase. Take where a phase "
    "begins from the log, not from the pictures.\n"
    "Answer with a JSON list and nothing else. For every phase: start, its first step; stop, the first step after it; "
    "subtask, what it is part of, in a few words, the same words for all phases of a subtask, and at most {subtasks} "
    "different ones; plan, one sentence that says in which directions (forward, backward, left, right, up, down, tilt, "
    "rotate) the gripper moves and what it does (open or close), without numbers.\n"
    'Example: [{{"start": 0, "stop": 9, "subtask": "grasp the carrot", "plan": "move forward and left above the '
    'carrot, with the gripper open"}}, …]'
)

_AGAIN = "\n\nYour last answer could not be used: {why} Answer again, with the JSON list only."
_ANSWERED = "\n\nYou answered:\n{answer}"
QUOTED = 4000
"""The most characters of an answer that are sent back to be repaired."""
_UNIT = r"(?:cm|mm|m|cent[a-z]*|millimet[a-z]+|met[a-z]+|inch[a-z]*|deg[a-z]*)\b|°|%"
_AMOUNT = re.compile(
    rf"\s*,?\s*(?:\b(?:by|for|about|around|roughly|approximately|another)\s+)*[-+~≈]?\b\d+(?:[.,]\d+)?\s*-?(?:{_UNIT})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Span:
    """A phase of the motion, as the model gave it."""

    start: int
    stop: int
    subtask: str
    plan: str


def label_prompt(
    instruction: str,
    states: np.ndarray,
    told: np.ndarray,
    *,
    fps: float,
    shown: Sequence[int],
    why: str = "",
    answer: str = "",
) -> str:
    """The prompt about one trajectory.

    states: (T, 7) as `agent_pos`. told: (T,) the commanded opening. fps: [Hz]. shown: the steps of the images that go
    with it. why: what was wrong with the previous answer, when it is asked again. answer: that answer, to be repaired.
    """
    asked = _PROMPT.format(
        pictures=len(shown),
        shown=", ".join(map(str, shown)),
        instruction=" ".join(instruction.split()),
        axes=axes(),
        seconds=1 / fps,
        log=log(states, told),
        last=len(states),
        subtasks=MAX_SUBTASKS,
    )
    quoted = _ANSWERED.format(answer=answer[:QUOTED]) if answer else ""
    return asked + quoted + (_AGAIN.format(why=why) if why else "")


def log(states: np.ndarray, told: np.ndarray) -> str:
    """One line of numbers for every step.

    >>> print(log(np.array([[0.3, -0.05, 0.12, 0, 0, np.pi / 2, 1.0]]), np.array([0.0])))
    0: 30.0 -5.0 12.0 | 0 0 90 | 1.00 -> 0
    """
    lines = []
    for step, (state, opening) in enumerate(zip(states, told, strict=True)):
        place = " ".join(f"{100 * value + 0.0:.1f}" for value in state[:3])
        turn = " ".join(f"{round(float(np.degrees(value))):d}" for value in state[3:6])
        lines.append(f"{step}: {place} | {turn} | {state[6]:.2f} -> {int(opening > 0.5)}")
    return "\n".join(lines)


def read_spans(text: str, steps: int) -> tuple[Span, ...]:
    """Parses the phases in an answer about `steps` steps; AnswerError with the reason if they cannot be used."""
    items = _find_list(text)
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_PHASES:
        raise AnswerError(f"It lists {len(items)} phases; expected 1 to {MOST_PHASES}.")
    spans = tuple(_span(item, number) for number, item in enumerate(items, start=1))
    at = 0
    for number, span in enumerate(spans, start=1):
        if span.start != at or span.stop <= span.start:
            raise AnswerError(f"Phase {number} goes from {span.start} to {span.stop}; expected it to start at {at}.")
        at = span.stop
    if at != steps:
        raise AnswerError(f"The last phase stops at {at}; expected {steps}.")
    if len({span.subtask for span in spans}) > MAX_SUBTASKS:
        raise AnswerError(f"It has more than {MAX_SUBTASKS} different subtasks.")
    return spans


def _find_list(text: str) -> list[object]:
    """The last JSON list of objects in `text`, whatever stands before and after it: reasoning may quote an earlier one.

    AnswerError where there is none.
    """
    found: list[object] | None = None
    at = 0
    decoder, why = json.JSONDecoder(), ""
    while match := re.compile(r"\[\s*\{").search(text, at):
        at = match.start() + 1
        try:
            found, at = decoder.raw_decode(text, match.start())
        except (json.JSONDecodeError, RecursionError) as error:
            why = str(error)
    if found is not None:
        return found
    start, end = text.find("["), text.rfind("]")
    if start < 0 or (end < start and not why):
        raise AnswerError("There is no JSON list in it.")
    try:
        return json.loads(text[start : end + 1])
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnswerError(f"Its JSON list cannot be read: {why or error}.") from error


def without_amounts(plan: str) -> str:
    """`plan` without measured amounts, which are the action's to say; other numbers stay.

    >>> without_amounts("move down by 10 cm, then close 2 fingers around it")
    'move down, then close 2 fingers around it'
    """
    return " ".join(_AMOUNT.sub("", plan).split())


def _span(item: object, number: int) -> Span:
    if not isinstance(item, dict):
        raise AnswerError(f"Phase {number} is no JSON object.")
    whole = [item.get(key) for key in ("start", "stop")]
    if not all(type(value) is int for value in whole):
        raise AnswerError(f"Phase {number} has start {whole[0]!r} and stop {whole[1]!r}; expected whole numbers.")
    words = []
    for key in ("subtask", "plan"):
        line = " ".join(str(item.get(key) or "").split()).rstrip(".")
        if not line or len(line) > LONGEST:
            raise AnswerError(f"Phase {number} has a {key} of {len(line)} characters; expected 1 to {LONGEST}.")
        words.append(line)
    return Span(item["start"], item["stop"], words[0], without_amounts(words[1]) or words[1])
