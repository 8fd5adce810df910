"""The held-out evaluation: questions about scenes and shapes that no training used, for base and adapter alike.

A position counts as right within 1 cm on each axis and one step of the yaw; every other answer has to be exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlm2vla_sim.analysis.questions import VqaQuestion, write_questions
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.mini.scenes.annotation import to_degrees
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT, read_shard
from vlm2vla_sim.mini.training import scene_questions, synthetic_shapes
from vlm2vla_sim.mini.training.adapter_examples import TEXT_ONLY
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer

PER_IMAGE = 2
"""Questions about one image."""


def write_held_out_questions(folder: Path, out: Path, *, shard: int, scenes: int, shapes: int) -> int:
    """Write the questions to `out`; returns their number.

    shard: a held-out shard of the rendered dataset in `folder`; scenes, shapes: numbers of images to ask about.
    """
    if shard < HELD_OUT:
        raise SettingError(f"Shard {shard} may have been used in training; choose one from {HELD_OUT} on.")
    return write_questions(held_out_questions(folder, shard=shard, scenes=scenes, shapes=shapes), out)


def held_out_questions(folder: Path, *, shard: int, scenes: int, shapes: int) -> Iterator[VqaQuestion]:
    """The questions; the same ones for the same arguments."""
    rng = np.random.default_rng([shard, 7])
    held_out = read_shard(folder, shard)
    for index in range(scenes):
        image = np.asarray(held_out.images[index])
        yield from _about(image, scene_questions.sample(held_out.annotations[index], rng, count=PER_IMAGE))
    for _ in range(shapes):
        drawn = synthetic_shapes.sample_image(rng)
        yield from _about(drawn.render(), synthetic_shapes.sample(drawn, rng, count=PER_IMAGE))
    texts = [one for sample in TEXT_ONLY for one in sample(rng, count=scenes // 4)]
    for one in {one.question: one for one in texts}.values():
        yield VqaQuestion(one.category, one.question, (one.answer,))


def _about(image: np.ndarray, questions: list[QuestionAnswer]) -> Iterator[VqaQuestion]:
    for one in questions:
        yield VqaQuestion(one.category, one.question, _accepted(one), (image,))


def _accepted(one: QuestionAnswer) -> tuple[str, ...]:
    """Every answer that counts as right, the exact one first."""
    if not one.period or "turned" not in one.answer:
        return (one.answer,)
    start = one.answer.find(" at ") + len(" at ") if " at " in one.answer else 0
    position, yaw = one.answer[start:].split(", turned ")
    near = [[int(part) + off for off in (0, -1, 1)] for part in position.split(", ")]
    yaws = dict.fromkeys(to_degrees(int(yaw) + off, period=one.period) for off in (0, -15, 15))
    prefix = one.answer[:start]
    return tuple(f"{prefix}{x}, {y}, {z}, turned {t}" for x, y, z, t in itertools.product(*near, yaws))
