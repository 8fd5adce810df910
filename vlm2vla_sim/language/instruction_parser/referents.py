"""What "it" stands for, and what a verb without an object is about."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vlm2vla_sim.language.instruction_parser import verbs
from vlm2vla_sim.language.instruction_parser.records import Clause, Phrase, Place, Unread


@dataclass
class Referents:
    """What the clauses so far have named."""

    unread: list[Unread]
    """Where a pronoun goes that stands for nothing."""
    _things: list[Phrase] = field(default_factory=list)
    """The last named last."""
    _door: Phrase | None = None
    """What was opened or closed last."""

    def add(self, clause: Clause) -> None:
        """Remember what `clause` names."""
        if clause.verb in verbs.DOOR_VERBS and clause.object:
            self._door = clause.object
        self._things += [phrase for phrase in (clause.object, clause.tool) if phrase and phrase.text]

    def of_object(self, phrase: Phrase, verb: str) -> Phrase:
        """What the pronoun `phrase` stands for as the object of `verb`."""
        if verb in verbs.DOOR_VERBS and self._door:
            return replace(self._door, span=phrase.span, pronoun=True)
        if not self._things:
            self._nothing(phrase)
            return phrase
        return replace(self._things[-1], span=phrase.span, at=None, pronoun=True)

    def left_out(self, verb: str) -> Phrase | None:
        """What a verb without an object is about: "pick up the cup and put on the tray"."""
        if self._things and verb in verbs.GOAL_VERBS:
            return replace(self._things[-1], at=None, pronoun=True)
        return None

    def of_goal(self, goal: Place | None, thing: Phrase | None) -> Place | None:
        """`goal` with what "it" stands for there: the last thing that is not the object."""
        if not goal or not goal.phrase.pronoun or goal.phrase.text:
            return goal
        others = [one for one in self._things if not thing or one.text != thing.text]
        if self._door and goal.relation == "in":
            others = [self._door]
        if not others:
            self._nothing(goal.phrase)
            return None
        return Place(goal.relation, replace(others[-1], span=goal.phrase.span, pronoun=True))

    def _nothing(self, phrase: Phrase) -> None:
        self.unread.append(Unread("it", phrase.span, "nothing that it stands for is named before it"))
