"""The values that modules hand to one another: poses, scenes, action chunks, decisions, results.

They check shapes, units and ranges when they are made, so that a mistake is found where it is made.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ACTION_SIZE = 7
"""dx, dy, dz [m], rotation vector [rad], gripper [0 closed .. 1 open, absolute]; base frame,
+x forward, +y left, +z up."""


def frozen_array(values: object, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A read-only float64 copy of `values`; ValueError unless it has `shape` and every number is finite."""
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that is not finite: {array.tolist()}.")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Pose:
    """Position and orientation of a body, in the robot's base frame unless its owner says otherwise."""

    position: np.ndarray
    """(3,) float64, x, y, z [m]."""
    quaternion: np.ndarray
    """(4,) float64, w, x, y, z; of unit length."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", frozen_array(self.position, (3,), "Pose.position"))
        quaternion = frozen_array(self.quaternion, (4,), "Pose.quaternion")
        if abs(float(np.linalg.norm(quaternion)) - 1.0) > 1e-3:
            raise ValueError(f"Pose.quaternion is not of unit length: {quaternion.tolist()}.")
        object.__setattr__(self, "quaternion", quaternion)


@dataclass(frozen=True, eq=False)
class Body:
    """The ground truth of an object in the scene."""

    name: str
    """As in `envs.tasks`, for example "carrot"."""
    pose: Pose
    """Of the centre of mass, base frame."""
    extents: np.ndarray
    """(3,) float64 [m], full lengths of the box SIMPLER declares for the object, in the object's own axes."""
    container: bool = False
    """Whether objects are put into it rather than on it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "extents", frozen_array(self.extents, (3,), "Body.extents"))


@dataclass(frozen=True)
class Touch:
    """What an object touches."""

    touching: frozenset[str]
    """By name, the robot aside."""
    touches_robot: bool
    grasped: bool
    """As `SceneState.grasped`."""


@dataclass(frozen=True, eq=False)
class SceneState:
    """Ground truth of the scene, which a simulator knows: the judge and the scripted upper bound read it."""

    source: Body
    """The object to be moved."""
    target: Body
    """The object it is to be put on (or into)."""
    touching: frozenset[str]
    """What the source touches besides the target and the robot, by name ("table", "sink", ...)."""
    grasped: bool
    """Both fingers press on the source, each within 60 degrees of the opening direction."""
    on_target: bool | None = None
    """The simulator's own verdict, where a backend reports it in place of SIMPLER's rule; None: the judge decides."""
    touches_target: bool | None = None
    """The source presses against the target, or a part of it. None, here and below: the backend does not report it."""
    touches_robot: bool | None = None
    """The source presses against any link of the robot."""
    others: tuple[Body, ...] = ()
    """Further objects that can be moved: candidates, objects of further goals, distractors."""
    touches: Mapping[str, Touch] = field(default_factory=dict)
    """What each of the task's own further objects touches; a distractor has no entry."""


@dataclass(frozen=True, eq=False)
class RobotState:
    """The measured and the commanded state of the gripper; base frame."""

    tcp: Pose
    target: Pose
    """The controller's own target, to which the next delta is applied."""
    gripper: float
    """Measured opening, 0 closed .. 1 open."""


@dataclass(frozen=True, eq=False)
class Status:
    """The state of robot and scene after a control step."""

    robot: RobotState
    scene: SceneState | None
    """None where the backend does not know it, as on a real arm."""


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """A motion, with the text it was read from."""

    deltas: np.ndarray
    """(T >= 1, 7) float32: dx, dy, dz [m], rotation vector [rad], gripper [0 closed .. 1 open]; base frame.
    A row may be larger than one control step: `envs.motion` splits it."""
    text: str
    stepwise: bool = False
    """Every row is one control step and goes to the arm unchanged: for policies that predict control steps."""
    row_steps: int = 0
    """The fewest control steps of a row, for text in which a row means a time: 5 for about a second. 0: as few as the
    arm's limits allow. With `stepwise` it has no meaning."""

    def __post_init__(self) -> None:
        deltas = np.array(self.deltas, dtype=np.float32)
        if deltas.ndim != 2 or deltas.shape[1] != ACTION_SIZE or deltas.shape[0] < 1:
            raise ValueError(f"ActionChunk.deltas has shape {deltas.shape}; expected (T >= 1, {ACTION_SIZE}).")
        if not np.isfinite(deltas).all():
            raise ValueError("ActionChunk.deltas holds a number that is not finite.")
        gripper = deltas[:, 6]
        if gripper.min() < 0.0 or gripper.max() > 1.0:
            raise ValueError(f"ActionChunk gripper values must lie in 0 (closed) .. 1 (open): {gripper.tolist()}.")
        deltas.flags.writeable = False
        object.__setattr__(self, "deltas", deltas)


@dataclass(frozen=True)
class Stage:
    """One answer of a language model: the question's stage, the text, and what it cost."""

    name: str
    """"subtasks", "plan", "action" or "verify"; "remote" for a server that answers in numbers."""
    text: str
    tokens: int | None = 0
    """Written by the model, its reasoning and those that a grammar forced included; None where a server does not
    say."""
    seconds: float = 0.0
    error: str = ""
    """Why the text could not be used, where it could not; every answer of a model that is asked again is kept."""
    retries: int = 0
    """How often the question was sent again because a server did not answer it."""
    finish: str = ""
    """Why the answer ended: "stop" (the model or the grammar ended it), "length" (it was cut off at the token limit);
    empty where nobody said."""
    prompt_tokens: int | None = None
    """Of the question, pictures included, as a server counts them; None, here and below, where it is not known."""
    cached_tokens: int | None = None
    """Of `prompt_tokens`, those that the server had computed before."""
    cost: float | None = None
    """Money, by the prices that were declared (`policies.models.prices`), in their currency."""
    reasoning: str = ""
    """What the model wrote before its answer, where it was made to think; no part of `text`."""
    reasoning_tokens: int | None = 0
    """Those of `tokens` that are the reasoning, its marks included; None where a server does not say."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What a policy decides to do next, in its own text."""

    subtask: str
    plan: str
    action: str
    """The action text exactly as the policy wrote it. For a policy that answers in numbers, a description of the motion
    that is marked as ours."""
    chunk: ActionChunk | None
    """The motion read from `action`; None when it could not be read, which counts as a parse failure."""
    stages: tuple[Stage, ...] = ()
    parse_failures: int = 0
    """Action texts of this decision that could not be read, resampled ones included."""
    error: str = ""
    """Why `action` could not be read."""

    def to_json(self) -> dict[str, object]:
        """Plain values for one entry of `decisions` in results.jsonl."""
        return {
            "subtask": self.subtask,
            "plan": self.plan,
            "action": self.action,
            "parse_failures": self.parse_failures,
            "error": self.error,
            "stages": [dataclasses.asdict(stage) for stage in self.stages],
        }


class Outcome(enum.StrEnum):
    """How an episode ended. Only the first two count for or against the policy."""

    SUCCESS = "success"
    FAILURE = "failure"
    ABORTED = "aborted"
    """A person stopped it."""
    ERROR = "error"
    """The simulator, the link or our own code failed."""
    UNKNOWN = "unknown"
    """It ran to its end, but whether it succeeded is unknown: the backend cannot tell and no operator was asked."""


@dataclass(frozen=True)
class EpisodeResult:
    """One line of results.jsonl."""

    task: str
    episode_id: int
    """0..23 on SIMPLER's grid; with random layouts, the running number of the episode."""
    seed: int
    backend: str
    profile: str
    policy: str
    action_format: str
    layouts: str
    instruction: str
    outcome: Outcome
    noise_cm: float = 0.0
    """[cm] Error with which a policy that takes noise saw the objects."""
    success_at_end: bool | None = None
    """SIMPLER's official rule: success at the last step of the full-length episode. Here and below, None: unknown."""
    success_once: bool | None = None
    first_success_step: int | None = None
    success_released: bool | None = None
    """Success at the last step and the gripper no longer holds the object."""
    success_settled: bool | None = None
    """Success at the last step, and the object lies on the target: released, at rest, touching nothing else
    (`judge.is_settled`). None also where the backend does not report contacts."""
    grasped: bool | None = None
    consecutive_grasp: bool | None = None
    moved_correct_object: bool | None = None
    on_target: bool | None = None
    upstream_success: bool | None = None
    """What the original SIMPLER's own code says of the last step, beside `success_at_end`; None on every profile but
    "original"."""
    goals_reached: float | None = None
    """Share of the task's goals that are reached at the last step: 1.0 or 0.0 for a task of one."""
    progress: float | None = None
    """0 .. 100: how far the operator says the episode got, a success being 100; None where nobody was asked."""
    steps: int = 0
    max_steps: int | None = None
    """Control steps of a full episode: the task's own, unless the run was given others. None: not recorded."""
    decisions: tuple[dict[str, object], ...] = ()
    parse_failures: int = 0
    clipped_steps: int = 0
    seconds: float = 0.0
    video: str = ""
    """Path relative to the run folder; empty when no video was made."""
    reason: str = ""
    policy_crash: str = ""
    """The exception of the policy's own code, or of what it returned, that ended the episode; the outcome is "error",
    unless an operator has judged it."""
    truncations: int = 0
    """Answers of the model that were cut off at their token limit; none of them was carried out."""
    retries: int = 0
    """Requests that were sent again because a server did not answer."""
    instruction_fits: bool | None = None
    """Whether the instruction was recognised as asking for the task by which success is judged. None: it was not, and
    names nothing that contradicts the task (one that does is refused); or a person judged."""
    versions: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    """What the policy really used, by its own account (`policies.base.provenance`): digests of the weights, whether a
    server honours the grammar. Plain values; None where something is unknown."""
    metrics: dict[str, bool | int | float | None] = field(default_factory=dict)
    """What was measured besides, by name (see `evaluation.metrics`)."""
    failure: str | None = None
    """Why it failed, one of `evaluation.failures.LABELS`; None for a success, a fault, or an unknown scene."""
    words: dict[str, Any] | None = None
    """How often the policy did what it said, and the arm what was written (`evaluation.agreement.summarize_words`)."""
    suite: str = ""
    """Name and version of the suite, such as "language@1". Empty outside a suite, as are the next three."""
    condition: str = ""
    """Name of the condition in the suite."""
    factor: str = ""
    """What the condition varies, such as "light"."""
    level: str = ""
    """How, such as "left"."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What is unique in a run: task, condition and number."""
        return self.task, self.condition, self.episode_id

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds):
            raise ValueError(f"EpisodeResult.seconds is {self.seconds}; expected a finite number.")

    def to_json(self) -> str:
        """The line, without its newline."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> EpisodeResult:
        """The inverse of `to_json`; unknown keys of a newer version are left out."""
        values = json.loads(line)
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        kept["outcome"] = Outcome(kept["outcome"])
        kept["decisions"] = tuple(kept.get("decisions", ()))
        return cls(**kept)
