"""How a grammar is sent to a chat server: the request fields of the servers that can decode under one.

A server that does not know a field may refuse it, or ignore it without a word. So a field counts only once an answer
has shown that it is honoured: `PROBE` asks for one of two texts that no model writes on its own.

Only fields that carry the grammar exactly are listed. `response_format` with a JSON schema is not one of them: it makes
the model write the text as a quoted JSON string, which is another text than the one it was trained to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats.grammar import (
    Choice,
    Grammar,
    Literal,
    Numerals,
    Repeat,
    Rule,
    Sequence,
    compile_grammar,
)
from vlm2vla_sim.policies.base import Question, Sampling

NONSENSE = ("zq7#xk4", "9wv&jj2")
"""What the probe asks for: no model answers its prompt with one of these unless it is made to."""
_ROW = Sequence((Literal(" ["), *(Rule("NUMBER", Numerals.of(range(-180, 181))), Literal(",")) * 7, Literal("]")))
PROBE = Question(
    "grammar probe",
    "Say hello.",
    grammar=compile_grammar(Sequence((Choice(tuple(map(Literal, NONSENSE))), Repeat(_ROW, 0, 31)))),
    sampling=Sampling(max_tokens=24),
)
"""The rows that may follow are there for their size, which is that of an action's grammar: some servers have limits."""

_COUNT = re.compile(r"\{\d+(,\d*)?\}")
_CLASS = re.compile(r"\[\^?[^\[\]\\^]+\]")


@dataclass(frozen=True)
class Way:
    """A way to send a grammar."""

    key: str
    """The request field, as it is written in results: "structured_outputs.regex"."""
    fields: Callable[[Grammar], dict[str, Any]]
    """The fields of the request for a grammar; SettingError where it cannot be written in this way."""


def _nested(key: str, inner: Callable[[Grammar], dict[str, Any]]) -> Callable[[Grammar], dict[str, Any]]:
    return lambda grammar: {key: inner(grammar)}


WAYS: dict[str, tuple[Way, ...]] = {
    "regex": (
        Way("structured_outputs.regex", _nested("structured_outputs", lambda g: {"regex": g.regex})),
        Way("guided_regex", lambda g: {"guided_regex": g.regex}),
        Way(
            "response_format.structural_tag",
            _nested(
                "response_format",
                lambda g: {"type": "structural_tag", "format": {"type": "regex", "pattern": g.regex}},
            ),
        ),
        Way("response_format.regex", _nested("response_format", lambda g: {"type": "regex", "value": g.regex})),
        Way("regex", lambda g: {"regex": g.regex}),
        Way("grammar.regex", _nested("grammar", lambda g: {"type": "regex", "value": g.regex})),
        Way("grammar", lambda g: {"grammar": gbnf(g.regex)}),
    ),
    "grammar": (
        Way("structured_outputs.grammar", _nested("structured_outputs", lambda g: {"grammar": g.lark})),
        Way("guided_grammar", lambda g: {"guided_grammar": g.lark}),
        Way("grammar.lark", _nested("grammar", lambda g: {"type": "lark", "value": g.lark})),
        Way("ebnf", lambda g: {"ebnf": gbnf(g.regex)}),
        Way("grammar", lambda g: {"grammar": gbnf(g.regex)}),
    ),
}
"""The values of the option `constraint` -> the ways that are tried, in this order.

structured_outputs: vLLM since 0.11, `vlm2vla serve-model`; guided_*: vLLM before 0.12; structural_tag: vLLM and SGLang
with xgrammar; response_format.regex: TGI; regex, ebnf: SGLang; grammar.*: mistral.rs; grammar: llama.cpp.
"""


def gbnf(regex: str) -> str:
    r"""The texts of `regex` as a grammar in GBNF, the notation of llama.cpp and xgrammar.

    `regex` keeps to the dialect of `Grammar.regex`, without escaped classes such as \d; SettingError for the rest.

    >>> print(gbnf(r"(go|stay) [0-9]{1,2}\.(ab){2}"))
    root ::= ( "go" | "stay" ) " " [0-9]{1,2} "." group1{2}
    group1 ::= "ab"
    """
    literals, written = "", list[str]()  # the literal characters that are not written yet
    rules, opened = list[str](), list[int]()

    def flush(kept: int = 0) -> str:
        """Write the literals, but for the last `kept` ones, which are returned."""
        nonlocal literals
        head, tail = literals[: len(literals) - kept], literals[len(literals) - kept :]
        written.extend([_quoted(head)] if head else [])
        literals = ""
        return tail

    position = closed = 0
    while position < len(regex):
        piece = _piece(regex, position)
        empty = not literals and (not written or written[-1] in ("(", "|"))
        if piece[0] in "?*+{":
            if empty:
                raise _not_gbnf(regex, position)
            if last := flush(kept=1):
                written.append(_quoted(last))
            elif written[-1] == ")" and piece[0] == "{":  # llama.cpp limits what is repeated, but not in another rule
                rules.append(f"group{len(rules) + 1} ::= {' '.join(written[closed + 1 : -1])}")
                written[closed:] = [f"group{len(rules)}"]
            written[-1] += piece
        elif piece[0] in "([|)":
            flush()
            written += ['""'] if empty and piece in ("|", ")") else []
            if piece == "(":
                opened.append(len(written))
            elif piece == ")":
                closed = opened.pop() if opened else len(written)
            written.append(piece)
        else:
            literals += piece[-1]
        position += len(piece)
    flush()
    written += ['""'] if not written or written[-1] == "|" else []
    return "\n".join(["root ::= " + " ".join(written), *rules])


def _piece(regex: str, position: int) -> str:
    """The piece of `regex` that begins at `position`: a character, an escaped one, a class, or a count."""
    first = regex[position]
    if first == "\\" and position + 1 < len(regex) and not regex[position + 1].isalnum():
        return regex[position : position + 2]
    for kind, pattern in (("{", _COUNT), ("[", _CLASS)):
        if first == kind and (found := pattern.match(regex, position)):
            return found[0]
    if first in "\\{[.^$" or regex.startswith("(?", position):
        raise _not_gbnf(regex, position)
    return first


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _not_gbnf(regex: str, position: int) -> SettingError:
    return SettingError(
        f"The regular expression cannot be written as a GBNF grammar: {regex[position : position + 8]!r} at character "
        f"{position} is not a literal, a class of characters, a group, | or a count."
    )
