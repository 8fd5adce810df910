"""Small tasks with text alone: repeating it, numbering it, reckoning with lists of numbers.

A model from the internet has written every word, bracket and list long before it is adapted. One that was only ever
asked where the carrot is has learnt never to write "move": an adapter of rank 16 cannot undo that (docs/log.md).
"""

from __future__ import annotations

import functools
import re

import numpy as np

from vlm2vla_sim.mini.training.scene_questions import Exchange

AXES = ("x", "y", "z", "turn")
SHAPES = ("circle", "square", "triangle", "star")
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = (",", ";", ".", ":", "?")


def ask(rng: np.random.Generator, *, count: int) -> list[Exchange]:
    """`count` tasks."""
    kinds = (_repeat, _repeat_list, _number, _minus, _between, *[_way] * 3, *[_aloud] * 4)
    return [kinds[int(rng.integers(len(kinds)))](rng) for _ in range(count)]


@functools.cache
def _words() -> tuple[str, ...]:
    from vlm2vla_sim.mini.training.vocabulary import texts

    return tuple(sorted({word for text in texts() for word in _WORD.findall(text) if word.isascii()}))


def _some(rng: np.random.Generator, low: int, high: int) -> list[str]:
    return [str(word) for word in rng.choice(_words(), size=int(rng.integers(low, high)))]


def _row(rng: np.random.Generator, width: int) -> list[int]:
    """Numbers as moves have them: small ones, and many that are zero."""
    row = rng.integers(-25, 26, size=width) * (rng.random(width) < 0.6)
    if width > 4:
        row[3:6] = 5 * (rng.integers(-18, 19, size=3) * (rng.random(3) < 0.4))
    return [int(value) for value in row]


def _repeat(rng: np.random.Generator) -> Exchange:
    words = _some(rng, 3, 9)
    for index in range(len(words)):
        roll = rng.random()
        if roll < 0.2:
            words[index] += str(rng.choice(_MARKS))
        elif roll < 0.35:
            words[index] = f"{int(rng.integers(-40, 61))},"
    text = " ".join(words)
    return Exchange("repeat", f"Repeat this: {text}", text)


def _repeat_list(rng: np.random.Generator) -> Exchange:
    width = 4 if rng.random() < 0.5 else 7
    text = str([_row(rng, width) for _ in range(int(rng.integers(1, 4)))])
    return Exchange("repeat", f"Repeat this: {text}", text)


def _minus(rng: np.random.Generator) -> Exchange:
    left, right = (rng.integers(-40, 61, size=3).tolist() for _ in range(2))
    return Exchange("list sum", f"What is {left} minus {right}?", str(_difference(left, right)))


def _between(rng: np.random.Generator) -> Exchange:
    """The difference of two places that a text tells, whichever comes first."""
    names = [str(name) for name in rng.choice(SHAPES, size=2, replace=False)]
    width = int(rng.integers(1, 4))
    places = dict(zip(names, rng.integers((-5, -35, -2)[:width], (51, 36, 39)[:width], size=(2, width)), strict=True))
    told = " ".join(f"The {name} is at {', '.join(map(str, places[name]))}." for name in names)
    first, second = names if rng.random() < 0.5 else names[::-1]
    answer = (places[first] - places[second]).tolist()
    return Exchange("between", f"{told} What is {first} minus {second}?", str(answer))


def _aloud(rng: np.random.Generator) -> Exchange:
    """Differences with the reckoning written in full."""
    left, right = _two_places(rng)
    asked = ", ".join(f"{axis} {a} minus {b}" for axis, a, b in zip(AXES, left, right, strict=False))
    return Exchange("aloud", f"Write {asked}.", reckon(left, right))


def _way(rng: np.random.Generator) -> Exchange:
    """The way from one told place to another, with the reckoning said aloud."""
    names = [str(name) for name in rng.choice(SHAPES, size=2, replace=False)]
    places = _two_places(rng)
    told = []
    for name, row in zip(names, places, strict=True):
        turned = f", turned {row[3]}" if len(row) == 4 else ""
        told.append(f"The {name} is at {', '.join(map(str, row[:3]))}{turned}.")
    start, end = (0, 1) if rng.random() < 0.5 else (1, 0)
    asked = f"How far is it from the {names[start]} to the {names[end]}?"
    return Exchange("way", f"{' '.join(told)} {asked}", reckon(places[end], places[start]))


def _two_places(rng: np.random.Generator) -> list[list[int]]:
    """Two rows of x, y, z in cm and a turn in steps of 5 degrees, or their first two or three."""
    width = int(rng.integers(2, 5))
    numbers = rng.integers((-5, -35, -2, -18)[:width], (51, 36, 39, 19)[:width], size=(2, width))
    numbers[:, 3:] *= 5
    return numbers.tolist()


def reckon(left: list[int], right: list[int]) -> str:
    """`left` minus `right` in words; both x, y, z and perhaps a turn.

    >>> reckon([35, 8], [29, -1])
    'x 35 minus 29 is 6, y 8 minus -1 is 9'
    """
    return ", ".join(f"{axis} {a} minus {b} is {a - b}" for axis, a, b in zip(AXES, left, right, strict=False))


def _difference(left: list[int], right: list[int]) -> list[int]:
    return [a - b for a, b in zip(left, right, strict=True)]


def _number(rng: np.random.Generator) -> Exchange:
    lines = [" ".join(_some(rng, 1, 4)) for _ in range(int(rng.integers(2, 4)))]
    answer = "\n".join(f"{index}. {line}" for index, line in enumerate(lines, start=1))
    return Exchange("numbered", f"Number these: {'; '.join(lines)}", answer)
