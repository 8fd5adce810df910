"""Questions about scenes and drawings that training never saw: what base and adapter are both asked.

A place counts as right within a centimetre an axis and one step of the turn, which is as well as a person could say it;
every other answer has to be the very words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlm2vla_sim.analysis.questions import VqaQuestion, write_questions
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import to_degrees
from vlm2vla_sim.mini.training import scene_questions, synthetic_shapes, text_tasks, translations

PER_VIEW = 2
"""Questions about one picture."""


def write_exam(folder: Path, out: Path, *, shard: int, views: int, drawn: int) -> int:
    """Write the questions to `out`; how many they are.

    shard: of the album in `folder`, a held-out one; views, drawn: how many pictures of each kind are asked about.
    """
    if shard < rendered_dataset.HELD_OUT:
        raise SettingError(f"The shard {shard} may have been trained on; take one from {rendered_dataset.HELD_OUT} on.")
    return write_questions(exam(folder, shard=shard, views=views, drawn=drawn), out)


def exam(folder: Path, *, shard: int, views: int, drawn: int) -> Iterator[VqaQuestion]:
    """The questions, the same ones every time."""
    rng = np.random.default_rng([shard, 7])
    held_out = rendered_dataset.read(folder, shard)
    for index in range(views):
        picture = np.asarray(held_out.pictures[index])
        yield from _about(picture, scene_questions.ask(held_out.facts[index], rng, count=PER_VIEW))
    for _ in range(drawn):
        drawing = synthetic_shapes.draw(rng)
        yield from _about(drawing.picture(), synthetic_shapes.ask(drawing, rng, count=PER_VIEW))
    blind = [
        part
        for kind in (scene_questions.sums, translations.ask, text_tasks.ask)
        for part in kind(rng, count=views // 4)
    ]
    unlike = {one.question: one for one in blind}
    for one in unlike.values():
        yield VqaQuestion(one.category, one.question, (one.answer,))


def _about(picture: np.ndarray, asked: list[scene_questions.Exchange]) -> Iterator[VqaQuestion]:
    for one in asked:
        yield VqaQuestion(one.category, one.question, _right(one), (picture,))


def _right(one: scene_questions.Exchange) -> tuple[str, ...]:
    """Every answer that counts, the exact one first."""
    if not one.period or "turned" not in one.answer:
        return (one.answer,)
    start = one.answer.find(" at ") + len(" at ") if " at " in one.answer else 0
    place, turn = one.answer[start:].split(", turned ")
    near = [[int(part) + off for off in (0, -1, 1)] for part in place.split(", ")]
    turns = dict.fromkeys(to_degrees(int(turn) + off, period=one.period) for off in (0, -15, 15))
    said = one.answer[:start]
    return tuple(f"{said}{x}, {y}, {z}, turned {t}" for x, y, z, t in itertools.product(*near, turns))
