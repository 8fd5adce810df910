"""The protocols of policies, text models and verifiers, and the questions that are asked of a text model."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from vlm2vla_sim.errors import ActionTextError, SettingError
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.types import Decision, Stage


class Policy(Protocol):
    """Decides, from an observation, what to do next.

    A policy that stops before the episode is over may give the reason in an attribute `ended`, which is recorded. One
    that asks a verifier may keep its answer in the last `act` in an attribute `judgement` (a `Judgement`, None if it
    was not asked), which is recorded beside the simulator's truth (`evaluation.verdicts`). A policy that holds a
    resource such as a connection may have a method `close()`; one that uses weights or a server, a method
    `provenance()` (see the function of that name).
    """

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode. Any randomness of the policy comes from `seed`."""
        ...

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next decision, given the latest observation (`envs.base.Observation`); None when it is done.

        Called again once the chunk of the last decision has been executed.
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
    """Call the policy's `close()`, if it has one."""
    close = getattr(policy, "close", None)
    if callable(close):
        close()


def provenance(source: object) -> dict[str, Any]:
    """What a policy, a text model or a verifier really uses: the plain values of its method `provenance()`.

    Empty where it has none. The values say what the settings cannot: the digest of the weights that were loaded, what
    a server reports of itself, whether it honours the grammar. They are the same for every episode, and None marks what
    is unknown. They are recorded with every result, and a run is resumed only with the same.
    """
    described = getattr(source, "provenance", None)
    values: Any = described() if callable(described) else {}
    return dict(values)


def prepare(model: object, grammars: Sequence[Grammar]) -> None:
    """Tell a text model that it will be asked about images, and under which grammars, by its `prepare(grammars)`.

    A model that cannot write the texts of a grammar, or does not see images, raises SettingError here, before the first
    episode. One without the method is not told.
    """
    prepared = getattr(model, "prepare", None)
    if callable(prepared):
        prepared(grammars)


def prepare_thinking(model: object, tokens: int) -> None:
    """Tell a text model how many tokens it may think before an answer, 0 for none, by its `prepare_thinking(tokens)`.

    A model that cannot do as it is told raises SettingError here, before the first episode. One without the method
    does not think.
    """
    prepared = getattr(model, "prepare_thinking", None)
    if callable(prepared):
        prepared(tokens)
    elif tokens:
        raise SettingError(
            f"thinking is asked for, and the text model {type(model).__name__} cannot think: it has no method "
            "prepare_thinking(tokens). Leave thinking out."
        )


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled, and how many."""

    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Sample from the most likely tokens that together have at least this probability."""
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
    """A question to a text model."""

    stage: str
    """The kind of question: "subtasks", "plan", "action", "verify", or a name of your own."""
    prompt: str
    images: tuple[np.ndarray, ...] = ()
    """Each (H, W, 3) uint8 RGB; they precede the prompt, in this order, unless `places` says otherwise."""
    grammar: Grammar | None = None
    """Restricts the answer to the texts of a grammar; None for any text."""
    sampling: Sampling = GREEDY
    seed: int = 0
    """The only source of randomness of the answer."""
    adapter: bool = True
    """False asks the base model without its adapter."""
    places: tuple[int, ...] = ()
    """For each image, the index in `prompt` of the character before which it stands, ascending; empty if all precede
    the prompt. Only a text model whose attribute `places_images` is true is asked such a question."""
    thinking: int = 0
    """The most tokens of reasoning before the answer, besides `sampling.max_tokens` of the answer itself; 0: the model
    does not think. Only a text model that accepts it in `prepare_thinking` is asked another value. A server may have no
    limit of its own for the reasoning; it and the answer then have at most `limit` tokens together."""

    @property
    def limit(self) -> int:
        """The most tokens of reasoning and answer."""
        return self.sampling.max_tokens + self.thinking

    def __post_init__(self) -> None:
        if self.thinking < 0:
            raise SettingError(f"thinking is {self.thinking} tokens; expected 0 (the model does not think) or more.")
        ends = (0, *self.places, len(self.prompt))
        if self.places and (len(self.places) != len(self.images) or list(ends) != sorted(ends)):
            raise SettingError(
                f"places is {self.places} for {len(self.images)} images and a prompt of {len(self.prompt)} characters; "
                "expected an ascending index in the prompt for each image."
            )

    def parts(self) -> list[np.ndarray | str]:
        """The images and the pieces of the prompt, in order."""
        places = self.places or (0,) * len(self.images)
        parts: list[np.ndarray | str] = []
        start = 0
        for image, place in zip(self.images, places, strict=True):
            parts += [self.prompt[start:place], image] if place > start else [image]
            start = place
        return [*parts, self.prompt[start:]] if start < len(self.prompt) or not self.places else parts


class TextModel(Protocol):
    """A vision-language model: images and a prompt in, text out."""

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """The answers, in the order of `questions`. A batch gives the same answers as single questions.

        `Stage.finish` has to say whether an answer is whole: one that was cut off is not used. A text model may have
        methods `provenance()`, `prepare(grammars)` and `prepare_thinking(tokens)` (see the functions of those names),
        and three attributes:
        `places_images` (see `Question.places`), `concurrent`, true if several threads may ask at the same time, and
        `continuous`, true if it is a `ContinuousModel`.
        """
        ...


class PendingAnswer(Protocol):
    """A question that a `ContinuousModel` has taken in."""

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        ...

    def stage(self) -> Stage:
        """The answer, once it has ended; the error that it ended with is raised."""
        ...

    def cancel(self) -> None:
        """Nobody waits for the answer any more: no further step computes it. Another thread does not call this."""
        ...


class ContinuousModel(TextModel, Protocol):
    """A text model that takes in a question at any time, beside those that it is answering; one thread calls it."""

    def begin(self, question: Question) -> PendingAnswer:
        """Take in a question."""
        ...

    def advance(self) -> None:
        """Advance all answers by a step. An error concerns any of them; those in progress are given up then."""
        ...

    def give_up(self) -> None:
        """End all answers in progress with an error."""
        ...


def as_continuous(model: TextModel) -> ContinuousModel | None:
    """`model`, if its attribute `continuous` says that it takes in questions at any time."""
    return cast("ContinuousModel", model) if getattr(model, "continuous", False) else None


def is_whole(stage: Stage, limit: int) -> bool:
    """Whether an answer was not cut off. Where the model does not say why it ended, one of `limit` tokens was."""
    return stage.finish == "stop" or (not stage.finish and (stage.tokens or 0) < limit)


def follows_grammar(stage: Stage, question: Question) -> bool:
    """Whether an answer is a text of the question's grammar, as far as its regular expression tells.

    True also without one, and for an answer that was cut off.
    """
    regex = question.grammar.regex if question.grammar else ""
    return not (regex and is_whole(stage, question.limit)) or bool(re.fullmatch(regex, stage.text))


def mark_cut_off(stage: Stage, limit: int, setting: str = "") -> Stage:
    """`stage`, with the reason in `error` if its answer is not whole: it is recorded and counted, and never used.

    limit: `Question.limit`; `setting` names what sets it.
    """
    if stage.reasoning and not stage.text:
        error = f"The answer is only reasoning, {stage.tokens or 'all'} tokens of it: "
        error += (
            f"it was cut off at the limit of {limit} before the answer began. Raise thinking_tokens."
            if stage.finish != "stop"
            else "the model ended it without an answer."
        )
        return dataclasses.replace(stage, finish=stage.finish or "length", error=error)
    if is_whole(stage, limit):
        return stage
    if stage.finish not in ("", "length"):
        error = f"The answer ended with {stage.finish!r}, not with 'stop'."
    elif 0 < (stage.tokens or 0) < limit:
        error = (
            f"The answer was cut off after {stage.tokens} tokens, before the limit of {limit} that was asked for: the "
            "model's context or the server's own limit is smaller."
        )
    else:
        error = f"The answer was cut off after {stage.tokens or limit} tokens, the limit that was asked for."
        error += f" Raise {setting}." if setting else ""
    return dataclasses.replace(stage, finish=stage.finish or "length", error=error)


@dataclass(frozen=True)
class Judgement:
    """A verifier's answer, and its cost."""

    advance: bool
    stage: Stage


class Verifier(Protocol):
    """Decides whether a subtask is done."""

    def judge(
        self, before: np.ndarray, after: np.ndarray, *, current: str, following: str, state: str = ""
    ) -> Judgement:
        """Advance to `following`, or try `current` again? Images (H, W, 3) uint8 RGB; `following` may be empty.

        state: the line of the prompt about the gripper's pose; empty unless the policy's option `state` is set.
        """
        ...
