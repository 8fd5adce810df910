"""Text tasks and translations: every answer follows from its question."""

from __future__ import annotations

import ast
import re
from collections import Counter

import numpy as np

from vlm2vla_sim.mini.scenes.object_catalog import SPOKEN_NAMES
from vlm2vla_sim.mini.training import text_tasks, translations


def eval_minus(text: str) -> int:
    """The difference in "x 3 minus -5"."""
    _, left, _, right = text.split()
    return int(left) - int(right)


def answer_to(question: str) -> str:
    """The right answer, computed from the question."""
    if question.startswith("Repeat this: "):
        return question.removeprefix("Repeat this: ")
    if question.startswith("Number these: "):
        lines = question.removeprefix("Number these: ").split("; ")
        return "\n".join(f"{index}. {line}" for index, line in enumerate(lines, start=1))
    if question.startswith("Write "):
        terms = question.removeprefix("Write ").removesuffix(".").split(", ")
        return ", ".join(f"{part} is {eval_minus(part)}" for part in terms)
    if question.startswith("What is "):
        left, right = (ast.literal_eval(part) for part in re.findall(r"\[.*?\]", question))
    else:
        places = re.findall(r"The (\w+) is at ([-\d, ]+)(?:, turned )?([-\d]*)\.", question)
        told = {name: [int(n) for n in [*at.split(", "), turned] if n] for name, at, turned in places}
        if "How far" in question:
            start, end = (told[name] for name in re.findall(r"from the (\w+) to the (\w+)\?", question)[0])
            axes = ("x", "y", "z", "turn")[: len(start)]
            parts = [f"{axis} {a} minus {b}" for axis, a, b in zip(axes, end, start, strict=True)]
            return ", ".join(f"{part} is {eval_minus(part)}" for part in parts)
        left, right = (told[name] for name in re.findall(r"What is (\w+) minus (\w+)\?", question)[0])
    return str([a - b for a, b in zip(left, right, strict=True)])


def test_every_answer_is_right_and_every_kind_occurs() -> None:
    tasks = text_tasks.sample(np.random.default_rng(0), count=300)
    for one in tasks:
        assert one.answer == answer_to(one.question), one.question
    assert set(Counter(one.category for one in tasks)) == {"repeat", "list sum", "between", "way", "aloud", "numbered"}


def test_subtractions_are_right() -> None:
    for one in text_tasks.sample_subtractions(np.random.default_rng(1), count=50):
        words = one.question.split()
        assert int(one.answer) == int(words[2]) - int(words[4].rstrip("?"))
        assert not one.needs_image


def test_translations_name_the_objects_of_the_scenes() -> None:
    assert translations.instruction(0, "carrot", "plate") == "put the carrot on the plate"
    assert translations.instruction(1, "carrot", "plate") == "pon la zanahoria sobre el plato"
    assert translations.instruction(2, "carrot", "plate") == "把胡萝卜放在盘子上"
    assert tuple(translations.NAMES) == SPOKEN_NAMES
    assert all(not one.needs_image for one in translations.sample(np.random.default_rng(0), count=20))
