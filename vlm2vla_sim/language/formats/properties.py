"""What a format declares about its texts, and reading and writing with what it needs.

A format of the first version has none of it: its rows are motions of any length in the base frame. One that needs more
declares it in a record, `FormatProperties`, so that policies, training and evaluation ask the record and not for names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vlm2vla_sim.core.control_steps import CONTROL_HZ
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats.grid import MAX_ROWS
from vlm2vla_sim.language.formats.protocol import ActionFormat
from vlm2vla_sim.language.formats.statistics import ActionStatistics
from vlm2vla_sim.types import ActionChunk

POSE_SIZE = 7
"""x, y, z [m], roll, pitch, yaw [rad, fixed axes, 0 = gripper down], gripper [0 closed .. 1 open]; base frame. As
`Robot.agent_pos`, but commanded: the pose of the controller's target, and what the gripper was last told."""


@dataclass(frozen=True)
class FormatProperties:
    """What the texts of a format mean, and what reading them takes."""

    origin: str = ""
    """Whose dialect it is, with the source; empty for a format of this package."""
    unit: Literal["cm", "m", "bins", "words"] = "cm"
    """What lengths are written in; "bins" are whole numbers over the range of a data set."""
    rotation: Literal["rotation vector", "euler angles"] = "rotation vector"
    """What the three rotation numbers of a text are; Euler angles are about the fixed axes x, y, z, in this order."""
    frame: Literal["base", "gripper"] = "base"
    """Whose axes they refer to. Those of the gripper are the base's, turned as the gripper is turned from pointing
    down."""
    goals: bool = False
    """Whether the text says where to be, rather than how far to move."""
    span: Literal["motion", "step", "second"] = "motion"
    """What a row is: a motion of any length, one control step, or the motion of about a second."""
    gripper: Literal["two states", "continuous", "kept"] = "two states"
    """What the text says of the gripper; "kept": a row that does not mention it leaves it as it is."""
    max_rows: int = MAX_ROWS
    """The most rows that `write` takes."""
    statistics: bool = False
    """Whether its numbers depend on a data set, by an `ActionStatistics`."""
    prefix: bool = False
    """Whether words come before the numbers, which alone decide the motion."""
    recorded: bool = True
    """Whether training text can be made of recorded motion."""
    own_prompt: bool = False
    """Whether `rules` are the whole of what a prompt says about the action. If not, the prompt also says that there are
    at most 32 steps, of at most 50 cm and 180 degrees."""

    @property
    def needs_pose(self) -> bool:
        """Whether `read` and `write` take the argument `pose`, (7,) as `POSE_SIZE`."""
        return self.goals or self.frame == "gripper" or self.gripper == "kept"

    @property
    def stepwise(self) -> bool:
        """See `ActionChunk.stepwise`."""
        return self.span == "step"

    @property
    def row_steps(self) -> int:
        """See `ActionChunk.row_steps`."""
        return CONTROL_HZ if self.span == "second" else 0


def properties_of(action_format: ActionFormat) -> FormatProperties:
    """What `action_format` declares in its attribute `properties`; the defaults if it has none."""
    declared: Any = getattr(action_format, "properties", None)
    return declared if isinstance(declared, FormatProperties) else FormatProperties()


def read_action(action_format: ActionFormat, text: str, pose: np.ndarray | None) -> ActionChunk:
    """`action_format.read`, with the pose if it needs one.

    pose: (7,) as `POSE_SIZE`, at which the motion begins; None where it is unknown.
    """
    return action_format.read(text, **_pose_argument(action_format, pose))


def write_action(action_format: ActionFormat, deltas: np.ndarray, pose: np.ndarray | None) -> str:
    """`action_format.write`, with the pose if it needs one; see `read_action`."""
    return action_format.write(deltas, **_pose_argument(action_format, pose))


def in_pieces(action_format: ActionFormat, rows: np.ndarray, *, gripper: float) -> list[np.ndarray]:
    """`rows` as motions that the format can write, each (1 to max_rows, 7): the texts that say them, one by one.

    A format whose rows cannot be motions of any length has a method `pieces(rows, gripper)`, which returns rows that it
    can write. rows: (T, 7) as `ActionChunk.deltas`. gripper: what it was last told, 0 (closed) .. 1 (open).
    """
    pieces = getattr(action_format, "pieces", None)
    rows = np.asarray(pieces(rows, gripper) if callable(pieces) else rows)
    most = properties_of(action_format).max_rows
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def describe_format(action_format: ActionFormat) -> dict[str, object]:
    """What is recorded of a format that declares properties, as plain values; empty for one that does not."""
    if not isinstance(getattr(action_format, "properties", None), FormatProperties):
        return {}
    properties = properties_of(action_format)
    found: dict[str, object] = {"name": action_format.name, "span": properties.span, "unit": properties.unit}
    found |= {"frame": properties.frame, "rules": action_format.rules}
    statistics = getattr(action_format, "statistics", None)
    if isinstance(statistics, ActionStatistics):
        found["statistics"] = statistics.to_json()
    return found


def check_pose(pose: np.ndarray | None, name: str) -> np.ndarray:
    """`pose`, (7,) as `POSE_SIZE`; SettingError if it is unknown."""
    if pose is None:
        raise SettingError(
            f"Actions of the format {name!r} depend on the arm's pose, which is not known here. Use a format whose "
            "texts are motions, such as 'vlm2vla', or read them where the arm is (an environment, a recording)."
        )
    pose = np.asarray(pose, dtype=np.float64)
    if pose.shape != (POSE_SIZE,) or not np.isfinite(pose).all():
        raise SettingError(f"The arm's pose is {pose.tolist()}; expected {POSE_SIZE} finite numbers as `POSE_SIZE`.")
    return pose


def carried(rows: Sequence[float], step: float) -> list[int]:
    """Whole steps for each of `rows`, whose sum is that of `rows` to within half a step: the rounding is carried on."""
    total, said, found = 0.0, 0, []
    for value in rows:
        total += value
        found.append(round(total / step) - said)
        said += found[-1]
    return found


def _pose_argument(action_format: ActionFormat, pose: np.ndarray | None) -> dict[str, Any]:
    return {"pose": pose} if properties_of(action_format).needs_pose else {}
