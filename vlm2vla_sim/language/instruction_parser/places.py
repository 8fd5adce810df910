"""Reads what follows the object of a clause: phrases with a preposition, directions, and words that say how."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlm2vla_sim.language.instruction_parser import phrases, relations, verbs
from vlm2vla_sim.language.instruction_parser.attach import Said
from vlm2vla_sim.language.instruction_parser.records import Phrase, Place
from vlm2vla_sim.language.instruction_parser.sets import words
from vlm2vla_sim.language.instruction_parser.tokens import Words

HOW_AFTER_VERB = words("down up over away out off open together back apart")
_DIRECTION_SAYS_HOW = verbs.HOLD_VERBS | verbs.NEEDS_A_GOAL | {"drop"}
_CLOSE = frozenset({"directly", "just", "right", "all", "immediately"})
_RELATES = relations.RELATIVES | relations.ARE
_HOW = HOW_AFTER_VERB | {"upright", "closed"}
_OPENS, _SHUTS = frozenset({",", "("}), frozenset({",", ")"})
_AND = frozenset({"and", ","})


@dataclass
class PlaceReader:
    """Reads from `at` on; moves `at` behind what it has read."""

    words: Words
    verb: str
    at: int
    said: list[Said] = field(default_factory=list)
    further: list[Place] = field(default_factory=list)
    """Those after "and"."""
    says_how: bool = False
    """Whether a word such as "down" or "away" stands here, which may be all that is said of the goal."""

    def read(self) -> None:
        """Read as far as it goes."""
        words, describes = self.words, False
        while self.at < len(words):
            at = self.at
            if (after := _after_measure(words, at)) > at:
                self.at = after
                continue
            joint = words.skip(at, _AND) if words[at] in _AND and self.said else at
            if one := self._place(joint):
                if joint > at and words[at] == "and":
                    self.further.append(one.place)
                else:
                    one.describes = describes
                    self.said.append(one)
                describes = False
            elif words[at] in _RELATES and (words[at] not in ("placed", "laid") or words.preposition(at + 1)):
                describes, self.at = True, at + 1
            elif words[at] in relations.FILLERS or (words[at] in ("on", "over", "in") and words.is_joint(at + 1)):
                self.says_how, self.at = True, at + 1
            elif (after := after_contrast(words, at)) > at:
                self.at = after
            else:
                return

    def _place(self, at: int) -> Said | None:
        """The phrase with a preposition at `at`."""
        words = self.words
        at = words.skip(at, _CLOSE) if _is_close(words, at) else at
        found = words.preposition(at)
        relation, text, target = found or ("", "", at)
        if not found and words[at] in _HOW:
            how = self.verb in _DIRECTION_SAYS_HOW or not words.is_joint(at + 1)
            if how or words[at] in ("upright", "open", "closed", "back"):
                return None
        if found and words[target] in verbs.FORMS and words[target] not in verbs.DESCRIBES:
            return None
        if one := phrases.part(words, target):
            self.at = one[1]
            is_source = relation == "from"
            place = phrases.place_of("at" if is_source else relation, text, one[0], words.span(at, self.at))
            return Said(Place("from", place.phrase) if is_source else place, text)
        if not found:
            return None
        if one := phrases.pronoun(words, target):
            self.at = one[1]
            return Said(Place(relation, one[0]), text)
        if not (one := phrases.name(words, target)):
            return self._bare_way(relation, text, target, at)
        phrase, self.at = one
        return Said(Place(relation, self._with_more(relation, phrase)), text)

    def _with_more(self, relation: str, phrase: Phrase) -> Phrase:
        """`phrase` with "and the yellow block", unless that begins another clause."""
        words = self.words
        if words[self.at] not in ("and", "&") or words[self.at + 1] in verbs.FORMS or relation in ("from", "with"):
            return phrase
        other = phrases.name(words, self.at + 1)
        if not other or (relation != "between" and (words.preposition(other[1]) or phrases.part(words, other[1]))):
            return phrase
        self.at = other[1]
        return phrases.joined(phrase, other[0])

    def _bare_way(self, relation: str, text: str, target: int, at: int) -> Said | None:
        """A direction without an article, as in "from vertical"."""
        words = self.words
        if relation not in ("from", "to") or words[target] not in ("anywhere", "nowhere", *relations.DIRECTIONS):
            return None
        self.at = target + 1
        return Said(Place(relation, Phrase(words[target], words.span(at, target + 1), words[target])), text)


def after_contrast(words: Words, at: int) -> int:
    """The place after "(not the spoon)" or "instead of the towel" at `at`; `at` itself where there is none."""
    start = words.skip(at, _OPENS)
    said = next((one for one in relations.CONTRASTS if all(words[start + n] == word for n, word in enumerate(one))), ())
    start += len(said)
    found = words.preposition(start)
    target = found[2] if found else start
    if not said or words[start] in verbs.FORMS:
        return at
    if not (one := phrases.pronoun(words, target) or phrases.name(words, target)):
        return at
    return words.skip(one[1], _SHUTS)


def _after_measure(words: Words, at: int) -> int:
    """The place after "5 cm", "a little" or "at an angle" at `at`; `at` itself where there is no measure."""
    if words[at] == "a" and words[at + 1] in ("bit", "little"):
        return at + 2
    if words[at] in ("on", "at") and words[at + 1] == "an" and words[at + 2] == "angle":
        return at + 3
    return at + 2 if words[at].isdigit() and words[at + 1] in relations.UNITS else at


def _is_close(words: Words, at: int) -> bool:
    """Whether a word such as "directly" or "right" stands before a preposition: "right under the napkin"."""
    after = words.skip(at, _CLOSE)
    return after > at and (bool(words.preposition(after)) or words[after] in ("left", "right"))
