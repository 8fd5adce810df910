"""Reads the answer of a zero-shot model: the action, the words beside it, or that the task is done.

Hosted models add introductions, headings, emphasis, code fences and good wishes, and some answer in JSON. Two different
actions in one answer are refused: which of them is meant cannot be known.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass

from vlm2vla_sim.errors import AnswerError
from vlm2vla_sim.language.zero_shot import DONE

MAX_ANSWER = 40_000
"""The most characters of an answer."""
BRACES = 20
"""Places at which a JSON object is looked for."""
NAMES = ("scene", "subtask", "plan", "action")
_HEADING = re.compile(
    rf"^[ \t>#*_\-\d.)]*\b({'|'.join(NAMES)})\b[ \t*_`]*(?:\s\d+)?(?::[ \t*_]*|$)", re.IGNORECASE | re.MULTILINE
)
_FENCE = re.compile(r"^[ \t]*```[A-Za-z0-9_+-]*[ \t]*$", re.MULTILINE)
_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_DONE = re.compile(rf"[\W_]*{DONE}[\W_]*", re.IGNORECASE)


@dataclass(frozen=True)
class ZeroShotAnswer:
    """What a zero-shot model answered."""

    action: str
    """The text of the action; empty when the task is done."""
    subtask: str = ""
    plan: str = ""
    done: bool = False
    """Whether the model says that nothing is left to do."""


def read_zero_shot_answer(text: str) -> ZeroShotAnswer:
    r"""The parts of an answer; an answer without headings is all action.

    AnswerError for an empty or endless answer, and for two different actions.

    >>> read_zero_shot_answer("Sure!\n**Plan:** move down\n**Action:**\n```\n[[0, 0, -3, 1]]\n```\nGood luck!")
    ZeroShotAnswer(action='[[0, 0, -3, 1]]', subtask='', plan='move down', done=False)
    """
    if len(text) > MAX_ANSWER:
        raise AnswerError(f"The answer has {len(text)} characters; expected at most {MAX_ANSWER}.")
    body = _THOUGHT.sub("", text, count=1).strip()
    if not body:
        raise AnswerError("The answer is empty; expected a line that begins with 'Action:'.")
    parts = _in_json(body) or _under_headings(body)
    actions = list(dict.fromkeys(parts["action"]))
    if len(actions) > 1:
        raise AnswerError(f"There are {len(actions)} different actions in the answer; expected one line 'Action: ...'.")
    if not actions:
        raise AnswerError("The answer has no line that begins with 'Action:'.")
    words = {name: " ".join(parts[name][-1].split()) if parts[name] else "" for name in ("subtask", "plan")}
    done = bool(_DONE.fullmatch(actions[0]))
    return ZeroShotAnswer("" if done else actions[0], **words, done=done)


def _under_headings(body: str) -> dict[str, list[str]]:
    body = _FENCE.sub("", body)
    found = list(_HEADING.finditer(body))
    parts: dict[str, list[str]] = {name: [] for name in NAMES}
    if not found:
        return {**parts, "action": [body.strip().strip("`").strip()]}
    ends = [*(heading.start() for heading in found[1:]), len(body)]
    for heading, end in zip(found, ends, strict=True):
        name = heading.group(1).lower()
        # What follows after a blank line is not part of it: "I hope that this helps."
        said = body[heading.end() : end].strip().split("\n\n")[0].strip().strip("`").strip()
        if said:
            parts[name].append(said.strip("*_ ") if name != "action" else said)
    return parts


def _in_json(body: str) -> dict[str, list[str]] | None:
    """The parts in the first JSON object that has a key "action"; None without one."""
    decoder = json.JSONDecoder()
    for start in [found.start() for found in itertools.islice(re.finditer(r"\{", body), BRACES)]:
        try:
            value, _ = decoder.raw_decode(body, start)
        except (ValueError, RecursionError):
            continue
        keys = {str(key).lower(): said for key, said in value.items()}
        if "action" in keys:
            return {name: [_plain(keys[name])] if keys.get(name) is not None else [] for name in NAMES}
    return None


def _plain(value: object) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)
