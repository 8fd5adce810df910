"""Decides what a phrase with a preposition belongs to: the object, the goal, or the source.

"Put the apple on the towel in the box" can be read in two ways. Where neither the words nor the things tell which is
meant, nothing is decided, and the clause is not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vlm2vla_sim.language.instruction_parser import nouns, relations, verbs
from vlm2vla_sim.language.instruction_parser.records import Phrase, Place

_BESIDE = relations.BESIDES


@dataclass
class Said:
    """A phrase with its preposition, as it stands in the sentence."""

    place: Place
    said: str
    """The preposition's words."""
    describes: bool = False
    """Whether it says which thing is meant: "the cup that is in the sink"."""

    @property
    def moves(self) -> bool:
        """Whether the preposition is said of motions only."""
        return self.said in relations.MOVING


@dataclass
class Attached:
    """What belongs to what."""

    object: Phrase | None
    goal: Place | None = None
    source: Place | None = None
    tool: Phrase | None = None
    further: list[Place] = field(default_factory=list)
    problem: str = ""


def attach(verb: str, thing: Phrase | None, said: list[Said], further: list[Place]) -> Attached:
    """Attaches the phrases `said` of a clause with `verb` about `thing`. further: goals after "and"."""
    found = Attached(thing, further=further)
    rest: list[Said] = []
    for one in said:
        if one.place.relation == "from" and verb == "hang":
            one.place = Place("on", one.place.phrase)
        if one.said == "away from" and verb in verbs.GOAL_VERBS:
            one.place = Place("far from", one.place.phrase)
        if one.place.relation == "from" and found.source:
            found.problem = "it has two places that something is taken from"
            return found
        if one.place.relation == "from":
            found.source = Place(_left(one.said), one.place.phrase)
        elif one.place.relation == "with" and not rest and found.object and verb not in verbs.TOOL_VERBS:
            found.object = _at(found.object, one.place)
        elif one.place.relation == "with" and rest and verb not in verbs.TOOL_VERBS and rest[-1].place.relation != "to":
            _describe(found, rest, one.place)
        elif one.place.relation == "with" and not one.describes:
            found.tool = one.place.phrase
        elif one.describes and (rest or found.source or found.object):
            _describe(found, rest, one.place)
        else:
            rest.append(one)
    if len(rest) > 1 and not rest[0].said and rest[1].said == "to" and not found.source:
        found.source = Place("from", rest.pop(0).place.phrase)  # "turn the lever vertical to front"
    rest = _nested(rest)
    if not rest:
        return found
    if verb in verbs.GOAL_VERBS or not found.object:
        return _to_a_goal(found, rest)
    return _held(verb, found, rest)


def _describe(found: Attached, rest: list[Said], place: Place) -> None:
    """Attach `place` to what was named last."""
    if rest:
        rest[-1].place = _in(rest[-1].place, place)
    elif found.source:
        found.source = _in(found.source, place)
    elif found.object:
        found.object = _at(found.object, place)


def _left(said: str) -> str:
    """The relation to what something is taken from: of "from under" "under", else "from"."""
    relation = relations.PREPOSITIONS.get(tuple(said.split()[1:]), "from")
    return relation if relation in relations.BESIDES else "from"


def _in(place: Place, where: Place) -> Place:
    return Place(place.relation, _at(place.phrase, where))


def _at(phrase: Phrase, place: Place) -> Phrase:
    if phrase.at:
        return replace(phrase, at=Place(phrase.at.relation, _at(phrase.at.phrase, place)))
    return replace(phrase, at=place)


def _nested(rest: list[Said]) -> list[Said]:
    """`rest` with "in the pot, on the stove" as one place."""
    rest = list(rest)
    while len(rest) > 1 and _is_furniture(rest[-1]) and not _is_furniture(rest[-2]) and not rest[-1].moves:
        last = rest.pop()
        rest[-1].place = _in(rest[-1].place, last.place)
    return rest


def _is_furniture(one: Said) -> bool:
    phrase = one.place.phrase
    return one.place.relation == "at" or phrase.head in nouns.FURNITURE


def _to_a_goal(found: Attached, rest: list[Said]) -> Attached:
    """Where the verb asks for a goal: the last of `rest` is it, or the first and the others say more of it."""
    if len(rest) == 1:
        found.goal = rest[0].place
        return found
    first, *others = rest
    if len(others) > 1:
        found.problem = "it has more places than one can be sure of"
        return found
    last = others[0]
    if not first.moves and found.object and found.object.pronoun and not found.source:  # where "it" lies is not said
        sure = last.moves or last.place.relation in _BESIDE
        found.problem = "" if sure else f"it is not clear what {last.place.text} belongs to"
        found.goal = _in(first.place, last.place)
        return found
    if first.moves and not last.moves:
        found.goal = _in(first.place, last.place)
    elif first.moves:
        found.goal, found.further = first.place, [last.place, *found.further]
    elif last.moves and found.source:
        found.source, found.goal = _in(found.source, first.place), last.place
    elif last.moves or _stands_before(first, last):
        found.object = _at(found.object, first.place) if found.object else None
        found.goal = last.place
    elif last.place.relation in _BESIDE:
        found.goal = _in(first.place, last.place)
    else:
        found.problem = (
            f"it is not clear whether {last.place.text} is where it goes or where {first.place.phrase.text} is"
        )
    return found


def _stands_before(first: Said, last: Said) -> bool:
    """Whether `first` says where the object is, and `last`, which follows, where it goes."""
    if last.place.relation in _BESIDE:
        return False
    return _is_furniture(first) or first.place.relation in _BESIDE


def _held(verb: str, found: Attached, rest: list[Said]) -> Attached:
    """Where the verb asks for no goal: a place is where the object lies, unless it is said of a motion."""
    for one in rest:
        goes = one.moves or (one.place.relation == "to" and verb not in verbs.HOLD_VERBS)
        goes = goes or (verb in ("fold", "unfold") and (one.place.phrase.head == "half" or one.said == "over"))
        if goes and found.goal is None:
            found.goal = one.place
        elif found.goal:
            found.goal = _in(found.goal, one.place)
        elif found.source:
            found.source = _in(found.source, one.place)
        elif found.object:
            found.object = _at(found.object, one.place)
    return found
