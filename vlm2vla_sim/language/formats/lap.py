"""The formats of LAP: `lap`, one sentence for about a second of motion, `lap-gripper`, `lap-compact`.

Words, order, rounding and signs are those of LAP's own writer and reader (lihzha/lap@3958d14 action_text.py,
lang_action_formats.py; arXiv 2602.10556). Where its reader leaves a part of a sentence out, ours refuses the sentence.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, replace

import numpy as np

from vlm2vla_sim.core.control_steps import CONTROL_HZ, StepLimits
from vlm2vla_sim.core.rotations import euler_sxyz_to_matrix, euler_sxyz_to_rotvec, rotvec_to_euler_sxyz
from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS, Resolution, check_deltas, check_range
from vlm2vla_sim.language.formats.lap_reader import LapReader
from vlm2vla_sim.language.formats.properties import FormatProperties, carried, check_pose
from vlm2vla_sim.language.words import CLOSE, OPEN
from vlm2vla_sim.types import ActionChunk

ONE = np.array([[0.03, 0, -0.08, 0, 0, 0, 1]])
"""(1, 7) as `ActionChunk.deltas`: the example."""
_PHRASES = (
    (0, "move forward", "move back"),
    (2, "move up", "move down"),
    (1, "move left", "move right"),
    (3, "tilt left", "tilt right"),
    (4, "tilt back", "tilt forward"),
    (5, "rotate counterclockwise", "rotate clockwise"),
)
"""The order in which LAP writes the columns, and the words for plus and minus."""
_MOST = (50, 50, 50, 180, 90, 180)
"""The largest amounts; the second Euler angle ends at 90 degrees."""
ORIGIN = "LAP, lihzha/lap@3958d14"


@dataclass(frozen=True)
class LapFormat:
    """`move forward 3 cm, move down 8 cm, open gripper`.

    >>> LapFormat().write(ONE)
    'move forward 3 cm, move down 8 cm, open gripper'
    >>> LapFormat().read("move left slightly, tilt up 10 degrees, set gripper to 0.3").deltas.round(3).tolist()
    [[0.0, 0.014999999664723873, 0.0, 0.0, -0.17499999701976776, 0.0, 0.30000001192092896]]
    """

    name = "lap"
    properties = FormatProperties(
        ORIGIN, rotation="euler angles", span="second", gripper="continuous", max_rows=1, own_prompt=True
    )
    resolution = Resolution(translation=0.01, rotation=10)

    @property
    def example(self) -> str:
        """`ONE` in this format, in the base frame."""
        return LapFormat.write(self, ONE)

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        axes = (
            "as the robot sees it" if self.properties.frame == "base" else "as the gripper, seen from above, is turned"
        )
        return (
            "Say in one sentence what the gripper does in the next second: move forward, back, up, down, left or "
            f"right ({axes}) with the distance in cm, tilt left, right, back or forward (where the fingertips go) or "
            "rotate clockwise or counterclockwise (seen from above) with the angle in tens of degrees; leave out what "
            "is zero, and end with open gripper or close gripper."
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`; one row."""
        (row,) = check_deltas(deltas, 1)
        return self._say(row)

    def read(self, text: str, *, gripper: float | None = None) -> ActionChunk:
        """See `ActionFormat.read`. Several moves along an axis add up.

        gripper: how the gripper is now, 0 (closed) .. 1 (open), for a sentence that does not mention it. None, which is
        what policies use: every sentence has to.
        """
        return self._chunk(self._numbers(text, gripper), text)

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return _grammar()

    def pieces(self, rows: np.ndarray, gripper: float) -> np.ndarray:
        """See `properties.in_pieces`: a row of more than a second at the arm's pace becomes several."""
        return _pieces(rows, gripper, self.resolution)

    def _say(self, row: np.ndarray) -> str:
        cm = [round(float(value) * 100.0) for value in row[:3]]
        degrees = to_degrees(row[3:6], 10)
        amounts = [*cm, *degrees]
        for column, amount in enumerate(amounts):
            check_range(column, amount, 1)
        said = [
            f"{plus if amounts[column] > 0 else minus} {abs(amounts[column])} {COLUMNS[column].unit}"
            for column, plus, minus in _PHRASES
            if amounts[column]
        ]
        return ", ".join([*said, OPEN if row[6] >= 0.5 else CLOSE])

    def _numbers(self, text: str, gripper: float | None) -> list[float]:
        """dx, dy, dz [cm], roll, pitch, yaw [degrees], gripper."""
        return LapReader(TextCursor(text, format_name=self.name, example=self.example), gripper).read_row()

    def _chunk(self, numbers: list[float], text: str) -> ActionChunk:
        move, euler = np.array(numbers[:3]) / 100.0, np.radians(numbers[3:6])
        row = [*move, *euler_sxyz_to_rotvec(euler), numbers[6]]
        return ActionChunk(np.array([row]), text, row_steps=self.properties.row_steps)


@dataclass(frozen=True)
class LapGripperFormat(LapFormat):
    """`lap` in the frame of the gripper at the start: forward and left turn with it. LAP's format for wrist cameras.

    LAP counts a gripper frame whose z axis points along the fingers and then mirrors y and z; for a gripper that points
    straight down without a turn, both frames are the base's.

    >>> turned = np.array([0, 0, 0, 0, 0, np.pi / 2, 1])
    >>> LapGripperFormat().read("move forward 3 cm, open gripper", pose=turned).deltas[0, :3].round(3).tolist()
    [0.0, 0.029999999329447746, 0.0]
    """

    name = "lap-gripper"
    properties = replace(LapFormat.properties, frame="gripper")

    def write(self, deltas: np.ndarray, *, pose: np.ndarray | None = None) -> str:
        """See `ActionFormat.write`; one row. pose: (7,) as `properties.POSE_SIZE`."""
        (row,) = check_deltas(deltas, 1)
        turn = euler_sxyz_to_matrix(check_pose(pose, self.name)[3:6])
        return self._say(np.array([*(turn.T @ row[:3]), *(turn.T @ row[3:6]), row[6]]))

    def read(self, text: str, *, gripper: float | None = None, pose: np.ndarray | None = None) -> ActionChunk:
        """See `LapFormat.read`. pose: (7,) as `properties.POSE_SIZE`."""
        turn = euler_sxyz_to_matrix(check_pose(pose, self.name)[3:6])
        chunk = self._chunk(self._numbers(text, gripper), text)
        row = chunk.deltas[0].astype(np.float64)
        base = np.array([[*(turn @ row[:3]), *(turn @ row[3:6]), row[6]]])
        return ActionChunk(base, text, row_steps=chunk.row_steps)


@dataclass(frozen=True)
class LapCompactFormat:
    """`<+03 +00 -08 +00 +00 +00 1>`: dx, dy, dz [cm], roll, pitch, yaw [degrees], gripper.

    >>> LapCompactFormat().write(ONE)
    '<+03 +00 -08 +00 +00 +00 1>'
    >>> LapCompactFormat().read("<+03 -02 +00 1>").deltas.round(3).tolist()
    [[0.029999999329447746, -0.019999999552965164, 0.0, 0.0, 0.0, 0.0, 1.0]]
    """

    name = "lap-compact"
    resolution = Resolution(translation=0.01, rotation=5)
    properties = FormatProperties(ORIGIN, rotation="euler angles", span="second", max_rows=1, own_prompt=True)

    @property
    def example(self) -> str:
        """`ONE` in this format."""
        return self.write(ONE)

    @property
    def rules(self) -> str:
        """The rules of the format, for the prompt."""
        return (
            "Write what the gripper does in the next second as one row in angle brackets: dx, dy, dz in whole cm, "
            "roll, pitch, yaw in whole degrees, each with a sign and at least two digits, then 1 for open or 0 for "
            "closed."
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`; one row."""
        (row,) = check_deltas(deltas, 1)
        amounts = [*(round(float(value) * 100.0) for value in row[:3]), *to_degrees(row[3:6], 5)]
        for column, amount in enumerate(amounts):
            check_range(column, amount, 1)
        return f"<{' '.join(f'{amount:+03d}' for amount in amounts)} {int(row[6] >= 0.5)}>"

    def read(self, text: str) -> ActionChunk:
        """See `ActionFormat.read`. Prose around the brackets is ignored; without the angles there is no rotation."""
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        numbers = _read_brackets(cursor)
        move, euler = np.array(numbers[:3]) / 100.0, np.radians(numbers[3:6])
        row = [*move, *euler_sxyz_to_rotvec(euler), numbers[6]]
        return ActionChunk(np.array([row]), text, row_steps=self.properties.row_steps)

    def is_self_delimiting(self, text: str) -> bool:
        """See `ActionFormat`: the bracket ends it."""
        return True

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return _compact_grammar()

    def pieces(self, rows: np.ndarray, gripper: float) -> np.ndarray:
        """See `LapFormat.pieces`."""
        return _pieces(rows, gripper, self.resolution)


def to_degrees(rotvec: np.ndarray, step: int) -> list[int]:
    """A rotation vector [rad] as Euler angles in whole `step` degrees, rounded as LAP does."""
    return [int(round(float(angle) * 180.0 / np.pi / step) * step) for angle in rotvec_to_euler_sxyz(rotvec)]


def _pieces(rows: np.ndarray, gripper: float, resolution: Resolution) -> np.ndarray:
    """Rows of at most a second at the arm's pace, whose rounded amounts add up to the whole.

    A row in which nothing happens is left out beside others: each of them takes a second, in which the arm arrives.
    """
    limits, found = StepLimits(), []
    second = np.array([limits.step, limits.turn]) * CONTROL_HZ
    steps = [resolution.translation] * 3 + [math.radians(resolution.rotation)] * 3
    for row in np.asarray(rows, dtype=np.float64):
        if len(rows) > 1 and not row[:6].any() and row[6] == gripper:
            continue
        lengths = np.array([np.linalg.norm(row[:3]), np.linalg.norm(row[3:6])])
        parts = max(1, math.ceil((lengths / second).max() - 1e-6))
        said = np.array([carried([v / parts] * parts, step) for v, step in zip(row[:6], steps, strict=True)]).T * steps
        found += [[*piece, gripper] for piece in said[:-1]] + [[*said[-1], row[6]]]
        gripper = float(row[6])
    return np.array(found or rows[-1:])


_NUMBER = r"([+-][0-9]{1,4})\s+"
_BRACKETS = re.compile(rf"<\s*{_NUMBER}{_NUMBER}{_NUMBER}(?:{_NUMBER}{_NUMBER}{_NUMBER})?([0-9])\s*>")


def _read_brackets(cursor: TextCursor) -> list[float]:
    """dx, dy, dz [cm], roll, pitch, yaw [degrees], gripper."""
    rows = list(_BRACKETS.finditer(cursor.plain))
    if not rows:
        at = max(cursor.plain.find("<"), 0)
        raise cursor.error(f"there is no row of signed whole numbers in angle brackets; {cursor.expected}", at)
    if len(rows) > 1 and len({row.groups() for row in rows}) > 1:
        raise cursor.error("a second row with other numbers; expected one row.", rows[1].start())
    *motion, gripper = rows[0].groups()
    numbers = [float(number or 0) for number in motion]
    for column, value in enumerate(numbers):
        at = rows[0].start(column + 1)
        cursor.check_motion(column, value, row=1, at=max(at, rows[0].start()))
    if gripper not in "01":
        at = rows[0].start(7)
        raise cursor.error(f"the gripper is {gripper}; expected 1 (open) or 0 (closed).", at)
    return [*numbers, float(gripper)]


def sentence_pattern() -> g.Pattern:
    """The sentences that `LapFormat.write` produces."""

    def phrase(column: int, plus: str, minus: str) -> g.Pattern:
        unit = COLUMNS[column].unit
        amounts = range(10, _MOST[column] + 1, 10) if unit == "degrees" else range(1, _MOST[column] + 1)
        name = "CM" if unit == "cm" else f"DEGREES_{_MOST[column]}"
        said = g.Choice((g.Literal(f"{plus} "), g.Literal(f"{minus} ")))
        return g.optional(g.Sequence((said, g.Rule(name, g.Numerals.of(amounts)), g.Literal(f" {unit}, "))))

    gripper = g.Choice((g.Literal(OPEN), g.Literal(CLOSE)))
    return g.Sequence((*(phrase(*words) for words in _PHRASES), gripper))


@functools.cache
def _grammar() -> g.Grammar:
    return g.compile_grammar(sentence_pattern())


@functools.cache
def _compact_grammar() -> g.Grammar:
    def number(column: int) -> g.Pattern:
        most, step = _MOST[column], 1 if column < 3 else 5
        texts = frozenset(f"{amount:+03d}" for amount in range(-most, most + 1, step))
        return g.Rule(f"{COLUMNS[column].unit.upper()}_{most}", g.Numerals(texts))

    cells = [part for column in range(6) for part in (number(column), g.Literal(" "))]
    return g.compile_grammar(g.Sequence((g.Literal("<"), *cells, g.Numerals.of("01"), g.Literal(">"))))
