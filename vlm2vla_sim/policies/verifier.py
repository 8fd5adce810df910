"""Who says whether a subtask is done: a vision-language model, the simulator's own truth, or a person.

The paper asks an external model after every chunk. A score that does not say who judged cannot be compared with
another, so each of these has a name that goes into the settings of a run.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vlm2vla_sim.errors import EpisodeAbortedError
from vlm2vla_sim.language.answers import VerifierAnswer, read_verdict
from vlm2vla_sim.language.formats.grammar import Choice, Literal, compile_grammar
from vlm2vla_sim.language.prompts import ADVANCE, RETRY, verify_prompt
from vlm2vla_sim.policies.base import Judgement, Question, Sampling, TextModel
from vlm2vla_sim.types import SceneState, Stage

if TYPE_CHECKING:
    from typing import TextIO

VERDICTS = compile_grammar(Choice((Literal(ADVANCE), Literal(RETRY))))
"""The two answers there are."""

OVER_TARGET = 0.04
"""[m] how far from the target's centre, seen from above, the object may hang for "move it over" to be done."""

_RELEASE = re.compile(r"\b(place|put|release|drop|stack|set|lay|insert|let go|open)\b")
_CARRY = re.compile(r"\b(move|bring|carry|transport|take|lower)\b.*\b(over|above|to|onto|into|towards?)\b")
_GRASP = re.compile(r"\b(grasp|grab|grip|pick|lift|raise|take|hold|close)\b")


class ModelVerifier:
    """Asks a vision-language model: ours in this process, with or without its adapter, or any server's."""

    def __init__(self, model: TextModel, *, adapter: bool = True, constrained: bool = True) -> None:
        """`constrained` holds the answer to the two words; otherwise an unclear answer means "try again"."""
        self._model, self._adapter = model, adapter
        self._grammar = VERDICTS if constrained else None

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """See `Verifier.judge`. What is not clearly "advance" is "retry", and the stage says that it was unclear."""
        question = Question(
            "verify",
            verify_prompt(current, following, state=state),
            (before, after),
            grammar=self._grammar,
            sampling=Sampling(max_tokens=16 if self._grammar else 128),
            adapter=self._adapter,
        )
        (stage,) = self._model.answer([question])
        verdict = read_verdict(stage.text)
        if verdict is VerifierAnswer.UNCLEAR:
            stage = dataclasses.replace(stage, error=f"Neither {ADVANCE} nor {RETRY}; taken as {RETRY}.")
        return Judgement(verdict is VerifierAnswer.ADVANCE, stage)


class TruthVerifier:
    """Knows where everything is, as only a simulator does: an upper bound on verifiers, never a result.

    A subtask is matched by its verb. One about putting down is done when the object lies on the target, let go; one
    about carrying, when it hangs over the target; one about grasping, when it is held.
    """

    def __init__(self, see: Callable[[], SceneState]) -> None:
        """`see` gives the scene as of the last step."""
        self._see = see

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """See `Verifier.judge`. A subtask without a verb that it knows ("look around") is done at once."""
        done = self.is_done(current)
        return Judgement(done, Stage("verify", f"{ADVANCE if done else RETRY} (the simulator's truth)"))

    def is_done(self, subtask: str) -> bool:
        """Whether the simulator holds `subtask` for done."""
        subtask = subtask.lower()
        scene = self._see()
        offset = scene.source.pose.position - scene.target.pose.position
        over = bool(np.linalg.norm(offset[:2]) < OVER_TARGET and offset[2] > 0)
        if _RELEASE.search(subtask):
            return over and not scene.grasped and not scene.touching - {scene.target.name}
        if _CARRY.search(subtask):
            return over
        return scene.grasped or not _GRASP.search(subtask)


class OperatorVerifier:
    """Asks the person at the keyboard."""

    def __init__(self, ask: Callable[[str], str] = input, out: TextIO | None = None) -> None:
        """`ask` prints its argument and returns a line; `out` is where a mistyped answer is pointed out."""
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
            raise EpisodeAbortedError("There is nobody to ask: the input ended.") from closed
