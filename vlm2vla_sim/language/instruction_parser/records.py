"""What an instruction asks for: clauses, each with a verb, an object and a goal."""

from __future__ import annotations

from dataclasses import dataclass

Span = tuple[int, int]
"""First character and the one after the last, in the text that was parsed."""


@dataclass(frozen=True)
class Phrase:
    """A thing or a place, as it is named in English, without articles."""

    text: str
    """"red spoon", "left side of table"; typing errors are corrected. What "it" stands for, where `said` is "it"."""
    span: Span
    head: str = ""
    """"spoon"; of "piece of bread", "piece"."""
    at: Place | None = None
    """Where it lies, if the instruction says so: "the cup in the sink"."""
    pronoun: bool = False
    """Whether the instruction says "it", or leaves the name out."""


@dataclass(frozen=True)
class Place:
    """Where something is, or is to be."""

    relation: str
    """One of `relations.RELATIONS`."""
    phrase: Phrase

    @property
    def text(self) -> str:
        """As words: "next to red spoon"."""
        return f"{self.relation} {self.phrase.text}"


@dataclass(frozen=True)
class Clause:
    """One thing that is to be done."""

    verb: str
    """Without tense: "put", "pick up"; one of `verbs.VERBS`."""
    span: Span
    object: Phrase | None = None
    goal: Place | None = None
    """Where the object is to go."""
    source: Place | None = None
    """What it is taken from: "from" the drawer, or "next to" the bowl; the first part of "from left to right"."""
    tool: Phrase | None = None
    further: tuple[Place, ...] = ()
    """What else is said of the goal: "and to the right of the bowl"."""
    negated: bool = False
    """Whether it is what is not to be done."""

    @property
    def relation(self) -> str:
        """Of the object to its goal; "" without a goal."""
        return self.goal.relation if self.goal else ""


@dataclass(frozen=True)
class Unread:
    """A part of an instruction that is not understood."""

    text: str
    span: Span
    reason: str
    is_remark: bool = False
    """Whether it says why or how ("so that it touches the wall"), and changes nothing of what is asked for."""


@dataclass(frozen=True)
class Parsed:
    """An instruction, read."""

    text: str
    clauses: tuple[Clause, ...] = ()
    """In order; those that are negated among them."""
    unread: tuple[Unread, ...] = ()
    language: str = "en"
    """A code of `language.translations.LANGUAGES`."""

    @property
    def asked(self) -> tuple[Clause, ...]:
        """The clauses that are to be done."""
        return tuple(clause for clause in self.clauses if not clause.negated)

    @property
    def is_clear(self) -> bool:
        """Whether it asks for something, and what is not understood of it is a remark at most."""
        return bool(self.asked) and all(part.is_remark for part in self.unread)
