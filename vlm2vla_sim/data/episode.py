"""The values of a data set: a recorded trajectory, the words for its parts, and one row of training text.

Every reader (LeRobot, BridgeData, RLDS), every labeller and the trainer meet here. If each kept its own convention, a
model would learn directions from one data set that are another's mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vlm2vla_sim.types import ACTION_SIZE, ActionChunk

STATE_SIZE = 7
"""x, y, z [m], roll, pitch, yaw [rad, Bridge convention], gripper openness [0..1]; base frame: `agent_pos`."""


class Pictures(Protocol):
    """The camera's pictures of a trajectory, read when they are asked for, so that a data set may exceed memory."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One recorded episode, in this project's one convention."""

    name: str
    """Where it is from, unique in its data set: "bridge/00012"."""
    instruction: str
    fps: float
    """[Hz] of control steps; BridgeData V2 and SIMPLER have 5."""
    pictures: Pictures
    """T of them: what was seen before the action of the same number."""
    states: np.ndarray
    """(T, 7) float32, see STATE_SIZE: before the action of the same number."""
    actions: np.ndarray
    """(T, 7) float32 as in `types.ACTION_SIZE`: steps, whose deltas apply to the previous target."""

    def __post_init__(self) -> None:
        count = len(self.pictures)
        for field, width in (("states", STATE_SIZE), ("actions", ACTION_SIZE)):
            values = np.array(getattr(self, field), dtype=np.float32)
            if values.shape != (count, width):
                raise ValueError(f"{self.name}: {field} has shape {values.shape}; expected ({count}, {width}).")
            if not np.isfinite(values).all():
                raise ValueError(f"{self.name}: {field} holds a number that is not finite.")
            values.flags.writeable = False
            object.__setattr__(self, field, values)

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, eq=False)
class Phase:
    """A stretch of a trajectory that one decision would have made: its subtask, its plan, its motion."""

    start: int
    """First frame."""
    stop: int
    """One past the last frame; the picture after the phase is that of `stop`, where there is one."""
    subtask: str
    plan: str
    chunk: ActionChunk
    """The motion reached, as rows that an `ActionFormat` can write; `text` is the default format's."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"Phase {self.start}..{self.stop}: expected 0 <= start < stop.")


@dataclass(frozen=True, eq=False)
class Labelled:
    """A trajectory with its words. The phases follow one another without a gap."""

    trajectory: Trajectory
    subtasks: tuple[str, ...]
    """Each once, in the order in which they are done: the answer of the first stage."""
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        ends = [0, *(phase.stop for phase in self.phases)]
        if any(phase.start != end for phase, end in zip(self.phases, ends, strict=False)):
            raise ValueError(f"{self.trajectory.name}: its phases leave a gap or overlap.")
        if ends[-1] > len(self.trajectory):
            raise ValueError(f"{self.trajectory.name}: its phases end at {ends[-1]} of {len(self.trajectory)} frames.")
        unknown = {phase.subtask for phase in self.phases} - set(self.subtasks)
        if unknown:
            raise ValueError(f"{self.trajectory.name}: phases name subtasks that are not listed: {sorted(unknown)}.")


@dataclass(frozen=True, eq=False)
class Example:
    """One row of training text: what the model sees, what it is asked, what it is to say."""

    stage: str
    """"subtasks", "plan", "action", "verify", or the category of a question."""
    images: tuple[np.ndarray, ...]
    """Each (H, W, 3) uint8 RGB; they stand before the prompt, in this order."""
    prompt: str
    completion: str
