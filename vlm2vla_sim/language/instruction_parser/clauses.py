"""Reads the clauses of an instruction, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vlm2vla_sim.language.instruction_parser import phrases, relations, verbs
from vlm2vla_sim.language.instruction_parser.attach import attach
from vlm2vla_sim.language.instruction_parser.places import HOW_AFTER_VERB, PlaceReader, after_contrast
from vlm2vla_sim.language.instruction_parser.records import Clause, Phrase, Unread
from vlm2vla_sim.language.instruction_parser.referents import Referents
from vlm2vla_sim.language.instruction_parser.tokens import Words

_BEFORE = relations.SUBJECTS | relations.FILLERS | relations.DETERMINERS | frozenset({"and", "'"})
_SKIPPED = _BEFORE | relations.NEGATIONS
_HOW = frozenset({"carefully", "slowly", "all", "of", "just"})
_UP = frozenset({"up", "over"})
_LIST = frozenset({"and", "&", ","})
_NEXT = _LIST | {"then"}
_ARE = relations.ARE - frozenset(verbs.FORMS)
_ARM = frozenset({"gripper", "arm", "effector", "hand"})
"""What is moved without being an object."""


@dataclass
class ClauseReader:
    """Reads `words`; what it has read is in `clauses`, what it could not in `unread`."""

    words: Words
    clauses: list[Clause] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    _at: int = 0
    _named: Referents = field(init=False)

    def __post_init__(self) -> None:
        self._named = Referents(self.unread)

    def read(self) -> None:
        """Read all of it."""
        while True:
            self._at = self.words.skip(self._at, relations.JOINTS)
            if self._at >= len(self.words):
                return
            start = self._at
            if (end := self.words.skip(start, _BEFORE)) > start and self.words.is_joint(end):
                self._at = end  # "robot," or "please"
            elif not self._clause():
                self._at = max(self._at, start + 1)
                self._give_up(start, "no verb that is known begins it")
            elif not self._may_end():
                self._give_up(self._at, "it does not belong to what stands before it")

    # Clauses.

    def _clause(self) -> bool:
        """Read the clause at `_at`; whether there is one."""
        words, start = self.words, self._at
        at, negated = start, False
        while words[at] not in verbs.FORMS:
            negated |= words[at] in relations.NEGATIONS
            if words[at] not in _SKIPPED:
                return self._passive()
            at += 1
        lemma = verbs.FORMS[words[at]]
        verb, at = self._verb(lemma, at + 1)
        if verb == "use":
            return self._use(start, at)
        self._at = at
        found = self._objects(verb)
        return self._finish(verb, start, found, negated=negated)

    def _verb(self, lemma: str, at: int) -> tuple[str, int]:
        """The verb with its particle, and the place after it."""
        words = self.words
        if (lemma, words[at]) in verbs.PARTICLES:
            return verbs.PARTICLES[lemma, words[at]], at + 1
        verb = verbs.PARTICLES.get((lemma, ""), lemma)
        if lemma == "reach" and words[at] in ("for", "to", "towards", "toward"):
            return verb, at + 1
        if words[at] not in HOW_AFTER_VERB or words.is_joint(at + 1):
            return verb, at
        found = words.preposition(at)
        is_over = bool(found) and lemma in verbs.OVER and words[at + 1] in relations.DETERMINERS
        if not is_over and (words[at] not in ("off", "out", "over") or not found or found[2] == at + 1):
            at += 1
        return verb, at

    def _objects(self, verb: str) -> list[Phrase]:
        """The things that the verb is about, with "and" between them."""
        words = self.words
        self._at = words.skip(self._at, _HOW)
        if found := phrases.pronoun(words, self._at):
            self._at = found[1]
            if verb in verbs.HOLD_VERBS or verb in ("flip", "turn"):
                self._at = words.skip(self._at, _UP)
            return [self._named.of_object(found[0], verb)]
        if words.preposition(self._at):
            return []
        if one := phrases.part(words, self._at):
            if not one[0].owner or not set(one[0].words) & relations.PARTS or verb in verbs.NEEDS_A_GOAL:
                return []
            span, self._at = words.span(self._at, one[1]), one[1]
            return [Phrase(f"{' '.join(one[0].words)} of {one[0].owner.text}", span, one[0].words[-1])]
        if not (found := phrases.name(words, self._at)):
            return []
        thing, self._at = found
        self._at = after_contrast(words, self._at)
        return [thing, *self._more_objects()]

    def _more_objects(self) -> list[Phrase]:
        """Those after "and": "the fork, the knife and the spoon"."""
        words, at = self.words, self._at
        things: list[Phrase] = []
        while words[at] in ("and", "&", ","):
            is_last = words[at] != "," or words[at + 1] in ("and", "&")
            start = words.skip(at, _LIST)
            if words[start] in verbs.FORMS or words.preposition(start) or phrases.part(words, start):
                break
            if not (found := phrases.name(words, start)):
                break
            things.append(found[0])
            at = found[1]
            if is_last:
                self._at = at
                return things
        return []

    def _finish(self, verb: str, start: int, things: list[Phrase], *, negated: bool) -> bool:
        """Read what follows the objects, and add a clause for each of them."""
        words = self.words
        places = self._places(verb)
        verb = verbs.PARTICLES.get((verb, words[self._at - 1]), verb)
        thing = things[0] if things else self._named.left_out(verb)
        found = attach(verb, thing, places.said, places.further)
        if found.object and found.object.head in _ARM:
            things, found.object = [], None
        problem = found.problem
        if not problem and verb in verbs.NEEDS_A_GOAL and not found.goal and not places.says_how:
            problem = "it does not say where to"
        if not problem and not found.object and not found.goal:
            problem = "it names nothing"
        if problem:
            self.unread.append(Unread(self._said(start, self._at), words.span(start, self._at), problem))
            return True
        thing = found.object if found.object and found.object.text else None
        clause = Clause(
            verb=verb,
            span=words.span(start, self._at),
            object=thing,
            goal=self._named.of_goal(found.goal, thing),
            source=found.source,
            tool=self._named.of_object(found.tool, "") if found.tool and found.tool.pronoun else found.tool,
            further=tuple(found.further),
            negated=negated,
        )
        for number, other in enumerate(things or [None]):
            self._add(clause if number == 0 else replace(clause, object=other))
        self._gapped(clause)
        return True

    def _add(self, clause: Clause) -> None:
        self.clauses.append(clause)
        self._named.add(clause)

    def _places(self, verb: str) -> PlaceReader:
        places = PlaceReader(self.words, verb, self._at)
        places.read()
        self._at = places.at
        return places

    def _gapped(self, clause: Clause) -> None:
        """Read "and the strawberry in the pan" after "put the potato on the plate"."""
        words = self.words
        while clause.goal and clause.verb in verbs.GOAL_VERBS and words[self._at] in _NEXT:
            start = words.skip(self._at, _NEXT)
            found = phrases.name(words, start) if words[start] not in verbs.FORMS else None
            if not found or not (words.preposition(found[1]) or phrases.part(words, found[1])):
                return
            self._at = found[1]
            places = self._places(clause.verb)
            attached = attach(clause.verb, found[0], places.said, places.further)
            if attached.problem or not attached.goal:
                self._at = start
                return
            span = words.span(start, self._at)
            self._add(
                Clause(clause.verb, span, attached.object, attached.goal, attached.source, negated=clause.negated)
            )

    def _use(self, start: int, at: int) -> bool:
        """Read "use the sponge to wipe the table"."""
        found = phrases.name(self.words, at)
        if not found or self.words[found[1]] != "to" or self.words[found[1] + 1] not in verbs.FORMS:
            return False
        self._at = found[1] + 1
        count = len(self.clauses)
        if not self._clause():
            return False
        span = self.words.span(start, self._at)
        self.clauses[count:] = [replace(one, tool=found[0], span=span) for one in self.clauses[count:]]
        return True

    def _passive(self) -> bool:
        """Read "the pot is moved to the stove"."""
        words, start = self.words, self._at
        found = phrases.name(words, start)
        if not found or words[found[1]] not in relations.ARE:
            return False
        at = words.skip(found[1], _ARE)
        if words[at] not in verbs.FORMS or not words[at].endswith(("ed", "en", "t", "id")):
            return False
        verb, self._at = self._verb(verbs.FORMS[words[at]], at + 1)
        return self._finish(verb, start, [found[0]], negated=False)

    # What is not read.

    def _may_end(self) -> bool:
        words = self.words
        return (
            words.is_joint(self._at)
            or words[self._at] in verbs.FORMS
            or (words[self._at] == "to" and words[self._at + 1] in verbs.FORMS)
        )

    def _give_up(self, start: int, reason: str) -> None:
        """Leave the words from `start` to the next joint unread."""
        while not self.words.is_joint(self._at):
            self._at += 1
        span = self.words.span(start, self._at)
        last = self.clauses[-1] if self.clauses else None
        is_remark = bool(
            self.words[start] in relations.REMARKS and last and (last.goal or last.verb not in verbs.GOAL_VERBS)
        )
        self.unread.append(Unread(self._said(start, self._at), span, reason, is_remark))

    def _said(self, start: int, stop: int) -> str:
        return " ".join(self.words[at] for at in range(start, stop))
