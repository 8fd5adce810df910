"""Corrects typing errors, only where one known word is near."""

from __future__ import annotations

from functools import cache, lru_cache

from vlm2vla_sim.language.instruction_parser import nouns, relations, verbs

SHORTEST = 5
"""Letters of a word that is compared with the known ones."""
LONG = 8
"""Letters of a word in which two errors are corrected, if it begins and ends as a known name does."""
_USUAL = {
    "teh": "the", "hte": "the", "th": "the", "tehe": "the", "thee": "the", "adn": "and", "nad": "and", "ot": "to",
    "fo": "of", "nxt": "next", "tothe": "to the", "onthe": "on the", "inthe": "in the", "ofthe": "of the",
    "infront": "in front", "inbetween": "in between", "ontop": "on top", "centre": "center", "grey": "gray",
    "upto": "up to", "lft": "left", "rigth": "right", "lef": "left", "pu": "put", "mvoe": "move", "mve": "move",
    "plce": "place", "pickup": "pick up", "pich": "pick", "tkae": "take", "frm": "from", "fron": "front",
    "botton": "bottom", "wth": "with", "wiht": "with", "abd": "and", "anf": "and", "amd": "and", "ans": "and",
    "yhe": "the", "rhe": "the", "tge": "the", "bellow": "below", "widow": "window", "whit": "with",
}  # fmt: skip
"""What people type for short words, and words that they run together."""


_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@cache
def known() -> frozenset[str]:
    """Every word that is read as something."""
    small = {word for said in relations.PREPOSITIONS for word in said}
    sets = (nouns.NOUNS, nouns.ADJECTIVES, verbs.FORMS, relations.WHERE, relations.FILLERS, relations.JOINTS, small)
    more = (
        relations.SUBJECTS,
        relations.STOPS,
        relations.NEGATIONS,
        relations.DETERMINERS,
        relations.ARE,
        relations.PRONOUNS,
    )
    pairs = {word for pair in nouns.PAIRS for word in pair}
    return frozenset({"of", "or", "side", *pairs, *relations.RELATIVES}.union(*sets, *more))


def is_known(word: str) -> bool:
    """Whether `word`, or what it is the plural of, is known."""
    words = known()
    if word in words or (word.endswith("s") and word[:-1] in words):
        return True
    return (word.endswith("es") and word[:-2] in words) or (word.endswith("ies") and f"{word[:-3]}y" in words)


@lru_cache(20_000)
def corrected(word: str) -> str:
    """`word`, or the one known word (or two run together) that it is a typing error of.

    >>> corrected("brocolli"), corrected("spatual"), corrected("stuffedpig"), corrected("nxt"), corrected("blorf")
    ('broccoli', 'spatula', 'stuffed pig', 'next', 'blorf')
    """
    if word in _USUAL:
        return _USUAL[word]
    if is_known(word) or len(word) < SHORTEST or not word.isalpha() or len(word) > 20:
        return word
    near = {found for key in _shortened(word) for found in _index().get(key, ())}
    found = {one for one in near if one[0] == word[0] and _distance(word, one, 1) == 1 and _slipped(word, one)}
    if not found and len(word) >= LONG:
        found = {
            one
            for one in near & nouns.NOUNS
            if one[:: len(one) - 1] == word[:: len(word) - 1] and _distance(word, one, 2) == 2
        }
    if len(found) > 1:
        found &= nouns.NOUNS  # what is wrong in a verb is more often wrong in a name
        return found.pop() if len(found) == 1 else word
    return found.pop() if found else _divided(word)


def _slipped(word: str, meant: str) -> bool:
    """Whether one typing error makes `word` of `meant`.

    It is a letter left out, added or swapped with the next, a vowel for another, or the next key. Another letter in its
    place makes another word: "blank" is no "black".
    """
    if len(word) != len(meant):
        return True
    changed = [(one, other) for one, other in zip(word, meant, strict=True) if one != other]
    if len(changed) != 1:
        return True
    ((one, other),) = changed
    return {one, other} <= set("aeiouy") or any(one + other in row or other + one in row for row in _ROWS)


def _divided(word: str) -> str:
    cuts = [at for at in range(3, len(word) - 2) if word[:at] in known() and word[at:] in nouns.NOUNS]
    return f"{word[: cuts[0]]} {word[cuts[0] :]}" if len(cuts) == 1 else word


def _shortened(word: str) -> set[str]:
    """`word` and what remains of it without one or two letters."""
    once = {word[:at] + word[at + 1 :] for at in range(len(word))}
    if len(word) < SHORTEST + 1:
        return {word, *once}
    return {word, *once, *(one[:at] + one[at + 1 :] for one in once for at in range(len(one)))}


@cache
def _index() -> dict[str, tuple[str, ...]]:
    """What remains of each known word without one or two letters -> the words."""
    index: dict[str, list[str]] = {}
    for word in sorted(known()):
        if len(word) >= SHORTEST - 1:
            for key in _shortened(word):
                index.setdefault(key, []).append(word)
    return {key: tuple(words) for key, words in index.items()}


def _distance(one: str, other: str, most: int) -> int:
    """Letters to insert, delete, replace or swap with their neighbour; `most` + 1 where there are more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        last, before, row = before, row, [i]
        for j, wanted in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                best = min(best, last[j - 2] + 1)
            row.append(best)
        if min(row) > most:
            return most + 1
    return row[-1]
