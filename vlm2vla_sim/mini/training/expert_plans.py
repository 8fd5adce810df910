"""The expert's plan for a subtask, and its action rows.

A plan states the position of the object, writes out the calculation of the motion, and names the motion; the rows
follow from it. A model this small can do the calculation only if it is written out (docs/log.md).
"""

from __future__ import annotations

from vlm2vla_sim.mini.scenes.annotation import GRIPPER, ObjectAnnotation, SceneAnnotation, to_cm
from vlm2vla_sim.mini.scenes.object_catalog import BY_CLASS, Grasp, Placement
from vlm2vla_sim.mini.scenes.stages import STAGES
from vlm2vla_sim.mini.training.scene_questions import rounded_yaw, spoken
from vlm2vla_sim.mini.training.text_tasks import written_difference

RETREAT = 3
"""[cm] by which the gripper rises after it has released an object."""

Pair = tuple[ObjectAnnotation, ObjectAnnotation]
"""The object to move, and the object to put it on."""
Rows = list[list[int]]
"""Action rows: dx, dy, dz [cm], yaw [degrees], gripper (0 closed, 1 open)."""


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


def height_over_stage(annotation: SceneAnnotation, source: ObjectAnnotation) -> int:
    """[cm] how much higher an object lies than it would on the stage itself."""
    if STAGES[annotation.stage].is_confined:
        return 0
    return max(0, to_cm(source.position[2] - _grasp(source).resting_height))


def gripper_yaw(annotation: SceneAnnotation) -> int:
    """[degrees] the gripper's yaw as `state_text` has it."""
    return 5 * round(annotation.gripper_yaw / 5)


def direction_text(dx: int, dy: int) -> str:
    """The horizontal directions of a displacement [cm]."""
    parts = [(dx, "forward" if dx > 0 else "backward"), (dy, "left" if dy > 0 else "right")]
    return " and ".join(word for size, word in parts if size) or "a little"


def _grasp(item: ObjectAnnotation) -> Grasp:
    grasp = BY_CLASS[item.class_name].grasp
    assert grasp is not None, f"{item.class_name} cannot be grasped"
    return grasp


def _placement(item: ObjectAnnotation) -> Placement:
    placement = BY_CLASS[item.class_name].placement
    assert placement is not None, f"nothing can be put on {item.class_name}"
    return placement
