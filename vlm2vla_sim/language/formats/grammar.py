"""Describes the texts of a format once, and compiles a regular expression and a Lark grammar from the description.

Chat servers take the one, llguidance in this process the other. Written by hand they would diverge, and the same model
would give different answers in both places.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Grammar:
    """The same set of texts as a regular expression and as a Lark grammar."""

    regex: str
    """Matches a whole text (no anchors: decoders imply them, and Python has `re.fullmatch`). It keeps to what Python,
    JSON Schema, Rust and xgrammar share: literals, classes of single characters, groups, `|`, `?` and `{m,n}`."""
    lark: str
    """In llguidance's syntax; the start rule is `start`."""


class Pattern(Protocol):
    """A part of a description."""

    def regex(self) -> str:
        """A regular expression that can be concatenated with another one."""
        ...

    def lark(self, rules: dict[str, str]) -> str:
        """A Lark expression; the rules it refers to are added to `rules`."""
        ...


def compile_grammar(start: Pattern) -> Grammar:
    r"""Both grammars of the texts that `start` describes.

    >>> number = Rule("NUMBER", Numerals.of(range(12)))
    >>> print(compile_grammar(Sequence((Literal("go "), number))).lark)
    start: "go " NUMBER
    NUMBER: /([02-9]|1([01])?)/
    """
    rules = {"start": ""}
    rules["start"] = start.lark(rules)
    return Grammar(regex=start.regex(), lark="\n".join(f"{name}: {body}" for name, body in rules.items()))


@dataclass(frozen=True)
class Literal:
    """Exactly `text`."""

    text: str

    def regex(self) -> str:
        """See `Pattern`."""
        return escape(self.text)

    def lark(self, rules: dict[str, str]) -> str:
        """See `Pattern`."""
        return json.dumps(self.text, ensure_ascii=False)


@dataclass(frozen=True)
class Numerals:
    """Exactly one of `texts`, which consist of digits, points and minus signs, with `digits` in place of 0 to 9."""

    texts: frozenset[str]
    digits: tuple[str, ...] = DIGITS

    @classmethod
    def of(cls, values: Iterable[object], digits: tuple[str, ...] = DIGITS) -> Numerals:
        """The numerals `str` makes of `values`."""
        return cls(frozenset(map(str, values)), digits)

    def regex(self) -> str:
        """See `Pattern`."""
        return _one_of(self.texts, self.digits)

    def lark(self, rules: dict[str, str]) -> str:
        """See `Pattern`."""
        return "/" + self.regex().replace("/", r"\/") + "/"


@dataclass(frozen=True)
class Sequence:
    """The `parts` in order."""

    parts: tuple[Pattern, ...]

    def regex(self) -> str:
        """See `Pattern`."""
        return "".join(part.regex() for part in self.parts)

    def lark(self, rules: dict[str, str]) -> str:
        """See `Pattern`."""
        return " ".join(part.lark(rules) for part in self.parts)


@dataclass(frozen=True)
class Choice:
    """One of `options`."""

    options: tuple[Pattern, ...]

    def regex(self) -> str:
        """See `Pattern`."""
        return "(" + "|".join(option.regex() for option in self.options) + ")"

    def lark(self, rules: dict[str, str]) -> str:
        """See `Pattern`."""
        return "(" + " | ".join(option.lark(rules) for option in self.options) + ")"


@dataclass(frozen=True)
class Repeat:
    """`item`, at least `low` and at most `high` times."""

    item: Pattern
    low: int
    high: int

    def regex(self) -> str:
        """See `Pattern`."""
        return f"({self.item.regex()})" + ("?" if (self.low, self.high) == (0, 1) else f"{{{self.low},{self.high}}}")

    def lark(self, rules: dict[str, str]) -> str:
        """See `Pattern`."""
        item = self.item.lark(rules)
        return f"({item})" + ("?" if (self.low, self.high) == (0, 1) else f"~{self.low}..{self.high}")


@dataclass(frozen=True)
class Rule:
    """`body` under a name in the Lark grammar; upper case for a terminal."""

    name: str
    body: Pattern

    def regex(self) -> str:
        """See `Pattern`."""
        return self.body.regex()

    def lark(self, rules: dict[str, str]) -> str:
        """See `Pattern`."""
        if self.name not in rules:
            rules[self.name] = ""  # keeps a rule before those it refers to
            rules[self.name] = self.body.lark(rules)
        return self.name


def optional(item: Pattern) -> Repeat:
    """`item`, or nothing."""
    return Repeat(item, 0, 1)


def rows_of(row: Pattern, separator: str, rows: int) -> Sequence:
    """Between one and `rows` times `row`, with `separator` between them."""
    return Sequence((row, Repeat(Sequence((Literal(separator), row)), 0, rows - 1)))


def escape(text: str) -> str:
    """`text` as a regular expression that every dialect reads alike (`re.escape` also escapes blanks and hyphens)."""
    return "".join("\\" + character if character in r"\.^$*+?()[]{}|" else character for character in text)


def _one_of(texts: frozenset[str], digits: tuple[str, ...]) -> str:
    """A regular expression for exactly `texts`: their prefix tree, with equal branches merged."""
    branches: dict[str, set[str]] = defaultdict(set)
    for text in texts - {""}:
        branches[text[0]].add(text[1:])
    heads: dict[frozenset[str], list[str]] = defaultdict(list)
    for head in sorted(branches):
        heads[frozenset(branches[head])].append(head)
    options = [_one_character(same, digits) + _one_of(tails, digits) for tails, same in heads.items()]
    if "" in texts:
        return f"({'|'.join(options)})?" if options else ""
    return options[0] if len(options) == 1 else f"({'|'.join(options)})"


def _one_character(characters: list[str], digits: tuple[str, ...]) -> str:
    """One of `characters` (sorted); consecutive digits become a range."""
    if digits != DIGITS or len(characters) == 1 or not all(c in DIGITS for c in characters):
        written = [escape(digits[int(c)] if c in DIGITS else c) for c in characters]
        return written[0] if len(written) == 1 else f"({'|'.join(written)})"
    runs: list[str] = []
    for character in characters:
        if runs and int(character) == int(runs[-1][-1]) + 1:
            runs[-1] += character
        else:
            runs.append(character)
    return "[" + "".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else run for run in runs) + "]"
