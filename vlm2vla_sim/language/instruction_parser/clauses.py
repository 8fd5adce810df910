"""Reads the clauses of an instruction, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vlm2vla_sim.language.instruction_parser import nouns, phrases, relations, verbs
from vlm2vla_sim.language.instruction_parser.attach import Said, attach
from vlm2vla_sim.language.instruction_parser.records import Clause, Phrase, Place, Unread
from vlm2vla_sim.language.instruction_parser.tokens import Words

_BEFORE = relations.SUBJECTS | relations.FILLERS | relations.DETERMINERS | frozenset({"and", "'"})
_AFTER_VERB = frozenset("down up over away out off open together back apart".split())
_DIRECTION_SAYS_HOW = verbs.HOLD_VERBS | verbs.NEEDS_A_GOAL | {"drop"}
_ARM = frozenset({"gripper", "arm", "effector", "hand"})
"""What is moved without being an object."""


@dataclass
class ClauseReader:
    """Reads `words`; what it has read is in `clauses`, what it could not in `unread`."""

    words: Words
    clauses: list[Clause] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    _at: int = 0
    _things: list[Phrase] = field(default_factory=list)
    """What "it" may stand for, the last named last."""
    _door: Phrase | None = None
    """What was opened or closed last."""
    _says_how: bool = False
    """Whether a word such as "down" or "away" stands in the clause, which may be all that is said of the goal."""

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
            if words[at] not in _BEFORE | relations.NEGATIONS:
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
        follows = words[at + 1]
        is_particle = words[at] in _AFTER_VERB and not words.is_joint(at + 1) and words[at] not in ("top",)
        if is_particle and not (words.preposition(at) and lemma in verbs.OVER and follows in relations.DETERMINERS):
            if words[at] not in ("off", "out", "over") or not (found := words.preposition(at)) or found[2] == at + 1:
                at += 1
        return verb, at

    def _objects(self, verb: str) -> list[Phrase]:
        """The things that the verb is about, with "and" between them."""
        words = self.words
        self._at = words.skip(self._at, frozenset({"carefully", "slowly", "all", "of", "just"}))
        if found := phrases.pronoun(words, self._at):
            self._at = found[1]
            if verb in verbs.HOLD_VERBS or verb in ("flip", "turn"):
                self._at = words.skip(self._at, frozenset({"up", "over"}))
            return [self._meant(found[0], verb)]
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
        return [thing, *self._more_objects()]

    def _more_objects(self) -> list[Phrase]:
        """Those after "and": "the fork, the knife and the spoon"."""
        words, at = self.words, self._at
        things: list[Phrase] = []
        while words[at] in ("and", "&", ","):
            is_last = words[at] != "," or words[at + 1] in ("and", "&")
            start = words.skip(at, frozenset({"and", "&", ","}))
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
        said, further = self._places(verb)
        verb = verbs.PARTICLES.get((verb, words[self._at - 1]), verb)
        thing = things[0] if things else self._left_out(verb)
        found = attach(verb, thing, said, further)
        if found.object and found.object.head in _ARM:
            things, found.object = [], None
        problem = found.problem
        if not problem and verb in verbs.NEEDS_A_GOAL and not found.goal and not self._says_how:
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
            goal=self._resolved(found.goal, thing),
            source=found.source,
            tool=self._meant(found.tool, "") if found.tool and found.tool.pronoun else found.tool,
            further=tuple(found.further),
            negated=negated,
        )
        for number, other in enumerate(things or [None]):
            self._add(clause if number == 0 else replace(clause, object=other))
        self._gapped(clause)
        return True

    def _add(self, clause: Clause) -> None:
        self.clauses.append(clause)
        if clause.verb in verbs.DOOR_VERBS and clause.object:
            self._door = clause.object
        for phrase in (clause.object, clause.tool):
            if phrase and phrase.text:
                self._things.append(phrase)

    def _gapped(self, clause: Clause) -> None:
        """Read "and the strawberry in the pan" after "put the potato on the plate"."""
        words = self.words
        while clause.goal and clause.verb in verbs.GOAL_VERBS and words[self._at] in ("and", ","):
            start = words.skip(self._at, frozenset({"and", ","}))
            found = phrases.name(words, start) if words[start] not in verbs.FORMS else None
            if not found or not (words.preposition(found[1]) or phrases.part(words, found[1])):
                return
            self._at = found[1]
            said, further = self._places(clause.verb)
            attached = attach(clause.verb, found[0], said, further)
            if attached.problem or not attached.goal:
                self._at = start
                return
            span = words.span(start, self._at)
            self._add(Clause(clause.verb, span, attached.object, attached.goal, attached.source, negated=clause.negated))

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
        at = words.skip(found[1], relations.ARE - frozenset(verbs.FORMS))
        if words[at] not in verbs.FORMS or not words[at].endswith(("ed", "en", "t", "id")):
            return False
        verb, self._at = self._verb(verbs.FORMS[words[at]], at + 1)
        return self._finish(verb, start, [found[0]], negated=False)

    # What belongs to a clause.

    def _places(self, verb: str) -> tuple[list[Said], list[Place]]:
        """The phrases with a preposition from here on, and those after "and"."""
        words, said, further = self.words, [], []
        self._says_how = False
        describes = False
        while self._at < len(words):
            at = self._at
            joint = at
            if words[at] in ("and", ",") and said:
                joint = words.skip(at, frozenset({"and", ","}))
            if one := self._place(verb, joint, after=said):
                if joint > at and words[at] == "and":
                    further.append(one.place)
                else:
                    one.describes = describes
                    said.append(one)
                describes = False
            elif words[at] in relations.RELATIVES | relations.ARE and words[at] not in ("placed", "laid"):
                describes, self._at = True, at + 1
            elif words[at] in relations.ARE and words.preposition(at + 1):
                describes, self._at = True, at + 1
            elif words[at] in relations.FILLERS or words[at] in ("on", "over", "in") and words.is_joint(at + 1):
                self._says_how, self._at = True, at + 1
            elif (after := self._measure(at)) > at:
                self._at = after
            else:
                break
        return said, further

    def _measure(self, at: int) -> int:
        """The place after "5 cm", "90 degrees" or "a little" at `at`; `at` itself where there is no measure."""
        words = self.words
        if words[at] == "a" and words[at + 1] in ("bit", "little"):
            return at + 2
        return at + 2 if words[at].isdigit() and words[at + 1] in relations.UNITS else at

    def _place(self, verb: str, at: int, *, after: list[Said]) -> Said | None:
        """The phrase with a preposition at `at`; moves behind it."""
        words = self.words
        at = words.skip(at, frozenset({"directly", "just", "right", "all", "immediately"})) if self._is_close(at) else at
        found = words.preposition(at)
        relation, text, target = found or ("", "", at)
        if not found and (words[at] in _AFTER_VERB and (verb in _DIRECTION_SAYS_HOW or not words.is_joint(at + 1))):
            return None
        if not found and words[at] in ("upright", "open", "closed", "back"):
            return None
        if found and words[target] in verbs.FORMS and words[target] not in verbs.DESCRIBES | nouns.NOUNS:
            return None
        if one := phrases.part(words, target):
            self._at = one[1]
            span = words.span(at, self._at)
            if relation == "from":
                place = Place("from", phrases.place_of("at", "at", one[0], span).phrase)
            else:
                place = phrases.place_of(relation, text, one[0], span)
            return Said(place, text)
        if not found:
            return None
        if one := phrases.pronoun(words, target):
            self._at = one[1]
            return Said(Place(relation, one[0]), text)
        if not (one := phrases.name(words, target)):
            return self._bare_way(relation, text, target, at)
        phrase, self._at = one
        return Said(Place(relation, self._with_more(relation, phrase, after)), text)

    def _with_more(self, relation: str, phrase: Phrase, after: list[Said]) -> Phrase:
        """`phrase` with "and the yellow block", unless that begins another clause."""
        words = self.words
        if words[self._at] not in ("and", "&") or relation in ("from", "with"):
            return phrase
        other = phrases.name(words, self._at + 1) if words[self._at + 1] not in verbs.FORMS else None
        if not other or (relation != "between" and (words.preposition(other[1]) or phrases.part(words, other[1]))):
            return phrase
        self._at = other[1]
        return phrases.joined(phrase, other[0])

    def _bare_way(self, relation: str, text: str, target: int, at: int) -> Said | None:
        """ "from vertical", "from anywhere"."""
        words = self.words
        if relation in ("from", "to") and words[target] in ("anywhere", "nowhere", "half", *relations.DIRECTIONS):
            self._at = target + 1
            return Said(Place(relation, Phrase(words[target], words.span(at, target + 1), words[target])), text)
        return None

    def _is_close(self, at: int) -> bool:
        """Whether a word such as "directly" or "right" stands before a preposition: "right under the napkin"."""
        after = self.words.skip(at, frozenset({"directly", "just", "right", "all", "immediately"}))
        return after > at and (bool(self.words.preposition(after)) or self.words[after] in ("left", "right", "behind"))

    # What stands for something else.

    def _meant(self, phrase: Phrase, verb: str) -> Phrase:
        """What the pronoun `phrase` stands for as the object of `verb`."""
        if verb in verbs.DOOR_VERBS and self._door:
            return replace(self._door, span=phrase.span, pronoun=True)
        if not self._things:
            self.unread.append(Unread("it", phrase.span, "nothing that it stands for is named before it"))
            return phrase
        return replace(self._things[-1], span=phrase.span, at=None, pronoun=True)

    def _left_out(self, verb: str) -> Phrase | None:
        """What a verb without an object is about: "pick up the cup and put on the tray"."""
        if self._things and verb in verbs.GOAL_VERBS:
            return replace(self._things[-1], at=None, pronoun=True)
        return None

    def _resolved(self, goal: Place | None, thing: Phrase | None) -> Place | None:
        """`goal` with what "it" stands for there: the last thing that is not the object."""
        if not goal or not goal.phrase.pronoun or goal.phrase.text:
            return goal
        others = [one for one in self._things if not thing or one.text != thing.text]
        if self._door and goal.relation == "in":
            others = [self._door]
        if not others:
            self.unread.append(Unread("it", goal.phrase.span, "nothing that it stands for is named before it"))
            return None
        return Place(goal.relation, replace(others[-1], span=goal.phrase.span, pronoun=True))

    # What is not read.

    def _may_end(self) -> bool:
        words = self.words
        return words.is_joint(self._at) or words[self._at] in verbs.FORMS or (
            words[self._at] == "to" and words[self._at + 1] in verbs.FORMS
        )

    def _give_up(self, start: int, reason: str) -> None:
        """Leave the words from `start` to the next joint unread."""
        while not self.words.is_joint(self._at):
            self._at += 1
        span = self.words.span(start, self._at)
        last = self.clauses[-1] if self.clauses else None
        is_remark = bool(self.words[start] in relations.REMARKS and last and (last.goal or last.verb not in verbs.GOAL_VERBS))
        self.unread.append(Unread(self._said(start, self._at), span, reason, is_remark))

    def _said(self, start: int, stop: int) -> str:
        return " ".join(self.words[at] for at in range(start, stop))
