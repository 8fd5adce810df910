"""VLM2VLA's closed loop: list the subtasks once; then plan, act, look whether it worked, and move on or try again.

Without one place for the loop, each model would be wrapped in its own, and a score could not say whether the words or
the wrapping were better. The model is anything that answers a `Question`; the loop knows no torch and no network.
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
from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.prompts import action_prompt, describe_state, plan_prompt, subtasks_prompt
from vlm2vla_sim.policies.base import Question, Sampling, TextModel, Verifier
from vlm2vla_sim.types import ActionChunk, Decision, Stage

LONGEST_ACTION = 2048
"""Tokens of an action at most. The longest text of any grammar (32 rows of seven numbers) needs fewer, one token a
character for digits, so a constrained answer is never cut off."""

PAPER_SUBTASKS = Sampling(temperature=0.5, top_p=0.95, max_tokens=192)
PAPER_PLAN = Sampling(temperature=0.1, top_p=0.95, max_tokens=96)
PAPER_ACTION = Sampling(temperature=0.5, top_p=0.95, max_tokens=LONGEST_ACTION)
"""Temperatures and top-p as in section 8.4 of the paper's appendix, for tasks it was trained on; limits are ours."""

LAGGING = 0.03
"""[m] the most, each axis, by which an arm that still follows its target is behind it; 1.3 cm on the twin at the end of
a lift of 6 cm."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StageSampling:
    """How each stage is sampled; the paper's way by default."""

    subtasks: Sampling = PAPER_SUBTASKS
    plan: Sampling = PAPER_PLAN
    action: Sampling = PAPER_ACTION

    def greedy(self) -> StageSampling:
        """The same limits, and always the likeliest token: for scores that can be had again."""
        stages = (self.subtasks, self.plan, self.action)
        return StageSampling(*(dataclasses.replace(stage, temperature=0.0, top_p=1.0) for stage in stages))

    def out_of_distribution(self) -> StageSampling:
        """What the paper does for tasks unlike those trained on: subtasks are drawn at temperature 1."""
        return dataclasses.replace(self, subtasks=dataclasses.replace(self.subtasks, temperature=1.0))


PAPER = StageSampling()


@dataclass(frozen=True)
class LoopSettings:
    """Which variant of the loop, and where it stops."""

    reasoning: bool = True
    """False: from the instruction straight to the action, the paper's ablation VLM2VLA-NR. It asks no verifier."""
    state: bool = False
    """Tell the model where the gripper is (`prompts.describe_state`). The paper's model is not told."""
    commanded: bool = False
    """Tell it where the last motion was to end, not where the gripper is by then: it lags behind its target, and the
    next motion starts from the target. Where the two are further apart than `LAGGING` the arm was stopped, and it is
    told what was measured. For whoever carries out every chunk to its end, as `run_episode` does."""
    located: bool = False
    """Ask for plans that begin with where the gripper has to go; see `prompts.plan_prompt`."""
    max_attempts: int = 10
    """Cycles spent on one subtask before the policy gives up. The paper states no number."""
    max_rows: int | None = None
    """Rows of a chunk that are carried out before the model is asked again; None for all of them, as in the paper."""
    resample: int = 3
    """How often a stage is asked again when its answer cannot be read. Every such answer is kept and counted."""
    constrained: bool = True
    """Hold the action to the format's grammar; False to see how often the model writes what cannot be read."""
    free_tokens: int = 256
    """Tokens of an action at most, where no grammar makes it end."""
    sampling: StageSampling = PAPER

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_attempts", self.max_attempts, 1),
            ("max_rows", self.max_rows, 1),
            ("resample", self.resample, 0),
            ("free_tokens", self.free_tokens, 1),
        ):
            if value is not None and value < least:
                raise SettingError(f"{name} is {value}; expected {least} or more.")


class LanguageActionPolicy:
    """Lets a text model move the arm, one subtask after the other."""

    def __init__(
        self,
        model: TextModel,
        action_format: ActionFormat,
        verifier: Verifier | None,
        *,
        settings: LoopSettings | None = None,
    ) -> None:
        """`verifier` may be None only without reasoning."""
        self.settings = settings or LoopSettings()
        if verifier is None and self.settings.reasoning:
            raise SettingError(
                "The loop needs a verifier to know when a subtask is done. Give one, or turn reasoning off."
            )
        self._model, self._format, self._verifier = model, action_format, verifier
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
        self.ended = ""
        """Why `act` returned None; empty until it did."""

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """Verify what was done, then plan and write the next motion. None once done, or out of attempts."""
        picture = np.asarray(observation["pixels"]["primary"])
        stages: list[Stage] = []
        where = self._where(np.asarray(observation["agent_pos"])) if self.settings.state else None
        state = "" if where is None else describe_state(where)
        if self._before is not None and not self._verify(self._before, picture, state, stages):
            return None
        self._before = None
        if self.settings.reasoning and self._attempts >= self.settings.max_attempts:
            self.ended = f"gave up on {self._subtask!r} after {self._attempts} attempts"
            return None
        self._attempts += 1
        decision = self._decide(picture, state, stages)
        if where is not None and decision.chunk is not None:
            self._target = where[:3] + decision.chunk.deltas[:, :3].sum(axis=0)
        return decision

    # Parts.

    def _where(self, measured: np.ndarray) -> np.ndarray:
        """(7,) the state that the prompts tell. measured: (7,) as an observation's `agent_pos`."""
        if not self.settings.commanded or self._target is None:
            return measured
        stopped = np.abs(self._target - measured[:3]).max() > LAGGING
        return measured if stopped else np.concatenate([self._target, measured[3:]])

    @property
    def _subtask(self) -> str:
        return self._subtasks[self._current] if self._subtasks else "list the subtasks"

    def _verify(self, before: np.ndarray, after: np.ndarray, state: str, stages: list[Stage]) -> bool:
        """Whether there is more to do."""
        if self._verifier is None or not self.settings.reasoning:
            return True
        following = self._subtasks[self._current + 1] if self._current + 1 < len(self._subtasks) else ""
        judgement = self._verifier.judge(before, after, current=self._subtask, following=following, state=state)
        stages.append(judgement.stage)
        if not judgement.advance:
            return True
        if not following:
            self.ended = f"done: the verifier advanced past the last of {len(self._subtasks)} subtasks"
            return False
        self._current += 1
        self._attempts = 0
        return True

    def _decide(self, picture: np.ndarray, state: str, stages: list[Stage]) -> Decision:
        how = self.settings.sampling
        plan, action, failures = "", "", 0
        try:
            if not self._subtasks:
                question = self._question("subtasks", subtasks_prompt(self._instruction), picture, how.subtasks)
                self._subtasks = self._ask(question, read_subtasks, stages)
            if self.settings.reasoning:
                prompt = plan_prompt(self._subtask, state=state, located=self.settings.located)
                question = self._question("plan", prompt, picture, how.plan)
                plan = self._ask(question, read_plan, stages)
            prompt = action_prompt(self._subtask, plan, self._format, state=state)
            question = self._question("action", prompt, picture, how.action)
            if self.settings.constrained:
                question = dataclasses.replace(question, grammar=self._format.grammar())
            else:
                # Without a grammar nothing makes it end, and what has not ended by then is no action.
                free = dataclasses.replace(how.action, max_tokens=min(how.action.max_tokens, self.settings.free_tokens))
                question = dataclasses.replace(question, sampling=free)
            chunk = self._ask(question, self._format.read, stages)
        except (ActionTextError, AnswerError) as unreadable:
            chunk, error = None, f"{stages[-1].name}: {unreadable}"
        else:
            error = ""
            self._before = picture
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

    def _question(self, stage: str, prompt: str, picture: np.ndarray, sampling: Sampling) -> Question:
        return Question(stage, prompt, (picture,), sampling=sampling)

    def _ask(self, question: Question, read: Callable[[str], Answer], stages: list[Stage]) -> Answer:
        """The answer, read; asked again while it cannot be. Every answer goes into `stages`."""
        # A greedy model says the same again: asking it would cost time and count one fault several times.
        tries = 1 + (self.settings.resample if question.sampling.temperature else 0)
        while True:
            tries -= 1
            asked = dataclasses.replace(question, seed=int(self._rng.integers(2**31)))
            (stage,) = self._model.answer([asked])
            try:
                answer = read(stage.text)
            except (ActionTextError, AnswerError) as unreadable:
                stages.append(dataclasses.replace(stage, error=str(unreadable)))
                if not tries:
                    raise
            else:
                stages.append(stage)
                return answer

    def _first_rows(self, chunk: ActionChunk) -> ActionChunk:
        return ActionChunk(chunk.deltas[: self.settings.max_rows], chunk.text)
