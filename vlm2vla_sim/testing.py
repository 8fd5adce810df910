"""Test doubles: a backend without physics, a text model and a verifier that answer from a script.

They make tests of policies, rollouts and tools run in milliseconds, without a physics engine, a renderer or a model.
They are public: use them, and `backend="point"`, in the tests of your own policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.tasks import Layout, ObjectSpec, Task
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.language.prompts import ADVANCE, RETRY
from vlm2vla_sim.policies.base import Judgement, Question
from vlm2vla_sim.types import Pose, RobotState, SceneState, Stage, Status

HOME = (0.28, 0.03, 0.15)
"""x, y, z [m] of the gripper after a reset, base frame."""
REACH = 0.025
"""[m] largest distance to the object's centre along each axis at which it can be grasped."""
GRIPPER_SPEED = 1 / 3
"""Fraction of the opening per control step, about as slow as the twin's gripper."""
SPAN = 0.6
"""[m] side of the square of table that the image shows from above, with x up and y to the left."""


class PointBackend:
    """A `Backend` without physics: the arm is always exactly at its target, and a grasped object moves with it.

    A released object drops straight down, onto the target object if it is above that. An episode takes milliseconds.
    Policies that solve a task in the MuJoCo twin solve it here, except where contact matters.
    """

    profile = "point"

    def __init__(self, task: Task, *, image_size: tuple[int, int] | None = (64, 64), quality: str = "fast") -> None:
        """quality: "fast" or "high"; the image is the same."""
        if quality not in ("fast", "high"):
            raise unknown_name("quality", quality, ("fast", "high"))
        if task.others or task.goals:
            raise SettingError(
                f"The backend 'point' has a source and a target only, and {task.name} has more objects or goals. Use "
                "the backend 'mujoco'."
            )
        self._task = task
        self._image_size = image_size

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        """Place the objects as `layout` says; nothing here is random."""
        down = frames.matrix_to_quaternion(self._task.arm.down)
        self._tcp = Pose(np.array(HOME), down)
        self._gripper = 1.0
        self._source = self._place(layout.source_xy, layout.source_yaw, self._task.source)
        self._target = self._place(layout.target_xy, layout.target_yaw, self._task.target)
        self._held = False

    def move(self, delta: np.ndarray) -> None:
        """One control step; delta: (7,) float64, see `types.ACTION_SIZE`."""
        before = self._tcp.position
        self._tcp = frames.advance_target(self._tcp, self._tcp, delta)
        self._gripper += float(np.clip(delta[6] - self._gripper, -GRIPPER_SPEED, GRIPPER_SPEED))
        if self._held:
            self._source = Pose(self._source.position + self._tcp.position - before, self._source.quaternion)
        near = bool((np.abs(self._tcp.position - self._source.position) <= REACH).all())
        held = self._gripper <= 0.5 and (self._held or near)
        if self._held and not held:
            self._drop()
        self._held = held

    def observe(self) -> dict[str, Any]:
        """An image from above, with squares for target, object and gripper, and the arm's state."""
        observation: dict[str, Any] = {"agent_pos": self._task.arm.agent_pos(self._tcp, self._gripper)}
        if self._image_size is not None:
            observation["pixels"] = {"primary": self._draw(*self._image_size)}
        return observation

    def status(self) -> Status:
        """Robot and scene."""
        resting = not self._held and not self._above_target()
        scene = SceneState(
            source=self._task.source.body(self._source),
            target=self._task.target.body(self._target),
            touching=frozenset({self._task.scene.name} if resting else ()),
            grasped=self._held,
            touches_target=not self._held and not resting,
            touches_robot=self._held,
        )
        return Status(RobotState(self._tcp, self._tcp, self._gripper), scene)

    def close(self) -> None:
        """Nothing to release."""

    def _draw(self, height: int, width: int) -> np.ndarray:
        image = np.full((height, width, 3), (150, 100, 80), np.uint8)
        for position, colour, side in (
            (self._target.position, (200, 220, 160), 0.11),
            (self._source.position, (240, 130, 30), 0.04),
            (self._tcp.position, (30, 30, 30), 0.015),
        ):
            row, column = (0.55 - position[0]) / SPAN * height, (0.3 - position[1]) / SPAN * width
            rows, columns = side / 2 / SPAN * height, side / 2 / SPAN * width
            top, bottom = max(int(row - rows), 0), max(int(row + rows) + 1, 0)
            left, right = max(int(column - columns), 0), max(int(column + columns) + 1, 0)
            image[top:bottom, left:right] = colour
        return image

    def _place(self, xy: tuple[float, float], yaw: float, spec: ObjectSpec) -> Pose:
        height = self._task.scene.support_height + spec.extents[2] / 2
        turn = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
        return self._task.scene.base.pose_from_world(np.array([*xy, height]), turn)

    def _above_target(self) -> bool:
        offset = np.abs(self._source.position - self._target.position)[:2]
        return bool((offset <= np.array(self._task.target.extents[:2]) / 2).all())

    def _drop(self) -> None:
        floor = self._task.scene.support_height - self._task.scene.base.z
        if self._above_target():
            floor = self._target.position[2] + self._task.target.extents[2] / 2
        position = [*self._source.position[:2], floor + self._task.source.extents[2] / 2]
        self._source = Pose(np.array(position), self._source.quaternion)


class FakeTextModel:
    """A `TextModel` that answers from a script and records the questions."""

    def __init__(self, answers: Mapping[str, Sequence[str | Stage]]) -> None:
        """answers: the answers for each stage ("subtasks", "plan", "action", …), in order; the last one repeats.

        A text is a whole answer; a `Stage` is given as it is, for example with finish "length".
        """
        self._answers = answers
        self.prompts: list[tuple[str, str]] = []
        """Stage and prompt of every question so far."""
        self.images: list[list[np.ndarray]] = []
        """The images of every question so far, each (H, W, 3) uint8 RGB."""

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """The next answer for the stage of each question; KeyError where the script has none for it."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Stage:
        answered = sum(1 for stage, _ in self.prompts if stage == question.stage)
        self.prompts.append((question.stage, question.prompt))
        self.images.append(list(question.images))
        script = self._answers[question.stage]
        answer = script[min(answered, len(script) - 1)]
        if isinstance(answer, Stage):
            return answer
        return Stage(name=question.stage, text=answer, tokens=len(answer.split()), finish="stop")


class FakeVerifier:
    """A `Verifier` that answers from a script; the last answer repeats."""

    def __init__(self, answers: Sequence[bool] = (True,)) -> None:
        self._answers = answers
        self.questions: list[tuple[str, str]] = []
        """Current and following subtask of every call so far."""

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """The next answer."""
        self.questions.append((current, following))
        advance = self._answers[min(len(self.questions), len(self._answers)) - 1]
        return Judgement(advance, Stage("verify", ADVANCE if advance else RETRY))
