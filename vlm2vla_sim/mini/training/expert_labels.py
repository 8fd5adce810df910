"""Expert labels: for any annotated scene, the text a perfect policy would answer to each prompt of the loop.

Demonstrations of a perfect policy never show a dropped object. Here the right answer follows from the annotation of a
scene, however it came about, so that a missed grasp is answered with another grasp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.prompts import (
    ADVANCE,
    RETRY,
    action_prompt,
    describe_state,
    plan_prompt,
    subtasks_prompt,
    verify_prompt,
)
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, ObjectAnnotation, SceneAnnotation
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, CatalogObject
from vlm2vla_sim.mini.training.expert_plans import Pair, Rows, plan_and_rows
from vlm2vla_sim.mini.training.scene_questions import spoken, visible

INSTRUCTIONS = (
    "put the {source} on the {target}",
    "put {source} on {target}",
    "place the {source} on the {target}",
    "move the {source} onto the {target}",
    "stack the {source} on the {target}",
    "put {source} into {target}",
    "put the {source} into the {target}",
    "put {source} into yellow {target}",
)


@dataclass(frozen=True)
class ExpertLabel:
    """A prompt with the right answer."""

    stage: str
    """"subtasks", "plan", "action" or "verify"."""
    prompt: str
    answer: str
    hard: bool = False
    """Whether it is learnt late, and so never left out of the training rows: to see that an object is already held or
    already where it is to go, and which of two cubes is meant."""


class ExpertLabeler:
    """Writes the labels of a scene with one action format."""

    def __init__(self, action_format: ActionFormat, *, reasoning: bool = True) -> None:
        """reasoning: false for labels that go from the instruction straight to the action."""
        self._format, self._reasoning = action_format, reasoning

    def select_pair(self, annotation: SceneAnnotation, rng: np.random.Generator) -> Pair | None:
        """An object to move and a target; None if the scene has no such pair in view."""
        seen = visible(annotation)
        pairs = [
            (source, target)
            for source in seen
            for target in seen
            if _entry(source).grasp and _entry(target).placement and source is not target and target.support != GRIPPER
        ]
        held = [pair for pair in pairs if pair[0].support == GRIPPER]
        pairs = held if held and rng.random() < 0.8 else [pair for pair in pairs if is_target_free(annotation, pair)]
        return pairs[int(rng.integers(len(pairs)))] if pairs else None

    def label(self, annotation: SceneAnnotation, rng: np.random.Generator) -> Iterator[ExpertLabel]:
        """The labels of one image, except the verifier's."""
        pair = self.select_pair(annotation, rng)
        if pair is None:
            return
        source, target = pair
        names = spoken(source), spoken(target)
        state = state_text(annotation)
        grasp, put = subtask_texts(*pair)
        template = INSTRUCTIONS[int(rng.integers(len(INSTRUCTIONS)))]
        instruction = template.format(source=names[0], target=names[1])
        if not self._reasoning:
            _, rows = plan_and_rows(annotation, pair, putting=True)
            yield ExpertLabel("action", action_prompt(instruction, "", self._format, state=state), self.write(rows))
            return
        if rng.random() < 0.25:
            yield ExpertLabel("subtasks", subtasks_prompt(instruction), f"1. {grasp}\n2. {put}")
        begun = source.support in (GRIPPER, target.class_name)
        putting = rng.random() < (0.9 if begun else 0.3)
        subtask = put if putting else grasp
        plan, rows = plan_and_rows(annotation, pair, putting=putting)
        hard = putting and (begun or _entry(source).is_cube)
        yield ExpertLabel("plan", plan_prompt(subtask, state=state, grounded=True), plan, hard)
        yield ExpertLabel("action", action_prompt(subtask, plan, self._format, state=state), self.write(rows))

    def verifier_label(self, annotation: SceneAnnotation, rng: np.random.Generator) -> ExpertLabel | None:
        """Whether a subtask is done; None if the scene has no pair in view."""
        pair = self.select_pair(annotation, rng)
        if pair is None:
            return None
        source, target = pair
        grasp, put = subtask_texts(*pair)
        state = state_text(annotation)
        is_there = source.support == target.class_name
        if rng.random() < (0.8 if is_there else 0.5):
            return ExpertLabel("verify", verify_prompt(put, "", state=state), ADVANCE if is_there else RETRY)
        held = source.support == GRIPPER
        return ExpertLabel("verify", verify_prompt(grasp, put, state=state), ADVANCE if held else RETRY)

    def write(self, rows: Rows) -> str:
        """The rows in the action format."""
        deltas = np.zeros((len(rows), 7), np.float32)
        for delta, (dx, dy, dz, turn, gripper) in zip(deltas, rows, strict=True):
            delta[:3] = np.array([dx, dy, dz]) / 100
            delta[5] = np.radians(turn)
            delta[6] = gripper
        return self._format.write(deltas)


def subtask_texts(source: ObjectAnnotation, target: ObjectAnnotation) -> tuple[str, str]:
    """The two subtasks of putting `source` on `target`."""
    return (
        f"Grasp the {spoken(source)}",
        f"Put the {spoken(source)} {_entry(target).preposition} the {spoken(target)}",
    )


def is_target_free(annotation: SceneAnnotation, pair: Pair) -> bool:
    """Whether nothing but the source lies on the target, and nothing on the source."""
    source, target = pair
    classes = target.class_name, source.class_name
    return all(other is source or other.support not in classes for other in annotation.objects)


def state_text(annotation: SceneAnnotation) -> str:
    """The line of the prompt that describes the gripper."""
    euler = (0.0, 0.0, np.radians(annotation.gripper_yaw))
    return describe_state(np.array([*annotation.tcp_position, *euler, annotation.gripper_opening]))


def _entry(item: ObjectAnnotation) -> CatalogObject:
    return BY_CLASS[item.class_name]
