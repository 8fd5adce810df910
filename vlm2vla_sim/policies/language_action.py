"""The closed loop of VLM2VLA: list the subtasks once, then repeatedly plan, act and verify.

The loop works with any `TextModel`, in this process or on a server, so that scores of models can be compared.
(Hancock et al., "Actions as Language", arXiv 2509.22195, section 3.1.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from vlm2vla_sim.errors import ActionTextError, AnswerError, SettingError
from vlm2vla_sim.language.answers import read_plan, read_subtasks
from vlm2vla_sim.language.formats import ActionFormat, is_self_delimiting, properties_of
from vlm2vla_sim.language.formats.properties import describe_format, read_action
from vlm2vla_sim.language.prompts import action_prompt, describe_state, plan_prompt, subtasks_prompt
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
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.policies.ensemble import Ensemble
from vlm2vla_sim.types import ActionChunk, Decision, Stage

MAX_ACTION_TOKENS = 2048
"""The longest text of any grammar (32 rows of seven numbers) needs fewer tokens, at one token a digit, so that a
constrained answer is never cut off."""

PAPER_SUBTASKS = Sampling(temperature=0.5, top_p=0.95, max_tokens=192)
PAPER_PLAN = Sampling(temperature=0.1, top_p=0.95, max_tokens=96)
PAPER_ACTION = Sampling(temperature=0.5, top_p=0.95, max_tokens=MAX_ACTION_TOKENS)
"""Temperatures and top-p of section 8.4 of the paper's appendix, for tasks in training; the token limits are ours."""

MAX_LAG = 0.03
"""[m] the largest distance, on each axis, between an arm that follows its target and the target; it is 1.3 cm on the
MuJoCo twin at the end of a lift of 6 cm."""

VERIFIED = "done: the verifier advanced past the last of"
"""How `ended` begins when the verifier has ended the episode."""

T = TypeVar("T")


@dataclass(frozen=True)
class StageSampling:
    """Sampling of each stage; as in the paper by default."""

    subtasks: Sampling = PAPER_SUBTASKS
    plan: Sampling = PAPER_PLAN
    action: Sampling = PAPER_ACTION

    def greedy(self) -> StageSampling:
        """The same limits with greedy decoding: for reproducible scores."""
        stages = (self.subtasks, self.plan, self.action)
        return StageSampling(*(dataclasses.replace(stage, temperature=0.0, top_p=1.0) for stage in stages))

    def out_of_distribution(self) -> StageSampling:
        """The paper's setting for tasks outside the training distribution: subtasks at temperature 1."""
        return dataclasses.replace(self, subtasks=dataclasses.replace(self.subtasks, temperature=1.0))


PAPER = StageSampling()


@dataclass(frozen=True)
class LoopSettings:
    """The variant of the loop, and its limits."""

    reasoning: bool = True
    """False: from the instruction directly to the action, without plan and verifier: the paper's VLM2VLA-NR."""
    state: bool = False
    """Put the gripper's pose into the prompts (`prompts.describe_state`). The paper's prompts do not have it."""
    commanded_state: bool = False
    """With `state`, the position in the prompts is the target of the last motion instead of the measured one: the arm
    lags behind its target, and the next motion starts from the target. If the two are further apart than `MAX_LAG`, the
    arm was stopped, and the measured position is used. Requires that every chunk is executed to its end, as
    `run_episode` does."""
    grounded_plan: bool = False
    """Ask for plans that begin with the object's position and distance; see `prompts.plan_prompt`."""
    max_attempts: int = 10
    """Attempts at one subtask before the policy gives up. The paper gives no number."""
    max_rows: int | None = None
    """Rows of a chunk that are executed before the model is asked again; None for all, as in the paper."""
    ensemble: int = 1
    """Carry out the mean of the last n predictions for each control step, as VLA-0 does with 8 (`ensemble.Ensemble`).
    More than 1 needs `max_rows`, and a format whose rows are control steps, such as "vla0"."""
    resample: int = 3
    """How often a stage is sampled again when its answer cannot be parsed. Every answer is recorded and counted."""
    constrained: bool = True
    """Constrain the action to the format's grammar; False to measure how often it cannot be parsed."""
    free_tokens: int = 256
    """The most tokens of an action without the grammar."""
    thinking_tokens: int = 0
    """The most tokens that the model thinks before each answer; 0: it does not think. See `Question.thinking`."""
    sampling: StageSampling = PAPER

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_attempts", self.max_attempts, 1),
            ("max_rows", self.max_rows, 1),
            ("ensemble", self.ensemble, 1),
            ("resample", self.resample, 0),
            ("free_tokens", self.free_tokens, 1),
            ("thinking_tokens", self.thinking_tokens, 0),
        ):
            if value is not None and value < least:
                raise SettingError(f"{name} is {value}; expected {least} or more.")


class LanguageActionPolicy:
    """Controls the arm with a text model, one subtask after the other."""

    def __init__(
        self,
        model: TextModel,
        action_format: ActionFormat,
        verifier: Verifier | None,
        *,
        settings: LoopSettings | None = None,
        pose: CommandedPose | None = None,
    ) -> None:
        """`verifier` may be None only without reasoning. pose: for formats that need it; by default as observed."""
        self.settings = settings or LoopSettings()
        self._check_ensemble(action_format)
        self._commanded, self._ensemble = pose or CommandedPose(), Ensemble(self.settings.ensemble)
        if verifier is None and self.settings.reasoning:
            raise SettingError(
                "The loop needs a verifier, which decides when a subtask is done. Give one, or set reasoning=False."
            )
        self._model, self._format, self._verifier = model, action_format, verifier
        prepare(model, [action_format.grammar()] if self.settings.constrained else [])
        prepare_thinking(model, self.settings.thinking_tokens)
        self.reset("")

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode."""
        self._instruction = instruction
        self._rng = np.random.default_rng(seed)
        self._subtasks: tuple[str, ...] = () if self.settings.reasoning else (instruction,)
        self._current = 0
        self._attempts = 0
        self._before: np.ndarray | None = None
        self._target: np.ndarray | None = None
        self._commanded.reset()
        self._ensemble.reset()
        self.ended = ""
        """Why `act` returned None; empty before."""
        self.judgement: Judgement | None = None
        """What the verifier answered in the last `act`; None if it was not asked."""

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """Verify the last motion, then plan and write the next one. None when done or out of attempts."""
        image = np.asarray(observation["pixels"]["primary"])
        stages: list[Stage] = []
        self.judgement = None
        where = self._where(np.asarray(observation["agent_pos"])) if self.settings.state else None
        state = "" if where is None else describe_state(where)
        if self._before is not None and not self._verify(self._before, image, state, stages):
            return None
        self._before = None
        if self.settings.reasoning and self._attempts >= self.settings.max_attempts:
            self.ended = f"gave up on {self._subtask!r} after {self._attempts} attempts"
            return None
        self._attempts += 1
        needs_pose = properties_of(self._format).needs_pose
        decision = self._decide(image, state, stages, self._commanded.now(observation) if needs_pose else None)
        self._commanded.said(decision.chunk)
        if where is not None and decision.chunk is not None:
            self._target = where[:3] + decision.chunk.deltas[:, :3].sum(axis=0)
        return decision

    def provenance(self) -> dict[str, Any]:
        """What the model and the verifier really use; see `policies.base.provenance`."""
        parts = {"model": provenance(self._model), "verifier": provenance(self._verifier)}
        parts["format"] = describe_format(self._format)
        return {name: values for name, values in parts.items() if values}

    # Parts.

    def _where(self, measured: np.ndarray) -> np.ndarray:
        """(7,) the state for the prompts. measured: (7,) as an observation's `agent_pos`."""
        if not self.settings.commanded_state or self._target is None:
            return measured
        stopped = np.abs(self._target - measured[:3]).max() > MAX_LAG
        return measured if stopped else np.concatenate([self._target, measured[3:]])

    @property
    def _subtask(self) -> str:
        return self._subtasks[self._current] if self._subtasks else "list the subtasks"

    def _verify(self, before: np.ndarray, after: np.ndarray, state: str, stages: list[Stage]) -> bool:
        """Ask the verifier about the last motion; returns whether a subtask is left."""
        if self._verifier is None or not self.settings.reasoning:
            return True
        following = self._subtasks[self._current + 1] if self._current + 1 < len(self._subtasks) else ""
        judgement = self._verifier.judge(before, after, current=self._subtask, following=following, state=state)
        self.judgement = judgement
        stages.append(judgement.stage)
        if not judgement.advance:
            return True
        if not following:
            self.ended = f"{VERIFIED} {len(self._subtasks)} subtasks"
            return False
        self._current += 1
        self._attempts = 0
        self._ensemble.reset()
        return True

    def _decide(self, image: np.ndarray, state: str, stages: list[Stage], pose: np.ndarray | None) -> Decision:
        how = self.settings.sampling
        plan, action, failures = "", "", 0
        try:
            if not self._subtasks:
                question = self._question("subtasks", subtasks_prompt(self._instruction), image, how.subtasks)
                self._subtasks = self._ask(question, read_subtasks, stages)
            if self.settings.reasoning:
                prompt = plan_prompt(self._subtask, state=state, grounded=self.settings.grounded_plan)
                question = self._question("plan", prompt, image, how.plan)
                plan = self._ask(question, read_plan, stages)
            prompt = action_prompt(self._subtask, plan, self._format, state=state)
            question = self._question("action", prompt, image, how.action)
            if self.settings.constrained:
                question = dataclasses.replace(question, grammar=self._format.grammar())
            else:
                # Without a grammar an answer may never end; one that is longer than this is no action.
                free = dataclasses.replace(how.action, max_tokens=min(how.action.max_tokens, self.settings.free_tokens))
                question = dataclasses.replace(question, sampling=free)
            chunk = self._ask(question, lambda text: read_action(self._format, text, pose), stages)
        except (ActionTextError, AnswerError) as unreadable:
            chunk, error = None, f"{stages[-1].name}: {unreadable}"
        else:
            error = ""
            self._before = image
        answers = [stage for stage in stages if stage.name == "action"]
        if answers:
            action = answers[-1].text
            failures = sum(bool(stage.error) for stage in answers)
        return Decision(
            subtask=self._subtask,
            plan=plan,
            action=action,
            chunk=None if chunk is None else self._first_rows(chunk),
            stages=tuple(stages),
            parse_failures=failures,
            error=error,
        )

    def _question(self, stage: str, prompt: str, image: np.ndarray, sampling: Sampling) -> Question:
        return Question(stage, prompt, (image,), sampling=sampling, thinking=self.settings.thinking_tokens)

    def _ask(self, question: Question, read: Callable[[str], T], stages: list[Stage]) -> T:
        """The parsed answer, sampled again while it is cut off or cannot be parsed. All are appended to `stages`."""
        # A greedy model repeats itself: asking again would cost time and count one failure several times.
        tries = 1 + (self.settings.resample if question.sampling.temperature else 0)
        while True:
            tries -= 1
            asked = dataclasses.replace(question, seed=int(self._rng.integers(2**31)))
            (stage,) = self._model.answer([asked])
            is_free = question.stage == "action" and question.grammar is None
            setting = "free_tokens" if is_free else f"LoopSettings.sampling.{question.stage}.max_tokens"
            stage = mark_cut_off(stage, question.limit, setting)
            try:
                if stage.error:
                    raise AnswerError(stage.error)
                answer = read(stage.text)
                if question.stage == "action":
                    self._check_end(stage)
            except (ActionTextError, AnswerError) as unreadable:
                stages.append(dataclasses.replace(stage, error=str(unreadable)))
                if not tries:
                    raise
            else:
                stages.append(stage)
                return answer

    def _check_end(self, stage: Stage) -> None:
        """Raise if neither the model says nor the text of an action shows that it is whole."""
        if stage.finish or is_self_delimiting(self._format, stage.text):
            return
        unknown = "The model does not say whether its answer is whole (Stage.finish, finish_reason on a server), and "
        if hasattr(self._format, "is_self_delimiting"):
            raise ActionTextError(f"{unknown}this text does not show where it ends, for want of an outer bracket.")
        raise SettingError(
            f"{unknown}texts of the format {self._format.name!r} do not show where they end. Use a model or a server "
            "that says it, or the format 'vlm2vla', whose lists end with a bracket."
        )

    def _check_ensemble(self, action_format: ActionFormat) -> None:
        stepwise = properties_of(action_format).stepwise
        if self.settings.ensemble > 1 and (self.settings.max_rows is None or not stepwise):
            lacks = "max_rows is not set" if stepwise else f"a row of {action_format.name!r} is no control step"
            raise SettingError(
                f"ensemble is {self.settings.ensemble}, but {lacks}. Use a format of control steps (vla0, clap) and "
                "max_rows=1, with which the model is asked at every step."
            )

    def _first_rows(self, chunk: ActionChunk) -> ActionChunk:
        """What is carried out of a prediction."""
        deltas = chunk.deltas
        if self.settings.ensemble > 1:
            deltas = self._ensemble.add(deltas)
            self._ensemble.carried_out(self.settings.max_rows or len(deltas))
        return dataclasses.replace(chunk, deltas=deltas[: self.settings.max_rows])
