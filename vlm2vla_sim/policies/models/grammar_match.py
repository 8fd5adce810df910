"""Whether a text follows a grammar, in a time that grows with its length only.

Python's `re` may take exponential time ("(a?){28}a{28}"), with the interpreter locked. A grammar that a client sends is
therefore matched by llguidance, which also enforces it.
"""

from __future__ import annotations

import functools
from typing import Any

from vlm2vla_sim.errors import GrammarError, missing_extra
from vlm2vla_sim.language.formats.grammar import Grammar


class GrammarMatcher:
    """Matches texts with one grammar: its regular expression, or its Lark grammar where it has none."""

    def __init__(self, grammar: Grammar) -> None:
        """GrammarError for a grammar that llguidance refuses; MissingExtraError without it."""
        try:
            from llguidance import LLMatcher
        except ModuleNotFoundError as error:
            raise missing_extra("Constrained decoding", error.name or "llguidance", "vlm") from error
        source = (
            LLMatcher.grammar_from_regex(grammar.regex) if grammar.regex else LLMatcher.grammar_from_lark(grammar.lark)
        )
        self._fresh = LLMatcher(_byte_tokens(), source, log_level=0)
        if self._fresh.is_error():
            said = " ".join(self._fresh.get_error().split())
            raise GrammarError(f"llguidance refuses the grammar: {said[:300]}")

    def matches(self, text: str) -> bool:
        """Whether all of `text` is a text of the grammar; False where llguidance gives up, at a limit of its own."""
        matcher, sent = self._fresh.deep_copy(), list(text.encode())
        return matcher.try_consume_tokens(sent) == len(sent) and matcher.is_accepting()


@functools.cache
def _byte_tokens() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
