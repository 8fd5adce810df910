"""Questions about an annotated scene and their answers: what the base model learns before it learns to act.

They take the place of web-scale pretraining for a small model: names, colours, counts, positions, spatial relations.
Held-out scenes with the same kinds of questions measure what the adapter makes the model forget.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlm2vla_sim.mini.scenes.annotation import GRIPPER, TABLE, ObjectAnnotation, SceneAnnotation, to_cm, to_degrees
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, SPOKEN_NAMES, spoken_name
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer

MIN_PIXELS = 250
"""Pixels (at 640x480) that must show an object before questions are asked about it."""


def spoken(item: ObjectAnnotation) -> str:
    """The object's name in questions and instructions."""
    return spoken_name(item.name)


def pose_text(item: ObjectAnnotation) -> str:
    """The object's pose as text: whole centimetres of its centre, base frame, and the yaw of its long side."""
    x, y, z = map(to_cm, item.position)
    return f"{x}, {y}, {z}, turned {rounded_yaw(item)}"


def rounded_yaw(item: ObjectAnnotation) -> int:
    """[degrees] the yaw of the object's long side in steps of 15."""
    return to_degrees(item.yaw, period=yaw_period(item))


def yaw_period(item: ObjectAnnotation) -> int:
    """[degrees] period of the yaw in answers."""
    return 90 if BY_CLASS[item.class_name].is_cube else 180


def visible(annotation: SceneAnnotation) -> list[ObjectAnnotation]:
    """The objects of which enough is visible."""
    return [item for item in annotation.objects if item.pixels >= MIN_PIXELS]


def sample(annotation: SceneAnnotation, rng: np.random.Generator, *, count: int) -> list[QuestionAnswer]:
    """`count` different questions about one image; more than a third ask for a position, the hardest to learn."""
    chosen = [_position(annotation, rng)]
    while len(chosen) < count:
        kinds, weights = zip(*_KINDS, strict=True)
        one = kinds[int(rng.choice(len(kinds), p=np.array(weights) / sum(weights)))](annotation, rng)
        if one is not None and all(one.question != other.question for other in chosen):
            chosen.append(one)
    return chosen


def _pick(items: list[ObjectAnnotation], rng: np.random.Generator) -> ObjectAnnotation:
    return items[int(rng.integers(len(items)))]


def _position(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer:
    items = visible(annotation)
    if not items or rng.random() < 0.08:
        present = {spoken(item) for item in annotation.objects}
        absent = [name for name in SPOKEN_NAMES if name not in present]
        return _position_question(str(rng.choice(absent)), "nowhere", rng)
    item = _pick(items, rng)
    return _position_question(spoken(item), pose_text(item), rng, yaw_period(item))


def _position_question(name: str, answer: str, rng: np.random.Generator, period: int = 0) -> QuestionAnswer:
    """Asks for the pose alone or for a sentence."""
    if rng.random() < 0.5:
        return QuestionAnswer("where", f"Where is the {name}?", answer, period)
    said = f"the {name} is {'at ' if period else ''}{answer}"
    return QuestionAnswer("where", f"Say where the {name} is.", said, period)


def _object_at(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    items = [item for item in visible(annotation) if item.support != GRIPPER]
    if not items:
        return None
    item = _pick(items, rng)
    if any(other.support == item.name for other in annotation.objects):
        return None
    x, y, _ = map(to_cm, item.position)
    return QuestionAnswer("what", f"What is at {x}, {y}?", spoken(item))


def _colour(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    items = [item for item in visible(annotation) if not BY_CLASS[item.class_name].is_cube]
    if not items:
        return None
    item = _pick(items, rng)
    return QuestionAnswer("colour", f"What colour is the {spoken(item)}?", item.colour)


def _count(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    if any(item.pixels < MIN_PIXELS for item in annotation.objects):
        return None
    return QuestionAnswer("count", "How many things are there?", str(len(annotation.objects)))


def _held(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    held = next((item for item in annotation.objects if item.support == GRIPPER), None)
    if held is not None and held.pixels < MIN_PIXELS:
        return None
    return QuestionAnswer("held", "What does the gripper hold?", spoken(held) if held else "nothing")


def _support(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    items = [item for item in visible(annotation) if not BY_CLASS[item.class_name].is_flat]
    if not items:
        return None
    item = _pick(items, rng)
    below = next((spoken(other) for other in annotation.objects if other.class_name == item.support), item.support)
    return QuestionAnswer("on", f"What is the {spoken(item)} on?", below if below != TABLE else annotation.stage)


def _side(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    items = visible(annotation)
    if len(items) < 2:
        return None
    one, other = (items[int(index)] for index in rng.choice(len(items), size=2, replace=False))
    if abs(one.position[1] - other.position[1]) < 0.02:
        return None
    # The camera is such that what is to the robot's left is left in the image too.
    side = "left" if one.position[1] > other.position[1] else "right"
    return QuestionAnswer("side", f"Is the {spoken(one)} left or right of the {spoken(other)}?", side)


def _gripper(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    if annotation.held:
        return None
    return QuestionAnswer(
        "gripper", "Is the gripper open or closed?", "open" if annotation.gripper_opening > 0.5 else "closed"
    )


def _gripper_position(annotation: SceneAnnotation, rng: np.random.Generator) -> QuestionAnswer | None:
    x, y, z = map(to_cm, annotation.tcp_position)
    answer = f"{x}, {y}, {z}, turned {to_degrees(annotation.gripper_yaw)}"
    return QuestionAnswer("where gripper", "Where is the gripper?", answer, period=180)


_Maker = Callable[[SceneAnnotation, np.random.Generator], QuestionAnswer | None]
_KINDS: tuple[tuple[_Maker, float], ...] = (
    (_position, 0.36),
    (_object_at, 0.08),
    (_colour, 0.08),
    (_count, 0.06),
    (_held, 0.12),
    (_support, 0.12),
    (_side, 0.08),
    (_gripper, 0.04),
    (_gripper_position, 0.06),
)
"""Each kind of question with its probability."""
