"""Divides an instruction into words, each with its place in the text."""

from __future__ import annotations

import re
from typing import NamedTuple

from vlm2vla_sim.language.instruction_parser import nouns, relations
from vlm2vla_sim.language.instruction_parser.records import Span
from vlm2vla_sim.language.instruction_parser.spelling import corrected

_FIRST = frozenset(said[0] for said in relations.PREPOSITIONS)
_PAST_THE_END = ("",) * (relations.LONGEST + 4)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[.,;!?&()]")


class Token(NamedTuple):
    """A word as it is read, in lower case, and where it stands."""

    word: str
    span: Span


def tokens_of(text: str) -> list[Token]:
    """The words and the punctuation of `text`, in lower case, typing errors corrected; without Bridge's own tags."""
    found: list[Token] = []
    for match in _WORD.finditer(text.replace("\u2019", "'")):
        word = corrected(match[0].lower())
        found += [Token(one, match.span()) for one in (word.split() if " " in word else (word,))]
    for tag in relations.TAGS:
        count = len(tag)
        if len(found) > count and tuple(token.word for token in found[-count:]) == tag:
            found = found[:-count]
    while len(found) > 2 and found[-1].word.isdigit() and found[-2].word not in ("digit", "number"):
        if len(found[-1].word) == 1 and found[-2].word not in relations.DIRECTIONS:
            break
        found.pop()  # "turn faucet left 56"
    return _paired(found)


def _paired(found: list[Token]) -> list[Token]:
    """`found` with names of two words ("cutting board") as one token."""
    joined: list[Token] = []
    for token in found:
        if joined and (joined[-1].word, token.word) in nouns.PAIRS:
            last = joined.pop()
            token = Token(f"{last.word} {token.word}", (last.span[0], token.span[1]))
        joined.append(token)
    return joined


class Words:
    """The words of an instruction, with questions about what stands at a place. Past the end stands ""."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self._words = [*(token.word for token in tokens), *_PAST_THE_END]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, at: int) -> str:
        return self._words[at]

    def span(self, start: int, stop: int) -> Span:
        """From the first character of the words from `start` to before `stop` to their last."""
        spans = [token.span for token in self.tokens[start : max(start + 1, stop)]]
        return min(one[0] for one in spans), max(one[1] for one in spans)

    def skip(self, at: int, words: frozenset[str]) -> int:
        """The first place from `at` on where none of `words` stands."""
        while self[at] in words:
            at += 1
        return at

    def preposition(self, at: int) -> tuple[str, str, int] | None:
        """(relation, as it is said, place after it) of the longest preposition at `at`."""
        if self._words[at] not in _FIRST:
            return None
        for count in range(relations.LONGEST, 0, -1):
            said = tuple(self._words[at : at + count])
            if said in relations.PREPOSITIONS and not (said[-1] == "top" and self[at + count] in relations.WHERE):
                return relations.PREPOSITIONS[said], " ".join(said), at + count
        return None

    def is_joint(self, at: int) -> bool:
        """Whether a clause may end at `at`."""
        return at >= len(self) or self[at] in relations.JOINTS
