"""The format `goal-json`: where the gripper is to be, as JSON, instead of how far it is to move.

Language models that nobody trained for robots are asked for goals like these (Isaac Lab-Arena, ManiAgent). The reader
takes the arm's pose and returns the motion from there.
"""

from __future__ import annotations

import functools
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import euler_sxyz_to_matrix, matrix_to_euler_sxyz, matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.errors import ActionError
from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import Resolution, check_deltas
from vlm2vla_sim.language.formats.properties import FormatProperties, check_pose
from vlm2vla_sim.language.formats.rows import EXAMPLE
from vlm2vla_sim.types import ActionChunk

MAX_GOALS = 8
BOX = ((0, 60), (-50, 50), (-5, 50))
"""[cm] where a goal may be: x, y, z in the base frame, a box around what the arm reaches."""
TURNS = (180, 90, 180)
"""[degrees] the largest roll, pitch and yaw of a goal."""
STATES = {"open": 1.0, "opened": 1.0, "closed": 0.0, "close": 0.0}
KEYS = ("position", "rotation", "gripper")
EXAMPLE_POSE = np.array([0.3, 0.0, 0.2, 0, 0, 0, 1])
"""(7,) as `properties.POSE_SIZE`: where the example begins."""
_METRES_BELOW = 1.0
"""[cm] A position all of whose numbers are below this is inside the arm's foot: metres."""


@dataclass(frozen=True)
class GoalJsonFormat:
    """`{"goals": [{"position": [33, 0, 12], "rotation": [0, 0, 0], "gripper": "open"}]}`: cm and degrees.

    >>> start = np.array([0.30, 0.01, 0.2, 0, 0, 0, 1])
    >>> chunk = GoalJsonFormat().read('{"position": [33, 0, 12], "gripper": "open"}', pose=start)
    >>> chunk.deltas[0, :3].astype(float).round(3).tolist()
    [0.03, -0.01, -0.08]
    """

    resolution: Resolution = field(default_factory=Resolution)

    name = "goal-json"
    properties = FormatProperties(
        origin="absolute goals as zero-shot systems write them", goals=True, max_rows=MAX_GOALS, own_prompt=True
    )

    @property
    def example(self) -> str:
        """`EXAMPLE` from `EXAMPLE_POSE` on."""
        return self.write(EXAMPLE, pose=EXAMPLE_POSE)

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        (x0, x1), (y0, y1), (z0, z1) = BOX
        return (
            f"Write a JSON object with a list of goals, at most {MAX_GOALS}, that the gripper goes to one after the "
            "other. Each has its position [x, y, z] in cm in the axes of the robot's base (x forward, y left, z up; "
            f"x {x0} to {x1}, y {y0} to {y1}, z {z0} to {z1}), its rotation [roll, pitch, yaw] in degrees, where "
            "[0, 0, 0] is pointing down and not turned, and gripper, open or closed, which it does once it is there."
        )

    def write(self, deltas: np.ndarray, *, pose: np.ndarray | None = None) -> str:
        """See `ActionFormat.write`. pose: (7,) as `properties.POSE_SIZE`, from which the deltas lead."""
        deltas, pose = check_deltas(deltas, MAX_GOALS), check_pose(pose, self.name)
        position, turn = pose[:3].copy(), euler_sxyz_to_matrix(pose[3:6])
        goals = []
        for number, row in enumerate(deltas, start=1):
            position = position + row[:3]
            turn = rotvec_to_matrix(row[3:6]) @ turn
            cm = self._rounded(100 * position, 0)
            for axis, value, (low, high) in zip("xyz", cm, BOX, strict=True):
                if not low <= value <= high:
                    raise ActionError(f"Goal {number} is at {axis} = {value:g} cm; expected {low} to {high} cm.")
            degrees = self._rounded(np.degrees(matrix_to_euler_sxyz(turn)), 3)
            goals.append({"position": cm, "rotation": degrees, "gripper": "open" if row[6] > 0.5 else "closed"})
        return json.dumps({"goals": goals})

    def read(self, text: str, *, pose: np.ndarray | None = None) -> ActionChunk:
        """See `ActionFormat.read`; the motion from `pose`, (7,) as `properties.POSE_SIZE`, to the goals.

        Prose around the object is ignored. A list of goals, or one alone, may stand for the object; a goal without
        rotation keeps the rotation before it.
        """
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        pose = check_pose(pose, self.name)
        position, turn = pose[:3], euler_sxyz_to_matrix(pose[3:6])
        rows = []
        for goal, at in _find_goals(cursor):
            there, angles, gripper = _read_goal(cursor, goal, at)
            then = turn if angles is None else euler_sxyz_to_matrix(np.radians(angles))
            rows.append([*(there / 100 - position), *matrix_to_rotvec(then @ turn.T), gripper])
            position, turn = there / 100, then
        return ActionChunk(np.array(rows), text)

    def is_self_delimiting(self, text: str) -> bool:
        """See `ActionFormat`: the outermost bracket ends it."""
        return True

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return _grammar(self.resolution)

    def _rounded(self, values: np.ndarray, column: int) -> list[int | float]:
        step = float(self.resolution.steps[column])
        rounded = [round(round(float(value) / step) * step, 2) + 0.0 for value in values]
        return [int(value) if value == int(value) else value for value in rounded]


def _find_goals(cursor: TextCursor) -> list[tuple[Any, int]]:
    """The goals of the first JSON value in the text, and where it begins."""
    start, end = cursor.inside_fence()
    match = re.compile(r"[\[{]").search(cursor.plain, start, end)
    if match is None:
        raise cursor.error(f"there is no JSON object; {cursor.expected}", start)
    at = match.start()
    try:
        value, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(cursor.plain[:end], at)
    except json.JSONDecodeError as error:
        raise cursor.error(f"the JSON cannot be read: {error.msg}.", min(error.pos, len(cursor.text))) from error
    except (ValueError, RecursionError) as error:
        raise cursor.error(f"the JSON cannot be read: {error}.", at) from error
    if isinstance(value, dict) and set(value) == {"goals"}:
        value = value["goals"]
    goals = [value] if isinstance(value, dict) else value
    if not isinstance(goals, list) or not goals:
        raise cursor.error(f"there are no goals; {cursor.expected}", at)
    if len(goals) > MAX_GOALS:
        raise cursor.error(f"there are {len(goals)} goals; at most {MAX_GOALS} are read.", at)
    return [(goal, at) for goal in goals]


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _read_goal(cursor: TextCursor, goal: Any, at: int) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Position (3,) [cm], Euler angles (3,) [degrees] or None, and gripper."""
    if not isinstance(goal, dict) or "position" not in goal or not set(goal) <= set(KEYS):
        given = ", ".join(map(repr, goal)) if isinstance(goal, dict) else type(goal).__name__
        raise cursor.error(f"a goal is {given or 'empty'}; expected the keys {', '.join(KEYS)}.", at)
    position = _three(cursor, goal["position"], "position", at)
    if np.abs(position).max() < _METRES_BELOW:
        shown = ", ".join(f"{value:g}" for value in position)
        raise cursor.error(
            f"the position is [{shown}] in cm, inside the arm's foot: it is almost certainly metres.", at
        )
    for axis, value, (low, high) in zip("xyz", position, BOX, strict=True):
        if not low <= value <= high:
            raise cursor.error(f"a goal is at {axis} = {value:g} cm; expected {low} to {high} cm.", at)
    angles = None if goal.get("rotation") is None else _three(cursor, goal["rotation"], "rotation", at)
    if angles is not None and (np.abs(angles) > 180).any():
        raise cursor.error(f"the rotation is {angles.tolist()}; expected -180 to 180 degrees.", at)
    gripper = goal.get("gripper")
    state = STATES.get(gripper.lower()) if isinstance(gripper, str) else gripper
    if isinstance(state, bool) or not isinstance(state, (int, float)) or state not in (0, 1):
        raise cursor.error(f"the gripper is {gripper!r}; expected 'open' or 'closed'.", at)
    return position, angles, float(state)


def _three(cursor: TextCursor, values: Any, name: str, at: int) -> np.ndarray:
    numbers = isinstance(values, list) and len(values) == 3
    if not numbers or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise cursor.error(f"the {name} is {str(values)[:40]}; expected three numbers.", at)
    if not all(abs(value) < 1e6 and math.isfinite(value) for value in values):
        raise cursor.error(f"the {name} has a number that is too large.", at)
    return np.array(values, dtype=np.float64)


@functools.cache
def _grammar(resolution: Resolution) -> g.Grammar:
    def number(name: str, low: float, high: float, column: int) -> g.Pattern:
        step = float(resolution.steps[column])
        whole = range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)
        values = [round(step * count, 2) for count in whole]
        return g.Rule(name, g.Numerals.of(int(value) if value == int(value) else value for value in values))

    def three(key: str, ranges: tuple[tuple[float, float], ...], column: int) -> list[g.Pattern]:
        cells: list[g.Pattern] = [g.Literal(f'"{key}": [')]
        for axis, (low, high) in zip("XYZ", ranges, strict=True):
            cells += [number(f"{key.upper()}_{axis}", low, high, column), g.Literal(", ")]
        return [*cells[:-1], g.Literal("], ")]

    turns = tuple((-most, most) for most in TURNS)
    gripper = (g.Literal('"gripper": "'), g.Choice((g.Literal("open"), g.Literal("closed"))), g.Literal('"}'))
    # A position of small numbers alone is metres: x is at least 1.
    box = ((math.ceil(_METRES_BELOW), BOX[0][1]), *BOX[1:])
    parts = (g.Literal("{"), *three("position", box, 0), *three("rotation", turns, 3), *gripper)
    goals = g.rows_of(g.Rule("goal", g.Sequence(parts)), ", ", MAX_GOALS)
    return g.compile_grammar(g.Sequence((g.Literal('{"goals": ['), goals, g.Literal("]}"))))
