"""The rows that `vlm2vla train` trains the adapter on: expert labels of rendered scenes, and rehearsal questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.prompts import ADVANCE
from vlm2vla_sim.mini.scenes.annotation import SceneAnnotation
from vlm2vla_sim.mini.scenes.rendered_dataset import read_shard
from vlm2vla_sim.mini.training import scene_questions, synthetic_shapes, text_tasks, translations
from vlm2vla_sim.mini.training.expert_labels import ExpertLabeler

RETRY_SHARE = 0.4
"""Share of the verifier's "retry" labels that are kept: finished subtasks are rare in random scenes, and rows with two
images cost most."""
TEXT_ONLY = (text_tasks.sample_subtractions, translations.sample, text_tasks.sample)
"""Sources of questions without an image."""


def adapter_examples(
    folder: Path,
    numbers: Iterable[int],
    action_format: ActionFormat,
    *,
    reasoning: bool = True,
    easy_share: float = 1.0,
    rehearsal_share: float = 0.0,
    seed: int = 0,
) -> Iterator[Example]:
    """Training rows from the shards `numbers` of the rendered dataset in `folder`.

    easy_share: share of the labels that are kept, except the verifier's and the hard ones, which all are.
    rehearsal_share: share of the scenes that also come with questions of the base's pretraining, which reduces
    forgetting.
    """
    labeler, rng = ExpertLabeler(action_format, reasoning=reasoning), np.random.default_rng(seed)
    for number in numbers:
        shard = read_shard(folder, number)
        earlier: dict[str, int] = {}
        for index, annotation in enumerate(shard.annotations):
            image = np.asarray(shard.images[index])
            if rng.random() < rehearsal_share:
                yield from rehearsal(annotation, image, rng)
            for label in labeler.label(annotation, rng):
                if not label.hard and rng.random() >= easy_share:
                    continue
                yield Example(label.stage, (image,), label.prompt, label.answer)
            verify = reasoning and annotation.stage in earlier
            label = labeler.verifier_label(annotation, rng) if verify else None
            if label is not None and (label.answer == ADVANCE or rng.random() < RETRY_SHARE):
                before = np.asarray(shard.images[earlier[annotation.stage]])
                yield Example(label.stage, (before, image), label.prompt, label.answer)
            earlier[annotation.stage] = index


def rehearsal(annotation: SceneAnnotation, image: np.ndarray, rng: np.random.Generator) -> Iterator[Example]:
    """Two questions of the base's pretraining: about the scene, about synthetic shapes, or about text alone.

    Questions without an image come with the scene's, because every training row has one.
    """
    roll = rng.random()
    if roll < 0.15:
        shapes = synthetic_shapes.sample_image(rng)
        image, questions = shapes.render(), synthetic_shapes.sample(shapes, rng, count=2)
    elif roll < 0.4:
        questions = TEXT_ONLY[int(rng.integers(len(TEXT_ONLY)))](rng, count=2)
    else:
        questions = scene_questions.sample(annotation, rng, count=2)
    for one in questions:  # none if an image of shapes has too few
        yield Example(one.category, (image,), one.question, one.answer)
