"""The loop of a zero-shot model: a picture and what is known of the scene in, one motion out, until it says "done".

There is no verifier and no list of subtasks: the model sees the scene after every motion, and judges itself. An answer
that cannot be used is given back to it with the reason, as often as `resample` says, also with greedy decoding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlm2vla_sim.errors import ActionTextError, AnswerError, SettingError
from vlm2vla_sim.language.formats import ActionFormat, is_self_delimiting
from vlm2vla_sim.language.formats.properties import describe_format, read_action
from vlm2vla_sim.language.zero_shot import (
    Turn,
    ZeroShotPrompt,
    rules_prompt,
    zero_shot_hash,
    zero_shot_prompt,
)
from vlm2vla_sim.language.zero_shot_answers import ZeroShotAnswer, read_zero_shot_answer
from vlm2vla_sim.language.zero_shot_scene import ZeroShotFacts, describe_state
from vlm2vla_sim.policies.base import Question, Sampling, TextModel, mark_cut_off, prepare_thinking, provenance
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.policies.zero_shot.overlay import draw_overlay
from vlm2vla_sim.types import ActionChunk, Decision, Stage

STAGE = "action"
"""The stage of every question."""


@dataclass(frozen=True)
class ZeroShotSettings:
    """The variant of the loop, and its limits."""

    reasoning: bool = True
    """Ask for the scene, a subtask and a plan before the action."""
    history: int = 0
    """The last decisions of the episode that a prompt shows, with their pictures."""
    max_rows: int | None = None
    """Rows of a chunk that are executed before the model is asked again; None for all."""
    resample: int = 3
    """How often the model is asked again when its answer cannot be used."""
    thinking_tokens: int = 0
    """The most tokens that the model thinks before each answer (`Question.thinking`); 0 leaves it to the model."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.5, top_p=0.95, max_tokens=1024))

    def __post_init__(self) -> None:
        for name, value, least in (
            ("history", self.history, 0),
            ("max_rows", self.max_rows, 1),
            ("resample", self.resample, 0),
            ("thinking_tokens", self.thinking_tokens, 0),
        ):
            if value is not None and value < least:
                raise SettingError(f"{name} is {value}; expected {least} or more.")


class ZeroShotPolicy:
    """Controls the arm with a model that knows nothing of it but its prompt."""

    def __init__(
        self,
        model: TextModel,
        action_format: ActionFormat,
        facts: ZeroShotFacts,
        *,
        pose: CommandedPose | None = None,
        examples: Sequence[Turn] = (),
        settings: ZeroShotSettings | None = None,
    ) -> None:
        """Create the policy.

        facts: what the prompts tell of robot and scene. pose: the controller's target, to which the next motion is
        added; None: it is not known, as on a policy server, and the prompts say where the gripper is only. examples:
        decisions that precede the task in every prompt.

        The pictures of `examples` are shown as they are; those of the episode get the overlay of `facts`.
        """
        self.settings = settings or ZeroShotSettings()
        self._model, self._format, self._facts = model, action_format, facts
        self._sent, self._commanded = pose is not None, pose or CommandedPose()
        self._examples = tuple(examples)
        self._rules = rules_prompt(action_format, facts, reasoning=self.settings.reasoning)
        if self.settings.thinking_tokens:
            prepare_thinking(model, self.settings.thinking_tokens)
        self._places = bool(getattr(model, "places_images", False))
        self.reset("")

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode."""
        self._instruction = instruction
        self._rng = np.random.default_rng(seed)
        self._history: list[Turn] = []
        self._decisions = 0
        self._subtask = instruction
        self._commanded.reset()
        self.ended = ""
        """Why `act` returned None; empty before."""

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """Ask for the next motion; None once the model says that the task is done."""
        state = np.asarray(observation["agent_pos"], np.float64)
        picture = draw_overlay(np.asarray(observation["pixels"]["primary"]), self._facts)
        pose = self._commanded.now(observation)
        sent = pose[:6] if self._sent and pose is not None else None
        now = Turn(picture, describe_state(state, sent=sent, camera=self._facts.camera), "")
        self._decisions += 1
        stages: list[Stage] = []
        answer, chunk, error = self._ask(now, stages, pose)
        if answer is not None and answer.done:
            self.ended = f"the model said that the task is done, after {self._decisions - 1} decisions"
            return None
        if answer is not None and chunk is not None:
            self._subtask = answer.subtask or self._subtask
        self._commanded.said(chunk)
        note = f"The arm did not move: {error}" if error else ""
        self._history = [*self._history, dataclasses.replace(now, answer=stages[-1].text, note=note)]
        self._history = self._history[len(self._history) - min(self.settings.history, len(self._history)) :]
        return Decision(
            subtask=self._subtask,
            plan=answer.plan if answer is not None else "",
            action=answer.action if answer is not None else stages[-1].text,
            chunk=chunk,
            stages=tuple(stages),
            parse_failures=sum(bool(stage.error) for stage in stages),
            error=f"{STAGE}: {error}" if error else "",
        )

    def provenance(self) -> dict[str, Any]:
        """What the model really uses (see `policies.base.provenance`), and the hash of the zero-shot prompts."""
        parts = {"model": provenance(self._model), "zero_shot": {"prompts": zero_shot_hash()}}
        parts["format"] = describe_format(self._format)
        return {name: values for name, values in parts.items() if values}

    # Parts.

    def _ask(
        self, now: Turn, stages: list[Stage], pose: np.ndarray | None
    ) -> tuple[ZeroShotAnswer | None, ActionChunk | None, str]:
        """The answer, its motion (None when the task is done) and, where no answer can be used, why.

        All answers are appended to `stages`.
        """
        for _ in range(1 + self.settings.resample):
            prompt = zero_shot_prompt(
                self._rules,
                self._instruction,
                now,
                examples=self._examples,
                history=self._history,
                number=self._decisions,
            )
            question = self._question(prompt)
            (stage,) = self._model.answer([question])
            stage = mark_cut_off(stage, question.limit, "answer_tokens")
            try:
                answer, chunk = self._read(stage, pose)
            except (ActionTextError, AnswerError) as unusable:
                stages.append(dataclasses.replace(stage, error=str(unusable)))
                now = dataclasses.replace(now, answer=stage.text, note=str(unusable))
            else:
                stages.append(stage)
                return answer, chunk, ""
        return None, None, stages[-1].error

    def _question(self, prompt: ZeroShotPrompt) -> Question:
        places = prompt.places if self._places else ()
        seed = int(self._rng.integers(2**31))
        return Question(
            STAGE,
            prompt.text,
            prompt.pictures,
            sampling=self.settings.sampling,
            seed=seed,
            places=places,
            thinking=self.settings.thinking_tokens,
        )

    def _read(self, stage: Stage, pose: np.ndarray | None) -> tuple[ZeroShotAnswer, ActionChunk | None]:
        if stage.error:
            raise AnswerError(stage.error)
        answer = read_zero_shot_answer(stage.text)
        if answer.done:
            return answer, None
        chunk = read_action(self._format, answer.action, pose)
        if not stage.finish and not is_self_delimiting(self._format, answer.action):
            raise ActionTextError(
                "The server does not say whether the answer is whole (finish_reason), and texts of the format "
                f"{self._format.name!r} do not show where they end."
            )
        return answer, dataclasses.replace(chunk, deltas=chunk.deltas[: self.settings.max_rows])
