"""Tasks that consist of text alone: repeat it, number it, subtract numbers and lists of numbers.

A web-scale model has written every word, bracket and list long before it is adapted. A model that was only asked about
positions has learnt never to write "move", and an adapter of rank 16 cannot undo that (docs/log.md).
"""

from __future__ import annotations

import functools
import re

import numpy as np

from vlm2vla_sim.mini.training.question_answer import QuestionAnswer
from vlm2vla_sim.mini.training.vocabulary import texts

AXES = ("x", "y", "z", "turn")
SHAPES = ("circle", "square", "triangle", "star")
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = (",", ";", ".", ":", "?")


def sample(rng: np.random.Generator, *, count: int) -> list[QuestionAnswer]:
    """`count` tasks."""
    kinds = (_repeat, _repeat_list, _number, _subtract_lists, _difference, *[_distance] * 3, *[_write_out] * 4)
    return [kinds[int(rng.integers(len(kinds)))](rng) for _ in range(count)]


def sample_subtractions(rng: np.random.Generator, *, count: int) -> list[QuestionAnswer]:
    """`count` differences of whole numbers."""
    chosen = []
    for _ in range(count):
        left, right = (int(n) for n in rng.integers(-45, 61, size=2))
        if rng.random() < 0.25:
            left, right = (15 * int(n) for n in rng.integers(-6, 7, size=2))
        chosen.append(_task("sum", f"What is {left} minus {right}?", str(left - right)))
    return chosen


def _task(category: str, question: str, answer: str) -> QuestionAnswer:
    return QuestionAnswer(category, question, answer, needs_image=False)


@functools.cache
def _words() -> tuple[str, ...]:
    """Every word of the tokenizer's texts that is written in ASCII."""
    return tuple(sorted({word for text in texts() for word in _WORD.findall(text) if word.isascii()}))


def _random_words(rng: np.random.Generator, low: int, high: int) -> list[str]:
    return [str(word) for word in rng.choice(_words(), size=int(rng.integers(low, high)))]


def _row(rng: np.random.Generator, width: int) -> list[int]:
    """Numbers as in action rows: small, and many of them zero."""
    row = rng.integers(-25, 26, size=width) * (rng.random(width) < 0.6)
    if width > 4:
        row[3:6] = 5 * (rng.integers(-18, 19, size=3) * (rng.random(3) < 0.4))
    return [int(value) for value in row]


def _repeat(rng: np.random.Generator) -> QuestionAnswer:
    words = _random_words(rng, 3, 9)
    for index in range(len(words)):
        roll = rng.random()
        if roll < 0.2:
            words[index] += str(rng.choice(_MARKS))
        elif roll < 0.35:
            words[index] = f"{int(rng.integers(-40, 61))},"
    text = " ".join(words)
    return _task("repeat", f"Repeat this: {text}", text)


def _repeat_list(rng: np.random.Generator) -> QuestionAnswer:
    width = 4 if rng.random() < 0.5 else 7
    text = str([_row(rng, width) for _ in range(int(rng.integers(1, 4)))])
    return _task("repeat", f"Repeat this: {text}", text)


def _subtract_lists(rng: np.random.Generator) -> QuestionAnswer:
    left, right = (rng.integers(-40, 61, size=3).tolist() for _ in range(2))
    return _task("list sum", f"What is {left} minus {right}?", str([a - b for a, b in zip(left, right, strict=True)]))


def _difference(rng: np.random.Generator) -> QuestionAnswer:
    """The difference of two positions given in the text, in either order."""
    names = [str(name) for name in rng.choice(SHAPES, size=2, replace=False)]
    width = int(rng.integers(1, 4))
    positions = dict(
        zip(names, rng.integers((-5, -35, -2)[:width], (51, 36, 39)[:width], size=(2, width)), strict=True)
    )
    stated = " ".join(f"The {name} is at {', '.join(map(str, positions[name]))}." for name in names)
    first, second = names if rng.random() < 0.5 else names[::-1]
    answer = (positions[first] - positions[second]).tolist()
    return _task("between", f"{stated} What is {first} minus {second}?", str(answer))


def _write_out(rng: np.random.Generator) -> QuestionAnswer:
    """Differences with the calculation written out."""
    left, right = _two_poses(rng)
    terms = ", ".join(f"{axis} {a} minus {b}" for axis, a, b in zip(AXES, left, right, strict=False))
    return _task("aloud", f"Write {terms}.", written_difference(left, right))


def _distance(rng: np.random.Generator) -> QuestionAnswer:
    """The displacement between two poses given in the text, with the calculation written out."""
    names = [str(name) for name in rng.choice(SHAPES, size=2, replace=False)]
    poses = _two_poses(rng)
    stated = []
    for name, row in zip(names, poses, strict=True):
        turned = f", turned {row[3]}" if len(row) == 4 else ""
        stated.append(f"The {name} is at {', '.join(map(str, row[:3]))}{turned}.")
    start, end = (0, 1) if rng.random() < 0.5 else (1, 0)
    question = f"How far is it from the {names[start]} to the {names[end]}?"
    return _task("way", f"{' '.join(stated)} {question}", written_difference(poses[end], poses[start]))


def _two_poses(rng: np.random.Generator) -> list[list[int]]:
    """Two rows of x, y, z [cm] and yaw in steps of 5 [degrees], or the first two or three of these."""
    width = int(rng.integers(2, 5))
    numbers = rng.integers((-5, -35, -2, -18)[:width], (51, 36, 39, 19)[:width], size=(2, width))
    numbers[:, 3:] *= 5
    return numbers.tolist()


def written_difference(left: list[int], right: list[int]) -> str:
    """`left` minus `right`, written out; both are x, y, z [cm] and optionally yaw [degrees].

    >>> written_difference([35, 8], [29, -1])
    'x 35 minus 29 is 6, y 8 minus -1 is 9'
    """
    return ", ".join(f"{axis} {a} minus {b} is {a - b}" for axis, a, b in zip(AXES, left, right, strict=False))


def _number(rng: np.random.Generator) -> QuestionAnswer:
    lines = [" ".join(_random_words(rng, 1, 4)) for _ in range(int(rng.integers(2, 4)))]
    answer = "\n".join(f"{index}. {line}" for index, line in enumerate(lines, start=1))
    return _task("numbered", f"Number these: {'; '.join(lines)}", answer)
