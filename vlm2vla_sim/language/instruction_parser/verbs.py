"""The verbs of tabletop instructions in every tense, and what follows each."""

from __future__ import annotations

from vlm2vla_sim.language.instruction_parser.sets import words

_PUTS = """
put place move set drop slide push pull bring transfer stack keep leave lay pour sweep insert hang throw drag shift
return position relocate roll carry toss dump gather collect rest deliver tilt guide nudge spread scoop pack stash
deposit
"""
_HOLDS = """
take pick grasp grab lift get hold raise remove fetch extract retrieve catch unstack reach touch grip
"""
_CHANGES = """
open close shut turn flip twist fold unfold rotate wipe clean wash press zip unzip topple upright tip cover uncover
switch stir shake brush dry unroll straighten invert arrange sort swap cut hit knock spin release point use scrub
unplug plug pinch squeeze flatten poke tap stretch crumple align adjust shove draw swipe rub dust empty unscrew screw
"""
LEMMAS = f"{_PUTS} {_HOLDS} {_CHANGES}".split()

GOAL_VERBS = words(_PUTS)
"""A place that follows is where the object is to go."""
HOLD_VERBS = frozenset({"pick up", "put down", *words(_HOLDS)})
"""A place that follows is where the object lies, unless it is "to", "into" or "onto"."""
TOOL_VERBS = frozenset(
    {"wipe", "clean", "sweep", "cover", "push", "stir", "brush", "wash", "dry", "scrub", "hit", "scoop"}
)
"""What follows "with" is a tool."""
DOOR_VERBS = frozenset({"open", "close", "shut"})
OVER = frozenset({"move", "slide", "push", "pull"})
"""After which "over" is a preposition: "move over the cup", but "turn over the cup"."""
NEEDS_A_GOAL = frozenset({"put", "place", "set", "lay"})

_IRREGULAR = {
    "put": "puts putting", "set": "sets setting", "take": "takes took taken taking", "get": "gets got gotten getting",
    "slide": "slides slid sliding", "keep": "keeps kept keeping", "leave": "leaves leaving",
    "lay": "lays laid laying", "bring": "brings brought bringing", "throw": "throws threw thrown throwing",
    "hang": "hangs hung hanging hanged", "sweep": "sweeps swept sweeping", "hold": "holds held holding",
    "catch": "catches caught catching", "shut": "shuts shutting", "cut": "cuts cutting", "hit": "hits hitting",
    "shake": "shakes shook shaken shaking", "spread": "spreads spreading",
    "draw": "draws drew drawn drawing",
    "empty": "empties emptied emptying", "spin": "spins spun spinning",
    "upright": "uprights uprighted uprighting", "swap": "swaps swapped swapping",
}  # fmt: skip
_DOUBLED = words("drop drag flip tip zip unzip grab unplug plug tap grip stir transfer scrub")
_NOUNS = words(
    "empty dust brush dry clean roll stack cover press cut point turn use rest place set return dump shift lift tap"
)
"""Words that are nouns or adjectives as well: "the brush", "the dry cloth"."""


def _forms(lemma: str) -> list[str]:
    if lemma in _IRREGULAR:
        return [lemma, *_IRREGULAR[lemma].split()]
    if lemma in _DOUBLED:
        return [lemma, f"{lemma}s", f"{lemma}{lemma[-1]}ed", f"{lemma}{lemma[-1]}ing"]
    if lemma.endswith("e"):
        return [lemma, f"{lemma}s", f"{lemma}d", f"{lemma[:-1]}ing"]
    if lemma.endswith("y") and lemma[-2] not in "aeo":
        return [lemma, f"{lemma[:-1]}ies", f"{lemma[:-1]}ied", f"{lemma}ing"]
    ending = "es" if lemma.endswith(("s", "sh", "ch", "ss", "x")) else "s"
    return [lemma, f"{lemma}{ending}", f"{lemma}ed", f"{lemma}ing"]


FORMS: dict[str, str] = {form: lemma for lemma in LEMMAS for form in _forms(lemma)}
"""Form -> lemma."""
DESCRIBES = frozenset(form for form in FORMS if form.endswith(("ed", "ing", "en")) or form in _NOUNS or form == "open")
"""Forms that may describe a thing: "the folded cloth", "the open drawer"."""
PARTICLES = {
    ("pick", "up"): "pick up", ("pick", ""): "pick up", ("turn", "on"): "turn on", ("turn", "off"): "turn off",
    ("switch", "on"): "turn on", ("switch", "off"): "turn off", ("knock", "over"): "knock over",
    ("pick", "out"): "pick up",
}  # fmt: skip
"""(lemma, particle) -> verb."""
VERBS = frozenset({*LEMMAS, *PARTICLES.values()} - {"pick"})
"""Every value of `Clause.verb`."""
