"""Questions about a picture and their answers: what the base model learns before it learns to act.

They play the part of the internet for a small model: names, colours, counts, places, languages, sums. What the adapter
makes it forget is measured with the same questions about scenes that training never saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE, Facts, Thing, to_cm, to_degrees

VISIBLE = 250
"""[pixels at 640x480] a thing must show before it is asked about."""
NAMES = ("carrot", "plate", "spoon", "towel", "green block", "yellow block", "eggplant", "basket")


@dataclass(frozen=True)
class Exchange:
    """A question and its answer."""

    category: str
    question: str
    answer: str
    period: int = 0
    """[degrees] after which the thing looks the same again, where the answer's numbers were measured; else 0."""


def spoken(thing: Thing) -> str:
    """What a thing is called in words: SIMPLER's cubes are "blocks" in its instructions."""
    return thing.name.replace("cube", "block")


def place(thing: Thing) -> str:
    """Where a thing is: whole centimetres of its centre in the robot's axes, and how its long side is turned."""
    x, y, z = map(to_cm, thing.position)
    return f"{x}, {y}, {z}, turned {to_degrees(thing.yaw, period=period(thing))}"


def period(thing: Thing) -> int:
    """[degrees] of a turn after which the thing looks the same again."""
    return 90 if thing.kind.endswith("cube") else 180


def ask(facts: Facts, rng: np.random.Generator, *, count: int) -> list[Exchange]:
    """`count` questions about one picture; about half of them are where something is, the hardest to learn."""
    exchanges = [_where(facts, rng)]
    while len(exchanges) < count:
        kinds, weights = zip(*_KINDS, strict=True)
        one = kinds[int(rng.choice(len(kinds), p=np.array(weights) / sum(weights)))](facts, rng)
        if one is not None and all(one.question != other.question for other in exchanges):
            exchanges.append(one)
    return exchanges


def sums(rng: np.random.Generator, *, count: int) -> list[Exchange]:
    """Differences of whole numbers, without a picture."""
    exchanges = []
    for _ in range(count):
        left, right = (int(n) for n in rng.integers(-45, 61, size=2))
        if rng.random() < 0.25:
            left, right = (15 * int(n) for n in rng.integers(-6, 7, size=2))
        exchanges.append(Exchange("sum", f"What is {left} minus {right}?", str(left - right)))
    return exchanges


def _seen(facts: Facts) -> list[Thing]:
    return [thing for thing in facts.things if thing.pixels >= VISIBLE]


def _pick(things: list[Thing], rng: np.random.Generator) -> Thing:
    return things[int(rng.integers(len(things)))]


def _where(facts: Facts, rng: np.random.Generator) -> Exchange:
    things = _seen(facts)
    if not things or rng.random() < 0.08:
        there = {spoken(thing) for thing in facts.things}
        absent = [name for name in NAMES if name not in there]
        return _where_is(str(rng.choice(absent)), "nowhere", rng)
    thing = _pick(things, rng)
    return _where_is(spoken(thing), place(thing), rng, period(thing))


def _where_is(name: str, answer: str, rng: np.random.Generator, period: int = 0) -> Exchange:
    """Asked for a place alone or for a sentence."""
    if rng.random() < 0.5:
        return Exchange("where", f"Where is the {name}?", answer, period)
    said = f"the {name} is {'at ' if period else ''}{answer}"
    return Exchange("where", f"Say where the {name} is.", said, period)


def _what_at(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    things = [thing for thing in _seen(facts) if thing.on != GRIPPER]
    if not things:
        return None
    thing = _pick(things, rng)
    if any(other.on == spoken(thing).replace("block", "cube") for other in facts.things):
        return None
    x, y, _ = map(to_cm, thing.position)
    return Exchange("what", f"What is at {x}, {y}?", spoken(thing))


def _colour(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    things = [thing for thing in _seen(facts) if not thing.kind.endswith("cube")]
    if not things:
        return None
    thing = _pick(things, rng)
    return Exchange("colour", f"What colour is the {spoken(thing)}?", thing.colour)


def _count(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    if any(thing.pixels < VISIBLE for thing in facts.things):
        return None
    return Exchange("count", "How many things are there?", str(len(facts.things)))


def _held(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    held = next((thing for thing in facts.things if thing.on == GRIPPER), None)
    if held is not None and held.pixels < VISIBLE:
        return None
    return Exchange("held", "What does the gripper hold?", spoken(held) if held else "nothing")


def _lies_on(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    things = [thing for thing in _seen(facts) if thing.kind not in ("plate", "towel", "basket")]
    if not things:
        return None
    thing = _pick(things, rng)
    below = next((spoken(other) for other in facts.things if other.kind == thing.on), thing.on)
    return Exchange("on", f"What is the {spoken(thing)} on?", below if below != TABLE else facts.stage)


def _side(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    things = _seen(facts)
    if len(things) < 2:
        return None
    one, other = (things[int(index)] for index in rng.choice(len(things), size=2, replace=False))
    if abs(one.position[1] - other.position[1]) < 0.02:
        return None
    # The camera looks at the robot's left from its right: the robot's left is left in the picture too.
    side = "left" if one.position[1] > other.position[1] else "right"
    return Exchange("side", f"Is the {spoken(one)} left or right of the {spoken(other)}?", side)


def _gripper(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    if facts.held:
        return None
    return Exchange("gripper", "Is the gripper open or closed?", "open" if facts.opening > 0.5 else "closed")


def _gripper_where(facts: Facts, rng: np.random.Generator) -> Exchange | None:
    x, y, z = map(to_cm, facts.gripper)
    answer = f"{x}, {y}, {z}, turned {to_degrees(facts.turn)}"
    return Exchange("where gripper", "Where is the gripper?", answer, period=180)


_Maker = Callable[[Facts, np.random.Generator], "Exchange | None"]
_KINDS: tuple[tuple[_Maker, float], ...] = (
    (_where, 0.36),
    (_what_at, 0.08),
    (_colour, 0.08),
    (_count, 0.06),
    (_held, 0.12),
    (_lies_on, 0.12),
    (_side, 0.08),
    (_gripper, 0.04),
    (_gripper_where, 0.06),
)
"""How often each is asked."""
