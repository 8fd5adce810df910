"""Backends and policies that misbehave on purpose; worker processes import them by name ("fakes:Name")."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.errors import (
    ActionTextError,
    BackendFaultError,
    EpisodeAbortedError,
    RendererError,
    SettingError,
    missing_extra,
)
from vlm2vla_sim.policies import PolicyContext, PolicyFactory, load_policy
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.baselines import HOLD
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Body, Decision, Pose, SceneState, Stage, Status

MARKER = "VLM2VLA_TEST_MARKER"
"""Environment variable with a path that a fake uses to remember, across processes, that it has misbehaved once."""
IDENTITY = np.array([1.0, 0, 0, 0])


class _TroubledBackend(PointBackend):
    """Misbehaves at the third step of SIMPLER's episode 1, and only there."""

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        super().reset(layout, rng)
        self._steps = 0
        self._is_the_one = layout == self._task.layouts[1]

    def move(self, delta: np.ndarray) -> None:
        super().move(delta)
        self._steps += 1
        if self._is_the_one and self._steps == 3:
            self.misbehave()

    def misbehave(self) -> None:
        raise NotImplementedError


class FaultyBackend(_TroubledBackend):
    def misbehave(self) -> None:
        raise BackendFaultError("The link to the robot was lost.")


class BuggyBackend(_TroubledBackend):
    def misbehave(self) -> None:
        raise ZeroDivisionError("a bug of ours")


class AbortedBackend(_TroubledBackend):
    def misbehave(self) -> None:
        raise EpisodeAbortedError("Stopped by the operator.")


class KilledBackend(_TroubledBackend):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class ExitingBackend(_TroubledBackend):
    def misbehave(self) -> None:
        os._exit(7)


class KilledOnceBackend(_TroubledBackend):
    def misbehave(self) -> None:
        marker = Path(os.environ[MARKER])
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class HangingBackend(_TroubledBackend):
    def misbehave(self) -> None:
        time.sleep(3600)


class InterruptedBackend(_TroubledBackend):
    def misbehave(self) -> None:
        raise KeyboardInterrupt


class AlwaysFaultyBackend(PointBackend):
    def move(self, delta: np.ndarray) -> None:
        raise BackendFaultError("Nothing works.")


class BlindBackend(PointBackend):
    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        raise RendererError("No picture can be drawn: install libegl1.")


class AbsentBackend:
    def __init__(self, task: Task, *, image_size: tuple[int, int], quality: str) -> None:
        raise missing_extra("The backend 'absent'", "no-such-simulator", "absent")


class SlowBackend(PointBackend):
    """Says in the marker file which steps were made, so that a test can wait for a moment in the middle of a run."""

    def move(self, delta: np.ndarray) -> None:
        super().move(delta)
        with Path(os.environ[MARKER]).open("a") as file:
            file.write(".")
        time.sleep(0.01)


class ProcessBackend(PointBackend):
    """Says in which process it lives."""

    @property
    def profile(self) -> str:  # type: ignore[override]
        return str(os.getpid())


class TunableBackend(PointBackend):
    """Takes options, and shows them in its profile."""

    def __init__(self, task: Task, *, host: str, port: int, slow: bool, gain: float, name: str, **rest: Any) -> None:
        super().__init__(task, **rest)
        self.profile = f"{host}:{port}"


class LitBackend(PointBackend):
    """Has a lamp, and counts how often it is made."""

    made = 0

    def __init__(
        self, task: Task, *, image_size: tuple[int, int] | None, quality: str = "fast", light: float = 1.0
    ) -> None:
        super().__init__(task, image_size=image_size, quality=quality)
        self.profile = f"lit {light}"
        LitBackend.made += 1


class MaskBackend(PointBackend):
    """Says whether Ctrl-C is kept from its process."""

    @property
    def profile(self) -> str:  # type: ignore[override]
        return f"blocked: {signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])}"


class CrowdedBackend(_TroubledBackend):
    """Shows noise, which fills a disk, in SIMPLER's episode 1."""

    def observe(self) -> dict[str, Any]:
        seen = super().observe()
        if self._is_the_one:
            rng = np.random.default_rng(self._steps)
            seen["pixels"]["primary"] = rng.integers(0, 256, (*self._image_size, 3), np.uint8)
        return seen

    def misbehave(self) -> None:
        return


class UnseeingBackend(PointBackend):
    """Does not know where the objects are, as a real robot does not."""

    knows_scene = False

    def status(self) -> Status:
        return Status(super().status().robot, scene=None)


class _StagedBackend(PointBackend):
    """The object lies on the target at the steps in `solved`, and is held at those in `held`, whatever the arm does."""

    solved: range = range(0)
    held: range = range(0)

    def reset(self, layout: Layout, rng: np.random.Generator) -> None:
        super().reset(layout, rng)
        self._steps = 0

    def move(self, delta: np.ndarray) -> None:
        super().move(delta)
        self._steps += 1

    def status(self) -> Status:
        true = super().status()
        assert true.scene is not None
        source = true.scene.source
        if self._steps in self.solved:
            x, y, z = self._target.position
            above = Pose(np.array([x, y, z + (self._task.target.extents[2] + source.extents[2]) / 2]), IDENTITY)
            source = Body(source.name, above, source.extents)
        scene = SceneState(source, true.scene.target, frozenset(), grasped=self._steps in self.held)
        return Status(true.robot, scene)


class SolvedEarlyBackend(_StagedBackend):
    solved = range(10, 20)
    held = range(5, 15)


class HeldToTheEndBackend(_StagedBackend):
    solved = range(50, 61)
    held = range(57, 61)


class ScriptedWords:
    """Says the given action texts in turn, as decisions of the given format; then None."""

    def __init__(self, context: PolicyContext, *texts: str) -> None:
        self._format, self._texts = context.action_format, texts
        self.seen: list[dict[str, object]] = []

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.instruction, self.seed = instruction, seed
        self._left = list(self._texts)

    def act(self, observation: dict[str, object]) -> Decision | None:
        self.seen.append(observation)
        if not self._left:
            return None
        text = self._left.pop(0)
        try:
            chunk = self._format.read(text)
        except ActionTextError as error:
            return Decision("subtask", "plan", text, chunk=None, parse_failures=1, error=str(error))
        return Decision("subtask", "plan", text, chunk)


class Babbler:
    """Cannot be understood: every second decision is unreadable, the others raise what the reader raised."""

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._count = 0

    def act(self, observation: dict[str, object]) -> Decision | None:
        self._count += 1
        if self._count % 2:
            raise ActionTextError("There is no list of numbers in 'hello'.")
        return Decision("", "", "hello", chunk=None)


class FailingPolicy:
    def reset(self, instruction: str, seed: int = 0) -> None:
        return

    def act(self, observation: dict[str, object]) -> Decision | None:
        raise IndexError("list index out of range")


def make_words(context: PolicyContext) -> ScriptedWords:
    return ScriptedWords(context, "[[3, 0, 0, 1]]")


def make_failing(context: PolicyContext) -> FailingPolicy:
    return FailingPolicy()


def make_broken(context: PolicyContext) -> FailingPolicy:
    raise OddError("cannot", "be pickled")


def make_without_weights(context: PolicyContext) -> FailingPolicy:
    raise SettingError("The model has no weights.")


def make_with_weights(context: PolicyContext) -> ScriptedWords:
    if not Path("weights").exists():
        raise SettingError("The model has no weights.")
    return ScriptedWords(context, "[[3, 0, 0, 1]]")


class OddError(Exception):
    """Its constructor takes two arguments and keeps one, so that pickle cannot make it again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


still = HOLD


make_words.takes_noise = True  # type: ignore[attr-defined]


def make_muttering(context: PolicyContext) -> ScriptedWords:
    return ScriptedWords(context, "hm", "[[3, 0, 0, 1]]")


class SharedModel:
    """A `TextModel` that answers as a constant policy would, with the process it is in and the size of its batch."""

    made = 0

    def __init__(self, options: Any) -> None:
        type(self).made += 1
        self.adapter = options.adapter
        if options.adapter == "absent":
            raise SettingError("There is no such adapter.")
        self.largest = 0

    def provenance(self) -> dict[str, Any]:
        return {"process": os.getpid()}

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        time.sleep(0.02)
        if self.adapter == "odd" and any("spoon" in question.prompt for question in questions):
            raise OddError(3, "spoons")
        return [Stage(q.stage, self._answer(q), tokens=len(questions), finish="stop") for q in questions]

    def _answer(self, question: Question) -> str:
        thing = "spoon" if "spoon" in question.prompt else "carrot"
        words = {"subtasks": f"1. grasp the {thing}", "plan": f"move to the {thing}", "verify": "RETRY"}
        return words.get(question.stage, "[[1, 0, 0, 1]]")


class SeededModel(SharedModel):
    """Its answers follow from question and seed alone, as those of a real model do, whichever process it is in."""

    def provenance(self) -> dict[str, Any]:
        return {"weights_digest": "seeded"}

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        time.sleep(0.02)
        return [Stage(q.stage, self._answer(q), finish="stop") for q in questions]

    def _answer(self, question: Question) -> str:
        number = zlib.crc32(repr((question.prompt, question.seed)).encode()) % 3
        return f"[[{number}, 0, 0, 1]]" if question.stage == "action" else super()._answer(question)


class PacedBackend(PointBackend):
    """Takes as long for an episode as a simulator might: long enough to be killed in it."""

    def move(self, delta: np.ndarray) -> None:
        time.sleep(0.01)
        super().move(delta)


class InvertedStacker:
    """The scripted policy; in the task stack_cube it opens its gripper to grasp and closes it to let go."""

    def __init__(self, context: PolicyContext) -> None:
        self._policy, self._inverted = load_policy("scripted", context), context.task == "stack_cube"

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._policy.reset(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        decision = self._policy.act(observation)
        if decision is None or decision.chunk is None or not self._inverted:
            return decision
        deltas = decision.chunk.deltas.copy()
        deltas[:, 6] = 1 - deltas[:, 6]
        return dataclasses.replace(decision, chunk=dataclasses.replace(decision.chunk, deltas=deltas))


INVERTED_STACKER = PolicyFactory(InvertedStacker, needs_truth=True)
