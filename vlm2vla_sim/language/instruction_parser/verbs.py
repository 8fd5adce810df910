"""The verbs of tabletop instructions in every tense, and what follows each."""

from __future__ import annotations

PUTS = "put place move set drop slide push pull bring transfer stack keep leave lay pour sweep insert hang throw drag"
PUTS += " shift return position relocate roll carry toss dump gather collect rest deliver tilt guide nudge spread scoop pack stash deposit"
HOLDS = "take pick grasp grab lift get hold raise remove fetch extract retrieve catch unstack reach touch grip"
CHANGES = "open close shut turn flip twist fold unfold rotate wipe clean wash press zip unzip topple upright tip cover"
CHANGES += " uncover switch stir shake brush dry unroll straighten invert arrange sort swap cut hit knock spin release"
CHANGES += " point use scrub unplug plug pinch squeeze flatten poke tap stretch crumple align adjust unscrew screw"
LEMMAS = f"{PUTS} {HOLDS} {CHANGES}".split()

GOAL_VERBS = frozenset(PUTS.split())
"""A place that follows is where the object is to go."""
HOLD_VERBS = frozenset({"pick up", "put down", *HOLDS.split()})
"""A place that follows is where the object lies, unless it is "to", "into" or "onto"."""
TOOL_VERBS = frozenset({"wipe", "clean", "sweep", "cover", "push", "stir", "brush", "wash", "dry", "scrub", "hit", "scoop"})
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
    "shake": "shakes shook shaken shaking", "spread": "spreads spreading", "spin": "spins spun spinning",
    "upright": "uprights uprighted uprighting", "swap": "swaps swapped swapping",
}  # fmt: skip
_DOUBLED = frozenset("drop drag flip tip zip unzip grab unplug plug tap grip stir transfer scrub".split())
_NOUNS = frozenset("brush dry clean roll stack cover press cut point turn use rest place set return dump shift lift tap".split())
"""Words that are nouns or adjectives as well: "the brush", "the dry cloth"."""
_STRONG = frozenset("put move pick take remove grab grasp lift slide push pull bring transfer place fold unfold".split())


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
STRONG = frozenset(form for form, lemma in FORMS.items() if lemma in _STRONG)
"""Forms that begin a clause also without "and" before them: "pick up the cup put it on the tray"."""
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
