"""The types of a data set: a recorded trajectory, its labels, and one training example.

Every reader (LeRobot, BridgeData, RLDS), every labeler and the trainer use these types, in one convention for states
and actions. With a convention per data set, a model would learn mirrored directions from some of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.types import ACTION_SIZE, ActionChunk

STATE_SIZE = 7
"""x, y, z [m], roll, pitch, yaw [rad, Bridge convention], gripper openness [0..1]; base frame: `agent_pos`."""


class ImageSequence(Protocol):
    """The camera images of a trajectory, decoded on access, so that a data set may be larger than memory."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One recorded episode, in this package's convention for states and actions."""

    name: str
    """Where it comes from, unique in its data set: "bridge/00012"."""
    instruction: str
    fps: float
    """[Hz] of control steps; 5 in BridgeData V2 and SIMPLER."""
    images: ImageSequence
    """T images; image t is the observation before action t."""
    states: np.ndarray
    """(T, 7) float32, see STATE_SIZE; state t is measured before action t."""
    actions: np.ndarray
    """(T, 7) float32 as in `types.ACTION_SIZE`: control steps, whose deltas apply to the previous target."""
    success: bool | None = None
    """Whether the episode ended in success; None where the data set does not say."""
    instruction_en: str = ""
    """The instruction in English, where `instruction` is in another language or in other words; empty if not known."""
    solved: np.ndarray | None = None
    """(T,) bool, whether the task is solved after each action; None where the data set does not say."""
    camera: Camera | None = None
    """The camera of the images; None where its pose is not known."""

    def __post_init__(self) -> None:
        count = len(self.images)
        for field, width in (("states", STATE_SIZE), ("actions", ACTION_SIZE)):
            values = np.array(getattr(self, field), dtype=np.float32)
            if values.shape != (count, width):
                raise ValueError(f"{self.name}: {field} has shape {values.shape}; expected ({count}, {width}).")
            if not np.isfinite(values).all():
                raise ValueError(f"{self.name}: {field} contains a value that is not finite.")
            values.flags.writeable = False
            object.__setattr__(self, field, values)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Phase:
    """The part of a trajectory that corresponds to one policy decision: a subtask, a plan and an action chunk."""

    start: int
    """First frame."""
    stop: int
    """One past the last frame; the image after the phase is that of frame `stop`, if there is one."""
    subtask: str
    plan: str
    chunk: ActionChunk
    """The motion of the phase as rows that an `ActionFormat` can write; `text` is in the default format."""
    kind: str = ""
    """One of `relabel.kinds.KINDS`; empty where nobody has said."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"Phase {self.start}..{self.stop}: expected 0 <= start < stop.")


@dataclass(frozen=True)
class Agreement:
    """How far the labels of a model agree with those of rules; each share is 0 .. 1, None where nothing is compared."""

    borders: float | None
    """Of the rules' borders between subtasks, those at which the model begins a phase."""
    directions: float | None
    """Of the frames for which both plans name directions, those where they have one in common."""
    names: float | None
    """Of the words with which the rules name things, those that the model's subtasks have."""
    differences: tuple[str, ...] = ()
    """A sentence for each difference."""

    @property
    def score(self) -> float | None:
        """The mean of the known shares; None if none is known."""
        known = [share for share in (self.borders, self.directions, self.names) if share is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, eq=False)
class LabelledTrajectory:
    """A trajectory with its labels. The phases are contiguous, starting at frame 0."""

    trajectory: Trajectory
    subtasks: tuple[str, ...]
    """Each subtask once, in the order of execution: the answer of the loop's first stage."""
    phases: tuple[Phase, ...]
    agreement: Agreement | None = None
    """With the rules' labels; None for labels that are made by rules."""

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
    """One training example: images and prompt in, completion out."""

    stage: str
    """"subtasks", "plan", "action", "verify", or the category of a question."""
    images: tuple[np.ndarray, ...]
    """Each (H, W, 3) uint8 RGB; placed before the prompt, in this order."""
    prompt: str
    completion: str
    episode: str = ""
    """The name of the trajectory that it was made of; empty where there is none."""
