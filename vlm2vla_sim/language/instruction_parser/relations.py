"""Prepositions, the parts of a place, and the small words of a sentence."""

from __future__ import annotations

from vlm2vla_sim.language.instruction_parser.sets import words

RELATIONS = (
    *("on", "in", "under", "above", "next to", "left of", "right of", "behind", "in front of", "between", "at", "to"),
    *("toward", "against", "far from", "through", "around", "across", "with"),
)
"""Every value of `Place.relation`. "at": a part of a place, such as "left side of table". "to": a direction, or a thing
of which it is not said whether the object is to be on it, in it or beside it."""

_WORDS = {
    "on": "on|on to|onto|on top of|on the top of|upon|onto the top of|on top|to on|atop|top of|on surface of"
    "|on the surface of|to on top of",
    "in": "in|into|in to|inside|inside of|within|in side|in side of|to inside|to the inside of|to inside of"
    "|on the inside of",
    "under": "under|underneath|beneath|below|under neath|to under|to below|to underneath|underneath of",
    "above": "over|above|to above|over top of|over the top of",
    "next to": "next to|near|near to|beside|besides|close to|closer to|nearer to|by|adjacent to|alongside|to next to"
    "|nearby|by the side of|to near|to beside|close by|closest to|nearest to|nearest|to the vicinity of",
    "behind": "behind|in back of|to behind",
    "in front of": "in front of|to in front of",
    "between": "between|in between|to between|to in between",
    "to": "to|up to|down to|over to",
    "at": "at",
    "toward": "toward|towards|in the direction of",
    "far from": "far from|farther from|further from|farthest from|furthest from",
    "against": "against|up against",
    "through": "through",
    "across": "across",
    "around": "around",
    "with": "with|using",
    "from": "from|out of|off|off of|away from|out from|from out of|from off|from the top of|from the inside of",
}
BESIDES = frozenset({"next to", "left of", "right of", "behind", "in front of", "between", "under", "above", "against"})
"""Those that say that one thing is beside another."""
MOVING = frozenset(
    {"onto", "on to", "into", "in to", "to", "toward", "towards", "up to", "down to", "over to"}
) | frozenset(said for words_of in _WORDS.values() for said in words_of.split("|") if said.startswith("to "))
"""What is said of a motion only, never of where something lies."""
PREPOSITIONS: dict[tuple[str, ...], str] = {
    **{("from", *said.split()): "from" for words_of in _WORDS.values() for said in words_of.split("|")},
    **{tuple(said.split()): relation for relation, words_of in _WORDS.items() for said in words_of.split("|")},
}
"""The words of a preposition -> its relation, or "from"."""
LONGEST = max(map(len, PREPOSITIONS))

DIRECTIONS = words(
    "left right up down forward forwards backward backwards front back top bottom upwards downwards clockwise "
    "counterclockwise anticlockwise vertical horizontal upright sideways leftward rightward"
)
PARTS = words("side corner edge middle center centre end area part border quadrant region sides corners")
_WHERE = "upper lower far near rear most central outer inner mid very leftmost rightmost hand"
OTHERS = words("other another opposite")
WHERE = DIRECTIONS | PARTS | OTHERS | frozenset(_WHERE.split())
"""Words of which a part of a place is made: "far right front corner"."""
BESIDE = {
    "left": "left of",
    "right": "right of",
    "front": "in front of",
    "back": "behind",
    "rear": "behind",
    "top": "on",
}
"""The side of a thing -> the relation to it."""

DETERMINERS = words("the a an this that these those its your my his her their any some")
PRONOUNS = words("it them this that")
JOINTS = words("and then , ; . ! ? & afterwards after next finally first before also but ' ( )")
FILLERS = words(
    "please carefully slowly gently slightly directly just now again exactly diagonally completely away kindly "
    "robot  fully immediately quickly together somewhere over back down up out off upright closed open straight "
    "properly simply  further there here only bit twice once around halfway partly partially"
) | {"upside down"}
"""Words that say how; nothing is read from them."""
RELATIVES = words("which that who")
ARE = words("is are was were be been being lies lays sits stands located lying sitting standing placed laying")
NEGATIONS = words("not never don't dont doesn't cannot can't won't without avoid no nothing shouldn't mustn't")
UNITS = words("cm mm centimeters centimetres inches inch degrees degree times steps cms")
SUBJECTS = words(
    "robot arm robotic gripper end effector i you we he she it could can would will should must need want to "
    "please robotarm  human person kindly try make sure let us going are is do does"
)
"""What may stand before the verb."""
TAGS = (("cardboard", "fence"), ("cardboardfence",), ("distractors",), ("distractor",))
"""What BridgeData adds to an instruction to tell the scene, not the task."""
STOPS = words(
    "so while until if because when where such instead rather as like than whether unless since for during about "
    "how why  what without but except"
)
"""Words after which nothing is read."""
CONTRASTS = (("not",), ("instead", "of"), ("rather", "than"), ("and", "not"), ("but", "not"))
"""What follows names a thing or a place that is not meant."""
REMARKS = words("so while because as since for such until")
"""Those of `STOPS` after which nothing follows that changes what is asked for."""
