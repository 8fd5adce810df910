"""Verifiers, which decide whether a subtask is done: a vision-language model, the simulator's ground truth, a person.

The paper asks an external model after every chunk. Scores can be compared only if the verifier is known, so its name is
part of a run's settings. Your own verifier is "package.module:NAME", a factory as in `VERIFIERS`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.core.goals import LIFTED, Goal, seen_for
from vlm2vla_sim.errors import EpisodeAbortedError, ExtensionError, SettingError
from vlm2vla_sim.language.answers import VerifierAnswer, read_verifier_answer
from vlm2vla_sim.language.formats.grammar import Choice, Literal, compile_grammar
from vlm2vla_sim.language.prompts import ADVANCE, RETRY, verify_prompt
from vlm2vla_sim.policies.base import (
    Judgement,
    Question,
    Sampling,
    TextModel,
    Verifier,
    mark_cut_off,
    prepare,
    prepare_thinking,
    provenance,
)
from vlm2vla_sim.types import SceneState, Stage

if TYPE_CHECKING:
    from typing import TextIO

ANSWER_GRAMMAR = compile_grammar(Choice((Literal(ADVANCE), Literal(RETRY))))
"""The two answers of a constrained verifier."""

OVER_TARGET = 0.04
"""[m] horizontal distance from the target's centre within which "move it over" is done."""

_RELEASE = re.compile(r"\b(place|put|release|drop|stack|set|lay|insert|let go|open)\b")
_CARRY = re.compile(r"\b(move|bring|carry|transport|take|lower)\b.*\b(over|above|to|onto|into|towards?)\b")
_LIFT = re.compile(r"\b(lift|raise|pick up)\b")
_GRASP = re.compile(r"\b(grasp|grab|grip|pick|lift|raise|take|hold|close)\b")


class ModelVerifier:
    """Asks a vision-language model: the policy's own, with or without its adapter, or another."""

    def __init__(
        self, model: TextModel, *, adapter: bool = True, constrained: bool = True, thinking_tokens: int = 0
    ) -> None:
        """`constrained` restricts the answer to the two words; an unclear answer means "try again".

        thinking_tokens: see `Question.thinking`.
        """
        self._model, self._adapter, self._thinking = model, adapter, thinking_tokens
        self._grammar = ANSWER_GRAMMAR if constrained else None
        prepare(model, [] if self._grammar is None else [self._grammar])
        prepare_thinking(model, thinking_tokens)

    def provenance(self) -> dict[str, Any]:
        """What the model really uses; see `policies.base.provenance`."""
        return provenance(self._model)

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """See `Verifier.judge`. An answer that is cut off or not clearly "advance" is "retry", as the stage notes."""
        question = Question(
            "verify",
            verify_prompt(current, following, state=state),
            (before, after),
            grammar=self._grammar,
            sampling=Sampling(max_tokens=16 if self._grammar else 128),
            adapter=self._adapter,
            thinking=self._thinking,
        )
        (stage,) = self._model.answer([question])
        stage = mark_cut_off(stage, question.limit)
        if stage.error:
            return Judgement(False, dataclasses.replace(stage, error=f"{stage.error} Taken as {RETRY}."))
        answer = read_verifier_answer(stage.text)
        if answer is VerifierAnswer.UNCLEAR:
            stage = dataclasses.replace(stage, error=f"Neither {ADVANCE} nor {RETRY}; taken as {RETRY}.")
        return Judgement(answer is VerifierAnswer.ADVANCE, stage)


class TruthVerifier:
    """Reads the simulator's ground truth: an upper bound for verifiers.

    A subtask is classified by its verb. Putting down is done when the object lies on the target and is released;
    carrying, when it is above the target; grasping, when it is held; where the task is to lift it, lifting, when it
    touches nothing but the gripper. In a task of several goals the subtask is that of the goal whose object it names.
    """

    def __init__(self, see: Callable[[], SceneState], goals: Sequence[Goal] = ()) -> None:
        """`see` returns the scene as of the last step. goals: `PolicyContext.goals`."""
        self._see, self._goals = see, goals

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """See `Verifier.judge`. A subtask without a known verb ("look around") is always done."""
        done = self.is_done(current)
        return Judgement(done, Stage("verify", f"{ADVANCE if done else RETRY} (the simulator's truth)"))

    def is_done(self, subtask: str) -> bool:
        """Whether `subtask` is done in the simulator."""
        kind, scene = subtask_kind(subtask), self._see()
        goal = self._goal_of(subtask)
        if goal is not None:
            scene = seen_for(scene, goal)
            if goal.kind == LIFTED and _LIFT.search(subtask.lower()):
                return scene.grasped and not scene.touching and not scene.touches_target
        offset = scene.source.pose.position - scene.target.pose.position
        over = bool(np.linalg.norm(offset[:2]) < OVER_TARGET and offset[2] > 0)
        if kind == "release":
            return over and not scene.grasped and not scene.touching - {scene.target.name}
        if kind == "carry":
            return over
        return scene.grasped or kind != "grasp"

    def _goal_of(self, subtask: str) -> Goal | None:
        """The goal that `subtask` belongs to: the first whose object it names, of the kind of its verb if possible."""
        lift = _LIFT.search(subtask.lower()) is not None
        named = [goal for goal in self._goals if goal.moved.replace("_", " ") in subtask.lower()]
        of_kind = [goal for goal in named if (goal.kind == LIFTED) is lift]
        return next(iter(of_kind or named or self._goals), None)


def is_truly_done(subtask: str, scene: SceneState, goals: Sequence[Goal] = ()) -> bool | None:
    """Whether `subtask` is done in `scene`, as `TruthVerifier` judges it; None for one whose verb it does not know."""
    return TruthVerifier(lambda: scene, goals).is_done(subtask) if subtask_kind(subtask) else None


def subtask_kind(subtask: str) -> str:
    """One of "release", "carry", "grasp", by the verb of `subtask`; empty where it has none of them."""
    subtask = subtask.lower()
    kinds = (("release", _RELEASE), ("carry", _CARRY), ("grasp", _GRASP))
    return next((kind for kind, verbs in kinds if verbs.search(subtask)), "")


class OperatorVerifier:
    """Asks a person at the keyboard."""

    def __init__(self, ask: Callable[[str], str] = input, out: TextIO | None = None) -> None:
        """`ask` prints its argument and returns a line; invalid input is reported on `out` (default: stderr)."""
        self._ask, self._out = ask, out

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """See `Verifier.judge`. "q", or the end of input, stops the episode."""
        then = f" Then: {following}." if following else " It is the last subtask."
        started = time.perf_counter()
        question = f"Is this done: {current}?{then} [y/n, q stops] "
        while (typed := self._read(question)) not in ("y", "yes", "n", "no"):
            if typed in ("q", "quit"):
                raise EpisodeAbortedError("The operator stopped the episode.")
            print(f"{typed!r} was typed; expected y, n or q.", file=self._out or sys.stderr)
        done = typed.startswith("y")
        said = f"{ADVANCE if done else RETRY} (the operator)"
        return Judgement(done, Stage("verify", said, seconds=round(time.perf_counter() - started, 3)))

    def _read(self, question: str) -> str:
        try:
            return self._ask(question).strip().lower()
        except EOFError as closed:
            raise EpisodeAbortedError("The input ended, so no operator can answer.") from closed


# Factories ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class VerifierContext:
    """What a verifier's factory is given."""

    model: TextModel
    """The policy's own model; `Question.adapter` chooses between base model and adapter."""
    see: Callable[[], SceneState] | None = None
    """Ground truth of the scene as of the last step; None where it is not known, as on a real robot."""
    server: str = ""
    server_model: str = ""
    """The policy options `verifier_server` and `verifier_model`: another model's chat server, and its name there."""
    constrained: bool = True
    """Whether the policy decodes under a grammar; a verifier that asks `model` does as the policy."""
    timeout: float = 120.0
    """[s] for one request to `server`."""
    goals: tuple[Goal, ...] = ()
    """`PolicyContext.goals`."""
    thinking_tokens: int = 0
    """The most tokens that `model`, or the one on `server`, thinks before its verdict; 0: it does not think."""


def _truth(context: VerifierContext) -> Verifier:
    if context.see is None:
        raise SettingError("verifier=truth needs a simulator; on a real robot use adapter, base, server or operator.")
    return TruthVerifier(context.see, context.goals)


def _own(context: VerifierContext, *, adapter: bool) -> Verifier:
    return ModelVerifier(
        context.model,
        adapter=adapter,
        constrained=context.constrained,
        thinking_tokens=context.thinking_tokens,
    )


def _on_server(context: VerifierContext) -> Verifier:
    if not (context.server and context.server_model):
        raise SettingError("verifier=server needs verifier_server=ADDRESS and verifier_model=NAME.")
    from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

    settings = ServerSettings(context.server, context.server_model, constraint="off", timeout=context.timeout)
    return ModelVerifier(ChatModel(settings), constrained=False, thinking_tokens=context.thinking_tokens)


VERIFIERS: dict[str, Callable[[VerifierContext], Verifier]] = {
    "adapter": lambda context: _own(context, adapter=True),
    "base": lambda context: _own(context, adapter=False),
    "server": _on_server,
    "truth": _truth,
    "operator": lambda context: OperatorVerifier(),
}
"""Name -> factory: the policy's model with its adapter enabled or disabled, another model on a server, ground truth, or
a person."""


def find_verifier(name: str) -> Callable[[VerifierContext], Verifier]:
    """The factory `name` of `VERIFIERS`, or your own as "package.module:NAME": a function or class of one argument."""
    factory = find("verifier", name, VERIFIERS)
    if not callable(factory):
        raise ExtensionError(f"The verifier {name!r} is {factory!r}; expected a function or class that makes one.")
    return cast("Callable[[VerifierContext], Verifier]", factory)


def make_verifier(name: str, context: VerifierContext) -> Verifier:
    """The verifier `name`; ExtensionError if a factory of your own makes something without a method `judge`."""
    verifier = find_verifier(name)(context)
    if not callable(getattr(verifier, "judge", None)):
        raise ExtensionError(f"The verifier {name!r} made a {type(verifier).__name__}, which has no method judge.")
    return verifier
