"""Reads the names of things, and of parts of a place."""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.language.instruction_parser import nouns, relations, verbs
from vlm2vla_sim.language.instruction_parser.records import Phrase, Place
from vlm2vla_sim.language.instruction_parser.tokens import Words

LONGEST = 6
"""The most words of a name; a longer run of words is a sentence, not a name."""
_POSSESSIVE = "'s"
_ENDS = relations.RELATIVES | relations.ARE | relations.NEGATIONS | relations.STOPS | relations.DETERMINERS
_NO_NOUNS = nouns.ADJECTIVES | relations.WHERE | verbs.DESCRIBES
_ASKS_FOR = relations.DETERMINERS | relations.PRONOUNS
_PLACED = relations.DIRECTIONS | relations.PARTS
_BOUNDARY = _ENDS | relations.JOINTS | relations.PRONOUNS | {""}


@dataclass(frozen=True)
class Part:
    """A part of a place: "front left corner", of a table or of nothing that is named."""

    words: tuple[str, ...]
    owner: Phrase | None
    several: bool
    """Whether the owner is two things: "the middle of the cup and the can"."""


def pronoun(words: Words, at: int) -> tuple[Phrase, int] | None:
    """The pronoun at `at`, and the place after it."""
    if words[at] in ("it", "them") or (words[at] in ("this", "that") and not _is_name(words, at + 1)):
        return Phrase("", words.span(at, at + 1), pronoun=True), at + 1
    return None


def name(words: Words, at: int) -> tuple[Phrase, int] | None:
    """The name of a thing at `at`, and the place after it; None where there is none."""
    start = at = words.skip(at, relations.DETERMINERS)
    taken: list[str] = []
    has_noun, head = False, ""
    while at < len(words) and not _ends(words, at, taken, has_noun=has_noun):
        word = words[at]
        taken.append(word)
        if word in ("of", "or", "and"):
            has_noun = False
            at = words.skip(at + 1, relations.DETERMINERS)
            continue
        if _is_noun(word):
            has_noun = True
            head = head if "of" in taken else word
        at += 1
    while taken and taken[-1] in ("of", "or", "and"):
        taken.pop()
        at -= 1
    if not taken or len(taken) > LONGEST or not (head or set(taken) & nouns.ADJECTIVES - relations.WHERE):
        return None
    return _phrase(words, taken, head or taken[-1], start, at), at


def _phrase(words: Words, taken: list[str], head: str, start: int, stop: int) -> Phrase:
    span = words.span(start, stop)
    if len(taken) > 1 and taken[-1] == "sink" and taken[-2] in nouns.CONTAINERS | {"plate"}:  # "bowl sink"
        return Phrase(" ".join(taken[:-1]), span, taken[-2], Place("in", Phrase("sink", span, "sink")))
    return Phrase(" ".join(taken), span, head)


def _is_noun(word: str) -> bool:
    return word in nouns.NOUNS or word not in _NO_NOUNS


def _is_name(words: Words, at: int) -> bool:
    word = words[at]
    return word not in _BOUNDARY and word not in verbs.FORMS and not words.preposition(at)


def _ends(words: Words, at: int, taken: list[str], *, has_noun: bool) -> bool:
    """Whether the name that begins with `taken` ends before `at`."""
    word = words[at]
    if word in ("of", "or"):
        return not taken
    if word == "and" and taken and not has_noun and taken[-1] in nouns.COLOURS and words[at + 1] in nouns.COLOURS:
        return words[at + 2] in _BOUNDARY  # "the green and yellow pepper"
    if word in _BOUNDARY or word.endswith(_POSSESSIVE) or words.preposition(at):
        return True
    if word in verbs.FORMS:
        asks = words[at + 1] in _ASKS_FOR
        if word in nouns.NOUNS or word in verbs.DESCRIBES or word in nouns.ADJECTIVES:
            return has_noun and (asks or word not in nouns.NOUNS)
        return True
    if has_noun:
        return (
            (word.isdigit() and words[at + 1] in relations.UNITS)
            or word in relations.WHERE
            or (word in relations.FILLERS and word not in nouns.NOUNS)
        )
    return word in ("up", "down", "away", "again")


def part(words: Words, at: int) -> tuple[Part, int] | None:
    """The part of a place at `at`, and the place after it; None where there is none."""
    said, base, at = _part_words(words, words.skip(at, relations.DETERMINERS))
    if not set(said) & _PLACED:
        return None
    if base:
        return Part(said, base, several=False), at
    if words[at] == "of":
        owner = name(words, at + 1)
        if not owner:
            return None
        phrase, after = owner
        several = False
        if set(said) & {"middle", "center", "between"} and words[after] == "and" and (other := name(words, after + 1)):
            phrase, after, several = joined(phrase, other[0]), other[1], True
        return Part(said, phrase, several), after
    if words[at] in nouns.BASES and len(said) > 1:
        return Part(said, Phrase(words[at], words.span(at, at + 1), words[at]), several=False), at + 1
    if _is_name(words, at) and words[at] not in relations.FILLERS:
        return None
    return Part(said, None, several=False), at


def _part_words(words: Words, at: int) -> tuple[tuple[str, ...], Phrase | None, int]:
    """The words of a part at `at`, the base among them ("right table edge"), and the place after them."""
    said: list[str] = []
    base = None
    while True:
        word, follows = words[at], words[at + 1]
        if word in nouns.BASES and follows in relations.PARTS and not base:
            base = Phrase(word, words.span(at, at + 1), word)
        elif word in relations.WHERE and (word != "near" or follows in relations.WHERE):
            if word != "very":
                said.append(word)
        elif word != "and" or not said or follows not in relations.DIRECTIONS:
            return tuple(said), base, at
        at += 1


def joined(one: Phrase, other: Phrase) -> Phrase:
    """Two things as one name: "red arch and yellow block"."""
    return Phrase(f"{one.text} and {other.text}", (one.span[0], other.span[1]), one.head, one.at or other.at)


def place_of(relation: str, said: str, found: Part, span: tuple[int, int]) -> Place:
    """Where `found` is, after a preposition of `relation` that is said as `said` ("" for none)."""
    words, owner = found.words, found.owner
    directions = [word for word in words if word in relations.DIRECTIONS]
    fixed = set(words) & (relations.PARTS | relations.OTHERS) - {"side", "sides"}
    text = " ".join(words)
    if owner is None:
        way = "to" if said in ("", "to") and not set(words) & relations.PARTS else "at"
        return Place("toward" if relation == "toward" else way, Phrase(text, span, words[-1]))
    whole = Phrase(f"{text} of {owner.text}", span, words[-1], owner.at)
    if found.several:
        return Place("between", owner)
    if relation in relations.BESIDES:
        return Place(relation, whole)
    is_part = (
        fixed
        or len([word for word in words if word not in ("side", "hand")]) > 1
        or (
            owner.head in nouns.PARTED
            and ("side" in words or owner.head in nouns.BASES or directions[:1] not in (["left"], ["right"]))
        )
    )
    if not is_part and directions and directions[0] in relations.BESIDE:
        return Place(relations.BESIDE[directions[0]], owner)
    if not is_part and not directions:
        return Place("next to", owner)
    return Place("toward" if relation == "toward" else "at", whole)
