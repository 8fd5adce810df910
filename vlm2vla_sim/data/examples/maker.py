"""Turns labelled trajectories into rows of training text: what each stage of the loop is shown, asked, and to answer.

A model is only as good as its training text is like what it is asked later. So every prompt here is made by
`language.prompts`, from what the loop would have at that moment: the subtask and the plan as they are read back from
the answers, not as they were written. A test holds the rows byte for byte to what the loop and the verifier send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.data.episode import Example, Labelled, Phase
from vlm2vla_sim.data.examples.auxiliary import direction_examples
from vlm2vla_sim.errors import ActionError, AnswerError, SettingError, unknown_name
from vlm2vla_sim.language.answers import read_plan, read_subtasks, write_subtasks
from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.prompts import (
    ADVANCE,
    RETRY,
    action_prompt,
    describe_state,
    plan_prompt,
    subtasks_prompt,
    verify_prompt,
)
from vlm2vla_sim.language.translations import ENGLISH, TRANSLATIONS, translate

STAGES = ("subtasks", "plan", "action", "verify", "direction")
"""The loop's stages in its order, the verifier's, and the auxiliary question of `data.auxiliary`."""


@dataclass(frozen=True)
class ExampleSettings:
    """Which rows are made, and in which words."""

    action_format: ActionFormat
    """How the action is written; for the paper's VLM2VLA-AT the format "tokens" with the model's ten rare tokens."""
    reasoning: bool = True
    """False: from the instruction straight to the action, the paper's VLM2VLA-NR; no other stage is made."""
    stages: tuple[str, ...] = STAGES
    languages: tuple[str, ...] = (ENGLISH,)
    """What a task's instruction is said in; one row for each. The paper trains on English alone."""
    state: bool = False
    """Tell where the gripper is, as the loop does with its setting `state`."""

    def __post_init__(self) -> None:
        for stage in self.stages:
            if stage not in STAGES:
                raise unknown_name("stage", stage, STAGES)
        for language in self.languages:
            translate(next(iter(TRANSLATIONS)), language)
        if not (self.stages and self.languages):
            raise SettingError("No stage or no language was asked for; expected one or more of each.")
        if not self.reasoning and "action" not in self.stages:
            raise SettingError("Without reasoning there is only the stage 'action'; it was left out.")


class ExampleMaker:
    """Makes the rows, and counts what no row could be made of."""

    def __init__(self, settings: ExampleSettings) -> None:
        self.settings = settings
        self.skipped: Counter[str] = Counter()
        """Reason -> how many."""

    def make(self, labelled: Iterable[Labelled]) -> Iterator[Example]:
        """The rows of all of them, one trajectory after the other; nothing is kept in memory."""
        for one in labelled:
            yield from self.make_one(one)

    def make_one(self, labelled: Labelled) -> Iterator[Example]:
        """The rows of one trajectory."""
        if not labelled.phases:
            self.skipped["a trajectory without phases"] += 1
            return
        if not self.settings.reasoning:
            for phase in labelled.phases:
                for instruction in self._instructions(labelled):
                    yield from self._action(labelled, phase, instruction, plan="")
            return
        try:
            subtasks = read_subtasks(write_subtasks(labelled.subtasks))
        except AnswerError:
            subtasks = ()
        if len(subtasks) != len(labelled.subtasks):
            self.skipped["subtasks that cannot be read back"] += 1
            return
        yield from self._subtasks(labelled)
        names = dict(zip(labelled.subtasks, subtasks, strict=True))
        for number, phase in enumerate(labelled.phases):
            yield from self._plan_and_action(labelled, phase, names[phase.subtask])
            yield from self._verify(labelled, number, names)
        if "direction" in self.settings.stages:
            yield from direction_examples(labelled)

    # The stages, in the order in which the loop asks them.

    def _subtasks(self, labelled: Labelled) -> Iterator[Example]:
        if "subtasks" in self.settings.stages:
            first = labelled.trajectory.pictures[0]
            answer = write_subtasks(labelled.subtasks)
            for instruction in self._instructions(labelled):
                yield Example("subtasks", (first,), subtasks_prompt(instruction), answer)

    def _plan_and_action(self, labelled: Labelled, phase: Phase, subtask: str) -> Iterator[Example]:
        try:
            plan = read_plan(phase.plan)
        except AnswerError:
            self.skipped["a plan that cannot be read back"] += 1
            return
        if "plan" in self.settings.stages:
            picture = labelled.trajectory.pictures[phase.start]
            yield Example(
                "plan", (picture,), plan_prompt(subtask, state=self._state(labelled, phase.start)), phase.plan
            )
        if "action" in self.settings.stages:
            yield from self._action(labelled, phase, subtask, plan)

    def _action(self, labelled: Labelled, phase: Phase, subtask: str, plan: str) -> Iterator[Example]:
        how = self.settings.action_format
        try:
            written = how.write(phase.chunk.deltas)
        except ActionError:
            self.skipped["motion that the format cannot write"] += 1
            return
        picture = labelled.trajectory.pictures[phase.start]
        prompt = action_prompt(subtask, plan, how, state=self._state(labelled, phase.start))
        yield Example("action", (picture,), prompt, written)

    def _state(self, labelled: Labelled, frame: int) -> str:
        return describe_state(labelled.trajectory.states[frame]) if self.settings.state else ""

    def _verify(self, labelled: Labelled, number: int, names: dict[str, str]) -> Iterator[Example]:
        """Done after the last phase of a subtask; not done after an earlier one, nor half-way through any."""
        if "verify" not in self.settings.stages:
            return
        phases, pictures = labelled.phases, labelled.trajectory.pictures
        phase = phases[number]
        later = [names[other.subtask] for other in phases[number + 1 :]]
        current = names[phase.subtask]
        following = next((subtask for subtask in later if subtask != current), "")
        before = pictures[phase.start]

        def judged(frame: int, verdict: str) -> Example:
            prompt = verify_prompt(current, following, state=self._state(labelled, frame))
            return Example("verify", (before, pictures[frame]), prompt, verdict)

        half = (phase.stop - phase.start) // 2
        if half:
            yield judged(phase.start + half, RETRY)
        if phase.stop >= len(pictures):
            self.skipped["a verdict without a picture after the motion"] += 1
            return
        done = not later or later[0] != current
        yield judged(phase.stop, ADVANCE if done else RETRY)

    def _instructions(self, labelled: Labelled) -> Iterator[str]:
        instruction = labelled.trajectory.instruction
        for language in self.settings.languages:
            if language == ENGLISH or instruction in TRANSLATIONS:
                yield translate(instruction, language)
            else:
                self.skipped[f"an instruction without a translation ({language})"] += 1


def to_chat(example: Example) -> dict[str, Any]:
    """The row as TRL and transformers read it: `images`, and `prompt` and `completion` as turns of a conversation.

    The user's turn has the parts of `policies.hf_prompt.PromptMaker.messages`, in the same order.
    """
    from PIL import Image

    parts: list[dict[str, str]] = [{"type": "image"} for _ in example.images]
    return {
        "images": [Image.fromarray(np.ascontiguousarray(image)) for image in example.images],
        "prompt": [{"role": "user", "content": [*parts, {"type": "text", "text": example.prompt}]}],
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": example.completion}]}],
    }
