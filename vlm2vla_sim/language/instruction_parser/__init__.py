"""Reads instructions about things on a table: who is to be moved, how, and where to.

`parse` is the one reader of instructions. A small grammar with a lexicon: verbs in any tense, names with adjectives,
prepositions, parts of a place, several clauses, "it", typing errors; Spanish, Mandarin and Hindi for the words of
`translated`. What it cannot read is in `Parsed.unread`, with its place in the text; it never guesses a name.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from vlm2vla_sim.language.instruction_parser.clauses import ClauseReader
from vlm2vla_sim.language.instruction_parser.records import Clause, Parsed, Phrase, Place, Span, Unread
from vlm2vla_sim.language.instruction_parser.tokens import Words, tokens_of
from vlm2vla_sim.language.instruction_parser.translated import english_tokens

__all__ = ["LONGEST", "Clause", "Parsed", "Phrase", "Place", "Span", "Unread", "parse"]

LONGEST = 2000
"""The most characters of an instruction; the rest is not read."""


@lru_cache(4096)
def parse(text: str) -> Parsed:
    """Read `text`. It never raises; what is not understood is in `Parsed.unread`.

    >>> parsed = parse("Took the bananna out of the drawer and put it next to the red spoon")
    >>> [(one.verb, one.object.text, one.relation) for one in parsed.clauses]
    [('take', 'banana', ''), ('put', 'banana', 'next to')]
    >>> parsed.clauses[0].source.text, parsed.clauses[1].goal.text
    ('from drawer', 'next to red spoon')
    >>> parse("put the cup on the tray while humming").unread[0].text
    'while humming'
    """
    language, tokens, unread = english_tokens(text[:LONGEST]) or ("en", tokens_of(text[:LONGEST]), [])
    if len(text) > LONGEST:
        unread = [*unread, Unread(text[LONGEST:], (LONGEST, len(text)), "it is longer than what is read")]
    reader = ClauseReader(Words(tokens))
    if language == "en" or not unread:
        reader.read()
    own_words = (replace(part, text=text[slice(*part.span)]) for part in (*reader.unread, *unread))
    return Parsed(text, tuple(reader.clauses), tuple(own_words), language)
