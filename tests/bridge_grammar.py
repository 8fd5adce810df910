"""A grammar that writes instructions in the manner of BridgeData V2, each with what it asks for.

The vocabulary is that of the data set as its paper and published copies show it (arXiv 2308.12952: toy kitchens, 13
skills, crowd-sourced sentences); the sentences are ours. `rows` gives the rows of
`tests/data/bridge_instructions.jsonl` whose origin is "grammar".
"""

from __future__ import annotations

from typing import Any

import numpy as np

Clause = dict[str, str]
SEED, COUNT = 20_26, 200

THINGS = (
    *(
        "carrot",
        "eggplant",
        "broccoli",
        "corn",
        "potato",
        "mushroom",
        "strawberry",
        "banana",
        "lemon",
        "pear",
        "grapes",
    ),
    *("cheese", "pepper", "cucumber", "tomato", "sushi", "croissant", "pineapple", "watermelon slice", "drumstick"),
    *("spoon", "fork", "knife", "ladle", "spatula", "whisk", "brush", "sponge", "can", "ball", "toy dog", "duck"),
    *("block", "cube", "cylinder", "triangle", "cup", "mug", "bottle", "lid", "pot", "pan", "bowl", "towel", "cloth"),
    *("marker", "screwdriver", "measuring spoon", "detergent bottle", "stuffed rabbit", "toy car", "rolling pin"),
)
ADJECTIVES = ("red", "blue", "green", "yellow", "orange", "purple", "pink", "silver", "metal", "wooden", "small", "big")
VESSELS = (
    "pot",
    "pan",
    "bowl",
    "basket",
    "drawer",
    "sink",
    "saucepan",
    "cup",
    "box",
    "colander",
    "dish rack",
    "bucket",
)
FLATS = ("plate", "towel", "cloth", "tray", "stove", "table", "cutting board", "napkin", "rag", "counter", "mat")
MARKS = ("toaster", "faucet", "kettle", "microwave", "can", "bottle", "plate", "bowl", "pot", "banana", "yellow cloth")
DOORS = ("drawer", "microwave", "fridge", "oven", "cabinet", "top drawer", "small box", "laundry machine")
REGIONS = (
    *("left side of the table", "right edge of the counter", "top right corner of the table", "middle of the stove"),
    *("bottom left of the table", "front edge of the stove", "center of the table", "back left corner of the counter"),
)
NEAR = {
    "next to": "next to", "near": "next to", "beside": "next to", "to the left of": "left of", "to the right of":
    "right of", "behind": "behind", "in front of": "in front of", "on the left side of": "left of",
}  # fmt: skip
PUT = {
    "put": ("put", "puts", "putting"), "place": ("placed", "places", "placing"), "move": ("moved", "moves", "moving"),
    "set": ("set", "sets", "setting"),
}  # fmt: skip


class Writer:
    """Writes one instruction after the other, from `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def pick(self, words: Any) -> Any:
        """One of `words`."""
        words = tuple(words)
        return words[int(self._rng.integers(len(words)))]

    def thing(self) -> str:
        """A thing without its article, with an adjective in half of the cases."""
        name = self.pick(THINGS)
        return f"{self.pick(ADJECTIVES)} {name}" if self._rng.random() < 0.5 else name

    def put(self) -> tuple[str, str]:
        """A verb of putting in any tense, and its lemma."""
        lemma = self.pick(PUT)
        return (lemma if self._rng.random() < 0.7 else self.pick(PUT[lemma])), lemma

    def goal(self) -> tuple[str, Clause]:
        """A place, and what is to be read of it."""
        kind = int(self._rng.integers(4))
        if kind == 0:
            vessel = self.pick(VESSELS)
            return f"{self.pick(('in', 'into', 'inside'))} the {vessel}", {"relation": "in", "goal": vessel}
        if kind == 1:
            flat = self.pick(FLATS)
            return f"{self.pick(('on', 'onto', 'on top of'))} the {flat}", {"relation": "on", "goal": flat}
        if kind == 2:
            said = self.pick(NEAR)
            mark = self.pick(MARKS)
            return f"{said} the {mark}", {"relation": NEAR[said], "goal": mark}
        region = self.pick(REGIONS)
        return f"{self.pick(('to', 'on', 'at'))} the {region}", {
            "relation": "at",
            "goal": region.replace("of the ", "of "),
        }

    def source(self) -> tuple[str, str]:
        """Where a thing is taken from, and its name."""
        vessel = self.pick((*VESSELS, "plate", "stove"))
        return f"{self.pick(('from', 'out of'))} the {vessel}", vessel

    def sentence(self) -> tuple[str, list[Clause]]:
        """An instruction and its clauses."""
        thing, kind = self.thing(), int(self._rng.integers(10))
        if kind <= 3:
            (verb, lemma), (place, goal) = self.put(), self.goal()
            return f"{verb} the {thing} {place}", [{"verb": lemma, "object": thing, **goal}]
        if kind == 4:
            place, goal = self.goal()
            second = self.pick(("put", "place"))
            joint = self.pick((" and ", " then ", ", then ", " and then ", ". "))
            first = {"verb": "pick up", "object": thing}
            return f"pick up the {thing}{joint}{second} it {place}", [first, {"verb": second, "object": thing, **goal}]
        if kind == 5:
            (place, vessel), (where, goal) = self.source(), self.goal()
            first = {"verb": "take", "object": thing, "source": vessel}
            if self._rng.random() < 0.5:
                return f"take the {thing} {place}", [first]
            return f"take the {thing} {place} and put it {where}", [first, {"verb": "put", "object": thing, **goal}]
        if kind == 6:
            door, verb = self.pick(DOORS), self.pick(("open", "close"))
            if self._rng.random() < 0.6:
                return f"{verb} the {door}", [{"verb": verb, "object": door}]
            place, goal = self.goal()
            second = {"verb": "put", "object": thing, **goal}
            return f"open the {door} and put the {thing} {place}", [{"verb": "open", "object": door}, second]
        if kind == 7:
            verb, side = self.pick(("push", "slide", "move", "pull")), self.pick(("left", "right"))
            return f"{verb} the {thing} to the {side}", [
                {"verb": verb, "object": thing, "relation": "to", "goal": side}
            ]
        if kind == 8:
            cloth = self.pick(("cloth", "towel", "napkin", "yellow rag"))
            verb, (one, other) = self.pick(("fold", "unfold")), self.pick((("left", "right"), ("right", "left")))
            clause = {"verb": verb, "object": cloth, "source": one, "relation": "to", "goal": other}
            return f"{verb} the {cloth} from {one} to {other}", [clause]
        vessel, where = self.pick(("pot", "pan", "bowl")), self.pick(("stove", "sink", "table"))
        clause = {"verb": "put", "object": thing, "relation": "in", "goal": vessel}
        clause["goal_at"] = f"{'in' if where == 'sink' else 'on'} {where}"
        return f"put the {thing} in the {vessel} {'in' if where == 'sink' else 'on'} the {where}", [clause]

    def spoiled(self, text: str) -> str:
        """`text` as people type: without articles, capitalised, with a full stop, or with two letters swapped."""
        roll = self._rng.random()
        if roll < 0.2:
            return text.replace(" the ", " ")
        if roll < 0.35:
            return f"{text[0].upper()}{text[1:]}."
        words = text.split(" ")
        long = [at for at, word in enumerate(words) if len(word) >= 6 and word.isalpha()]
        if roll < 0.5 and long:
            at, word = (found := self.pick(long)), words[found]
            letter = int(self._rng.integers(1, len(word) - 2))
            words[at] = word[:letter] + word[letter + 1] + word[letter] + word[letter + 2 :]
        return " ".join(words)


def rows() -> list[dict[str, Any]]:
    """The rows of the test set that this grammar has written."""
    writer, written = Writer(np.random.default_rng(SEED)), {}
    while len(written) < COUNT:
        text, clauses = writer.sentence()
        written.setdefault(writer.spoiled(text), clauses)
    return [{"text": text, "origin": "grammar", "clauses": clauses} for text, clauses in written.items()]
