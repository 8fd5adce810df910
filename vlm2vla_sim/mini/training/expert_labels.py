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
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, ObjectAnnotation, SceneAnnotation, to_cm
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, STAGES, CatalogObject, Grasp, Placement
from vlm2vla_sim.mini.training.scene_questions import rounded_yaw, spoken, visible
from vlm2vla_sim.mini.training.text_tasks import written_difference

RETREAT = 3
"""[cm] by which the gripper rises after it has released an object."""
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

Pair = tuple[ObjectAnnotation, ObjectAnnotation]
"""The object to move, and the object to put it on."""
Rows = list[list[int]]
"""Action rows: dx, dy, dz [cm], yaw [degrees], gripper (0 closed, 1 open)."""


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
        yield ExpertLabel("plan", plan_prompt(subtask, state=state, located=True), plan, hard)
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


def plan_and_rows(annotation: SceneAnnotation, pair: Pair, *, putting: bool) -> tuple[str, Rows]:
    """The plan as text and its action rows; putting: the subtask is to put the object down, not to grasp it.

    An object that is to be put down and is neither held nor on its target was lost, and is grasped again.
    """
    source, target = pair
    held, stage = source.support == GRIPPER, STAGES[annotation.stage]
    if held and not putting:
        return f"the {spoken(source)} is in the gripper; move up a little", [[0, 0, 1, 0, 0]]
    if putting and source.support == target.class_name:
        return f"the {spoken(source)} is on the {spoken(target)}; move up a little", [[0, 0, 1, 0, 1]]
    goal, travel = target if held else source, stage.travel_height
    goal_x, goal_y = to_cm(goal.position[0]), to_cm(goal.position[1])
    low = _placement(target).release_height if held else stage.grasp_height + height_over_stage(annotation, source)
    above, here = [goal_x, goal_y, travel], [to_cm(value) for value in annotation.tcp_position]
    move = [end - start for end, start in zip(above, here, strict=True)]
    goal_text = f"the {spoken(goal)} is at {goal_x}, {goal_y}, {low}"
    move_text = f"move {direction_text(*move[:2])} above it, down"
    if held:
        rows = [[*move, 0, 0], [0, 0, low - travel, 0, 0], [0, 0, 0, 0, 1], [0, 0, RETREAT, 0, 1]]
        return f"{goal_text}; {written_difference(above, here)}; {move_text}, open the gripper", rows
    yaw, now = rounded_yaw(goal), gripper_yaw(annotation)
    if abs(yaw - now) > 180:  # the gripper is symmetric, and no row turns further
        yaw -= 180 if yaw > now else -180
    # Turn first: an arm that turns while it moves drifts sideways (`frames.advance_target`), by up to 3 cm.
    turn = [[0, 0, 0, yaw - now, 1]] if yaw != now else []
    rows = [*turn, [*move, 0, 1], [0, 0, low - travel, 0, 1], [0, 0, 0, 0, 0], [0, 0, travel - low, 0, 0]]
    difference = written_difference([*above, yaw], [*here, now])
    turn_text = "turn, " if turn else ""
    return f"{goal_text}, turned {yaw}; {difference}; {turn_text}{move_text}, close the gripper, up", rows


def subtask_texts(source: ObjectAnnotation, target: ObjectAnnotation) -> tuple[str, str]:
    """The two subtasks of putting `source` on `target`."""
    return (
        f"Grasp the {spoken(source)}",
        f"Put the {spoken(source)} {_placement(target).preposition} the {spoken(target)}",
    )


def is_target_free(annotation: SceneAnnotation, pair: Pair) -> bool:
    """Whether nothing but the source lies on the target, and nothing on the source."""
    source, target = pair
    classes = target.class_name, source.class_name
    return all(other is source or other.support not in classes for other in annotation.objects)


def height_over_stage(annotation: SceneAnnotation, source: ObjectAnnotation) -> int:
    """[cm] how much higher an object lies than it would on the stage itself."""
    if STAGES[annotation.stage].is_confined:
        return 0
    return max(0, to_cm(source.position[2] - _grasp(source).resting_height))


def state_text(annotation: SceneAnnotation) -> str:
    """The line of the prompt that describes the gripper."""
    euler = (0.0, 0.0, np.radians(annotation.gripper_yaw))
    return describe_state(np.array([*annotation.tcp_position, *euler, annotation.gripper_opening]))


def gripper_yaw(annotation: SceneAnnotation) -> int:
    """[degrees] the gripper's yaw as `state_text` has it."""
    return 5 * round(annotation.gripper_yaw / 5)


def direction_text(dx: int, dy: int) -> str:
    """The horizontal directions of a displacement [cm]."""
    parts = [(dx, "forward" if dx > 0 else "backward"), (dy, "left" if dy > 0 else "right")]
    return " and ".join(word for size, word in parts if size) or "a little"


def _entry(item: ObjectAnnotation) -> CatalogObject:
    return BY_CLASS[item.class_name]


def _grasp(item: ObjectAnnotation) -> Grasp:
    grasp = _entry(item).grasp
    assert grasp is not None, f"{item.class_name} cannot be grasped"
    return grasp


def _placement(item: ObjectAnnotation) -> Placement:
    placement = _entry(item).placement
    assert placement is not None, f"nothing can be put on {item.class_name}"
    return placement
