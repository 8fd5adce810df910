"""Reads the texts and grammars of a chat request."""

from __future__ import annotations

import json
import re
from typing import Any

from vlm2vla_sim.language.formats.grammar import Grammar, escape
from vlm2vla_sim.serving.refusal import RefusalError

GRAMMARS = {
    "structured_outputs": "",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "response_format": "",
}
"""The fields that ask for a grammar; those with a kind are vLLM's names before 0.12 for `structured_outputs`."""

MAX_GRAMMAR = 50_000
"""Characters of a grammar; compiled, each takes up to a kilobyte."""

_CLASS = re.compile(r"\\.|\[\^?(\]?(?:\\.|[^\]\\])*)\]", re.DOTALL)
"""An escaped character, or a class of characters, whose content is the group."""
_SETS = re.compile(r"--|&&|~~|(?<!\\)\[")
"""Operators of sets in llguidance's dialect ("[a-c--b]"), and characters like others in Python's."""


def read_grammar(request: dict[str, Any]) -> Grammar | None:
    """The grammar that a request asks for, under any of its names; RefusalError for one that cannot be followed."""
    given = grammar_fields(request)
    if not given:
        return None
    if len(given) > 1:
        raise RefusalError(400, f"Only one grammar can be followed; {given[0]} is given as well.", given[1])
    (field,) = given
    value = request[field]
    if field == "response_format":
        said = f"Expected {{'type': 'text'}}, not {shown(value)}; send a regex or a grammar in structured_outputs."
        raise RefusalError(400, said, field)
    wanted = value if field == "structured_outputs" else {GRAMMARS[field]: value}
    wanted = {key: one for key, one in wanted.items() if one is not None} if isinstance(wanted, dict) else wanted
    if not isinstance(wanted, dict) or len(wanted) != 1:
        raise RefusalError(400, "Expected an object with one of: regex, grammar, choice.", field)
    ((kind, text),) = wanted.items()
    where = f"{field}.{kind}" if field == "structured_outputs" else field
    if isinstance(text, str | list) and len(text) > MAX_GRAMMAR:
        raise RefusalError(413, f"It is {len(text):,} long; at most {MAX_GRAMMAR:,} are accepted.", where)
    if kind == "choice" and isinstance(text, list) and text:
        return _from_regex("|".join(escape(read_text(one, where)) for one in text), where)
    if kind == "regex" and isinstance(text, str) and text:
        return _from_regex(read_text(text, where), where)
    if kind == "grammar" and isinstance(text, str) and text:
        return Grammar("", read_text(text, where))
    if kind in ("choice", "regex", "grammar"):
        wanted_type = "a list of texts" if kind == "choice" else "a text"
        raise RefusalError(400, f"Expected {wanted_type} that is not empty, not {shown(text)}.", where)
    raise RefusalError(400, f"{kind!r} is not supported; expected one of: regex, grammar, choice.", field)


def grammar_fields(request: dict[str, Any]) -> list[str]:
    """The fields of a request that ask for a grammar."""
    return [key for key in GRAMMARS if request.get(key) is not None and request[key] != {"type": "text"}]


def read_thinking(request: dict[str, Any], limit: int, *, always: bool) -> int:
    """The most tokens of reasoning that a request asks for, out of `limit`; 0 for none.

    They are `thinking_token_budget`, or half of `limit`. always: the model reasons before every answer.
    """
    variables = request.get("chat_template_kwargs")
    variables = {} if variables is None else variables
    if not isinstance(variables, dict):
        raise RefusalError(400, f"Expected an object, not {shown(variables)}.", "chat_template_kwargs")
    if unknown := sorted(set(variables) - {"enable_thinking"}):
        field = f"chat_template_kwargs.{unknown[0][:40]}"
        raise RefusalError(400, "This server knows no variable but enable_thinking.", field)
    on = variables.get("enable_thinking")
    if not isinstance(on, bool | None):
        raise RefusalError(400, f"Expected true or false, not {shown(on)}.", "chat_template_kwargs.enable_thinking")
    budget = request.get("thinking_token_budget")
    if not (always if on is None else on):
        if budget is not None:
            said = "The model does not think unless chat_template_kwargs has enable_thinking: true."
            raise RefusalError(400, said, "thinking_token_budget")
        return 0
    budget = limit // 2 if budget is None else budget
    if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget < limit:
        said = f"Expected a whole number from 1 to max_tokens - 1 ({limit - 1}), not {shown(budget)}."
        raise RefusalError(400, said, "thinking_token_budget")
    return budget


def _from_regex(regex: str, field: str) -> Grammar:
    """The grammar of `regex`, in the dialect that Python and llguidance share."""
    for found in _CLASS.finditer(regex):
        if found[1] and (sets := _SETS.search(found[1])):
            said = (
                f"The class {shown(found[0])} may mean a set of sets, which Python does not know; escape {sets[0]!r}."
            )
            raise RefusalError(400, said, field)
    try:
        re.compile(regex)
    except (re.error, OverflowError, RecursionError) as wrong:
        raise RefusalError(400, f"The regular expression cannot be read: {wrong}.", field) from wrong
    # A slash ends a Lark terminal unless it is escaped, and a line break is written \n.
    slashes = re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", regex, flags=re.DOTALL)
    return Grammar(regex, "start: /(" + slashes.replace("\\\n", r"\n").replace("\n", r"\n") + ")/")


def read_text(value: Any, field: str) -> str:
    """`value`, if it is a text that can be encoded; RefusalError with the name `field` for any other value."""
    if not isinstance(value, str):
        raise RefusalError(400, f"Expected a text, not {shown(value)}.", field)
    try:
        value.encode()
    except UnicodeEncodeError as broken:
        raise RefusalError(400, "The text holds half of a surrogate pair, which is no character.", field) from broken
    return value


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
