"""Parses the answers that are not actions: subtasks, plan, and the verifier's answer.

Models add numbers, bullets, quotes and explanations: an introduction such as "Sure, here is the list" must not become a
subtask. An answer that is not clear is an AnswerError, or `VerifierAnswer.UNCLEAR`, never a guess.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Sequence

from vlm2vla_sim.errors import AnswerError
from vlm2vla_sim.language.prompts import ADVANCE, MAX_SUBTASKS, RETRY

MAX_ANSWER = 10_000
"""The most characters of an answer."""
MAX_LINE = 300
"""The most characters of one subtask or plan."""

_FENCE = re.compile(r"```[A-Za-z0-9_+-]*")
_NUMBER = r"(?:(?:step|subtask)\s)?[0-9]{1,2}[.):]"
_NUMBERED = re.compile(rf"{_NUMBER}(?:\s+|$)(.*)", re.IGNORECASE)
_BULLETED = re.compile(r"[-*•](?:\s+|$)(.*)")
_NEXT_NUMBER = re.compile(rf"\s(?={_NUMBER}\s)", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")  # noqa: RUF001 - an apostrophe as models write it
_YES = frozenset({ADVANCE, "yes", "done"})
_NO = frozenset({RETRY, "no"})
_NEGATIONS = frozenset({"not", "no", "never", "cannot", "don't", "isn't", "can't", "doesn't"})


class VerifierAnswer(enum.StrEnum):
    """What the verifier said about a subtask."""

    ADVANCE = ADVANCE
    RETRY = RETRY
    UNCLEAR = "unclear"


def read_subtasks(text: str) -> tuple[str, ...]:
    r"""The subtasks listed in `text`: a JSON list of strings, or numbered, bulleted or plain lines.

    Lines that are not numbered are passed over where others are, and so is an introduction that ends with a colon.
    AnswerError for none, more than MAX_SUBTASKS, or one that is longer than MAX_LINE.

    >>> read_subtasks("Sure:\n1. Grasp the carrot.\n2) Move it over the plate")
    ('Grasp the carrot', 'Move it over the plate')
    """
    body = _body(text, "list of subtasks")
    subtasks = [subtask for line in _listed(body) if (subtask := _tidy(line))]
    if not subtasks:
        raise AnswerError(f"There is no subtask in {body[:80]!r}; expected a numbered list.")
    if len(subtasks) > MAX_SUBTASKS:
        raise AnswerError(f"The answer lists {len(subtasks)} subtasks; expected at most {MAX_SUBTASKS}.")
    for subtask in subtasks:
        if len(subtask) > MAX_LINE:
            raise AnswerError(
                f"A subtask has {len(subtask)} characters, at most {MAX_LINE} are read: {subtask[:80]!r}…"
            )
    return tuple(subtasks)


def write_subtasks(subtasks: Sequence[str]) -> str:
    r"""A list that `read_subtasks` parses as these subtasks: the answer a model is trained to give.

    >>> write_subtasks(["Grasp the carrot", "Move it over the plate"])
    '1. Grasp the carrot\n2. Move it over the plate'
    """
    return "\n".join(f"{number}. {' '.join(subtask.split())}" for number, subtask in enumerate(subtasks, 1))


def read_plan(text: str) -> str:
    r"""The motion plan in `text`, on one line. AnswerError when there is none, or more than MAX_LINE characters.

    >>> read_plan('Plan: "Move down and slightly forward,\nthen close the gripper."')
    'Move down and slightly forward, then close the gripper'
    """
    plan = _tidy(" ".join(_body(text, "motion plan").split()))
    plan = _tidy(re.sub(r"^(?:motion )?plan:", "", plan, flags=re.IGNORECASE))
    if not plan or len(plan) > MAX_LINE:
        raise AnswerError(f"The motion plan has {len(plan)} characters; expected one sentence of at most {MAX_LINE}.")
    return plan


def read_verifier_answer(text: str) -> VerifierAnswer:
    r"""What `text` says about the subtask: by its first word, a last line of one word, or the only answer in it.

    >>> read_verifier_answer("Retry. The carrot is still on the table.")
    <VerifierAnswer.RETRY: 'retry'>
    >>> read_verifier_answer("The carrot is held.\n**advance**")
    <VerifierAnswer.ADVANCE: 'advance'>
    >>> read_verifier_answer("I would not advance yet.")
    <VerifierAnswer.UNCLEAR: 'unclear'>
    """
    if len(text) > MAX_ANSWER:
        return VerifierAnswer.UNCLEAR
    lines = [words for line in text.lower().splitlines() if (words := _WORD.findall(line))]
    if not lines:
        return VerifierAnswer.UNCLEAR
    decisive = {_one_word(lines[0][0])}
    if len(lines[-1]) == 1:
        decisive.add(_one_word(lines[-1][0]))
    words = {word for line in lines for word in line}
    if not decisive - {VerifierAnswer.UNCLEAR} and not words & _NEGATIONS:
        decisive = {VerifierAnswer(word) for word in words & {ADVANCE, RETRY}}
    decisive -= {VerifierAnswer.UNCLEAR}
    return decisive.pop() if len(decisive) == 1 else VerifierAnswer.UNCLEAR


def _body(text: str, what: str) -> str:
    """`text` without code fences and emphasis. AnswerError if it is empty or too long."""
    if len(text) > MAX_ANSWER:
        raise AnswerError(f"The {what} has {len(text):,} characters; at most {MAX_ANSWER:,} are read.")
    parts = _FENCE.split(text)
    body = (parts[1] if len(parts) > 1 else text).replace("**", "").strip()
    if not body:
        raise AnswerError(f"The {what} is empty.")
    return body


def _listed(body: str) -> list[str]:
    """The items of the list in `body`: JSON, numbered, bulleted or plain lines."""
    if body.startswith("["):
        return _from_json(body)
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    if len(lines) == 1 and _NUMBERED.match(lines[0]):
        lines = _NEXT_NUMBER.split(lines[0])
    for mark in (_NUMBERED, _BULLETED):
        marked = [match.group(1) for line in lines if (match := mark.match(line))]
        if marked:
            return marked
    return [line for line in lines if not line.endswith(":")]


def _from_json(body: str) -> list[str]:
    try:
        items, _ = json.JSONDecoder().raw_decode(body)
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnswerError(f"The list of subtasks starts with '[' but is no JSON: {body[:80]!r} ({error}).") from error
    if not all(isinstance(item, str) for item in items):
        raise AnswerError(f"The list of subtasks holds something else than texts: {body[:80]!r}.")
    return [" ".join(item.split()) for item in items]


def _tidy(line: str) -> str:
    return line.strip().strip("\"'“”`").strip().rstrip(".;,").strip("\"'“”`").strip()


def _one_word(word: str) -> VerifierAnswer:
    if word in _YES:
        return VerifierAnswer.ADVANCE
    return VerifierAnswer.RETRY if word in _NO else VerifierAnswer.UNCLEAR
