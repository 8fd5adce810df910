"""What a policy, a text model and a verifier must be able to do; everything else about them is their own business."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.errors import ActionTextError, SettingError
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.types import Decision, Stage


class Policy(Protocol):
    """Decides, from what the camera shows, what to do next.

    One that stops before the episode is over may say why in an attribute `ended`, which goes into the result. One that
    holds something beyond memory, such as a connection, may have a `close()`.
    """

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode. Any randomness of the policy comes from `seed`."""
        ...

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next decision, given the latest observation (`envs.base.Observation`); None: it thinks it is done.

        Called again once the chunk of the last decision has been carried out.
        """
        ...


def decide(policy: Policy, observation: dict[str, Any]) -> Decision | None:
    """The policy's next decision, an action text that cannot be read being part of it rather than an error.

    A decision without a chunk says why in `error` and counts one parse failure at least.
    """
    try:
        decision = policy.act(observation)
    except ActionTextError as error:
        return Decision(subtask="", plan="", action="", chunk=None, parse_failures=1, error=str(error))
    if decision is None or decision.chunk is not None:
        return decision
    return dataclasses.replace(
        decision,
        parse_failures=max(decision.parse_failures, 1),
        error=decision.error or "The action text could not be read.",
    )


def close_policy(policy: Policy) -> None:
    """Let a policy that has a `close()` release what it holds."""
    close = getattr(policy, "close", None)
    if callable(close):
        close()


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn, and how many of them at most."""

    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have at least this probability."""
    max_tokens: int = 256

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise SettingError(f"The temperature is {self.temperature}; expected 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise SettingError(f"top_p is {self.top_p}; expected more than 0 and at most 1.")
        if self.max_tokens < 1:
            raise SettingError(f"max_tokens is {self.max_tokens}; expected 1 or more.")


GREEDY = Sampling()


@dataclass(frozen=True, eq=False)
class Question:
    """What a text model is asked."""

    stage: str
    """Which question it is: "subtasks", "plan", "action", "verify" or your own name."""
    prompt: str
    images: tuple[np.ndarray, ...] = ()
    """Each (H, W, 3) uint8 RGB; they stand before the prompt, in this order."""
    grammar: Grammar | None = None
    """The only texts the answer may be; None for any text."""
    sampling: Sampling = GREEDY
    seed: int = 0
    """All randomness of the answer comes from it."""
    adapter: bool = True
    """False asks the base model, where there is an adapter."""


class TextModel(Protocol):
    """A vision-language model: images and a prompt in, words out."""

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """The answers, in the order of `questions`; several at once may be cheaper, and are never different."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What a verifier said, and what it cost."""

    advance: bool
    stage: Stage


class Verifier(Protocol):
    """Says whether a subtask is done."""

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """Advance to `following`, or try `current` again? Pictures (H, W, 3) uint8 RGB; `following` may be empty.

        state: a line about where the gripper is now, for a model; empty where the policy's option `state` is off.
        """
        ...
