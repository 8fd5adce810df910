"""Sets of words, written as text."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of `text`, divided by blanks.

    >>> sorted(words("on in"))
    ['in', 'on']
    """
    return frozenset(text.split())
