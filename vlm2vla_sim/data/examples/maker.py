"""Turns labelled trajectories into training examples: the images, prompt and answer of each stage of the loop.

Training prompts must be identical to the prompts sent in evaluation. Every prompt is therefore made by
`language.prompts` from what the loop has at that moment: the subtask and plan as parsed back from the answers. A test
compares the examples byte for byte with what the loop and the verifier send.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.data.episode import Example, LabelledTrajectory, Phase
from vlm2vla_sim.data.examples.auxiliary import direction_examples
from vlm2vla_sim.data.examples.spans import OTHER_RATE, spoken_motions
from vlm2vla_sim.data.examples.verdicts import verdict_after
from vlm2vla_sim.errors import ActionError, AnswerError, SettingError, unknown_name
from vlm2vla_sim.language.answers import read_plan, read_subtasks, write_subtasks
from vlm2vla_sim.language.formats import ActionFormat, properties_of
from vlm2vla_sim.language.formats.properties import write_action
from vlm2vla_sim.language.prompts import (
    RETRY,
    action_prompt,
    describe_state,
    plan_prompt,
    subtasks_prompt,
    verify_prompt,
)
from vlm2vla_sim.language.translations import ENGLISH, TRANSLATIONS, english_of, translate

STAGES = ("subtasks", "plan", "action", "verify", "direction")
"""The loop's stages in order, the verifier's, and the auxiliary question of `data.examples.auxiliary`."""
FAILED = "subtasks, plans and actions of a failed demonstration (--include-failures uses them)"


@dataclass(frozen=True)
class ExampleSettings:
    """Which examples are made, and how they are worded."""

    action_format: ActionFormat
    """The format of actions; for the paper's VLM2VLA-AT the format "tokens" with the model's ten rarest tokens."""
    reasoning: bool = True
    """False: from the instruction directly to the action, the paper's VLM2VLA-NR, without any other stage."""
    stages: tuple[str, ...] = STAGES
    languages: tuple[str, ...] = (ENGLISH,)
    """Languages of the instruction, one example for each. English alone leaves each instruction as it was recorded, in
    whatever language and words. The paper trains on English only."""
    state: bool = False
    """Include the state of the gripper in the prompt, as the loop does with its option `state`."""
    include_failures: bool = False
    """Make examples of all stages of demonstrations that are known to have failed. By default they give verdicts only:
    what they did is not what the instruction asks for."""

    def __post_init__(self) -> None:
        for stage in self.stages:
            if stage not in STAGES:
                raise unknown_name("stage", stage, STAGES)
        for language in self.languages:
            translate(next(iter(TRANSLATIONS)), language)
        if not (self.stages and self.languages):
            raise SettingError("The stages or the languages are empty; expected at least one of each.")
        if not properties_of(self.action_format).recorded:
            raise SettingError(
                f"Training text in the format {self.action_format.name!r} cannot be made of recorded motion, which is "
                "none of its phrases. Use another format, such as 'vlm2vla' or 'lap'."
            )
        if not self.reasoning and "action" not in self.stages:
            raise SettingError("Without reasoning the only stage is 'action', which is not among the stages.")


class ExampleMaker:
    """Makes examples, and counts what could not be turned into one."""

    def __init__(self, settings: ExampleSettings) -> None:
        self.settings = settings
        self.skipped: Counter[str] = Counter()
        """Reason -> count."""

    def make(self, labelled: Iterable[LabelledTrajectory]) -> Iterator[Example]:
        """The examples of all trajectories, as a stream; SettingError at its end if all that is left are failures."""
        failures = others = 0
        for one in labelled:
            failed = self._is_left_out(one)
            failures, others = failures + failed, others + (not failed)
            yield from (dataclasses.replace(made, episode=one.trajectory.name) for made in self.make_one(one))
        if failures and not others:
            raise SettingError(
                f"All {failures} demonstrations failed, so there is no subtask, plan or action to learn. Record some "
                "that succeed, or learn from these as well (--include-failures)."
            )

    def make_one(self, labelled: LabelledTrajectory) -> Iterator[Example]:
        """The examples of one trajectory."""
        if not labelled.phases:
            self.skipped["a trajectory without phases"] += 1
            return
        if self._is_left_out(labelled):
            self.skipped[FAILED] += 1
        if not self.settings.reasoning:
            if self._is_left_out(labelled):
                return
            for phase in labelled.phases:
                for instruction in self._instructions(labelled):
                    yield from self._action(labelled, phase, instruction, plan="")
            return
        try:
            subtasks = read_subtasks(write_subtasks(labelled.subtasks))
        except AnswerError:
            subtasks = ()
        if len(subtasks) != len(labelled.subtasks):
            self.skipped["subtasks that cannot be parsed back"] += 1
            return
        names = dict(zip(labelled.subtasks, subtasks, strict=True))
        if self._is_left_out(labelled):
            for number in range(len(labelled.phases)):
                yield from self._verify(labelled, number, names)
            return
        yield from self._subtasks(labelled)
        for number, phase in enumerate(labelled.phases):
            yield from self._plan_and_action(labelled, phase, names[phase.subtask])
            yield from self._verify(labelled, number, names)
        if "direction" in self.settings.stages:
            yield from direction_examples(labelled)

    def _is_left_out(self, labelled: LabelledTrajectory) -> bool:
        """Whether only verdicts are made of it."""
        return labelled.trajectory.success is False and not self.settings.include_failures

    # The stages, in the order of the loop.

    def _subtasks(self, labelled: LabelledTrajectory) -> Iterator[Example]:
        if "subtasks" in self.settings.stages:
            first = labelled.trajectory.images[0]
            answer = write_subtasks(labelled.subtasks)
            for instruction in self._instructions(labelled):
                yield Example("subtasks", (first,), subtasks_prompt(instruction), answer)

    def _plan_and_action(self, labelled: LabelledTrajectory, phase: Phase, subtask: str) -> Iterator[Example]:
        try:
            plan = read_plan(phase.plan)
        except AnswerError:
            self.skipped["a plan that cannot be parsed back"] += 1
            return
        if "plan" in self.settings.stages:
            image = labelled.trajectory.images[phase.start]
            prompt = plan_prompt(subtask, state=self._state(labelled, phase.start))
            yield Example("plan", (image,), prompt, phase.plan)
        if "action" in self.settings.stages:
            yield from self._action(labelled, phase, subtask, plan)

    def _action(self, labelled: LabelledTrajectory, phase: Phase, subtask: str, plan: str) -> Iterator[Example]:
        action_format = self.settings.action_format
        motions = list(spoken_motions(labelled, phase, properties_of(action_format)))
        self.skipped[OTHER_RATE] += not motions
        for frame, deltas in motions:
            try:
                text = write_action(action_format, deltas, labelled.trajectory.states[frame])
            except ActionError:
                self.skipped["motion that the format cannot write"] += 1
                continue
            image = labelled.trajectory.images[frame]
            prompt = action_prompt(subtask, plan, action_format, state=self._state(labelled, frame))
            yield Example("action", (image,), prompt, text)

    def _state(self, labelled: LabelledTrajectory, frame: int) -> str:
        return describe_state(labelled.trajectory.states[frame]) if self.settings.state else ""

    def _verify(self, labelled: LabelledTrajectory, number: int, names: dict[str, str]) -> Iterator[Example]:
        """Done or not after a phase (see `verdict_after`), and not done half-way through it."""
        if "verify" not in self.settings.stages:
            return
        phases, images = labelled.phases, labelled.trajectory.images
        phase = phases[number]
        later = [names[other.subtask] for other in phases[number + 1 :]]
        current = names[phase.subtask]
        following = next((subtask for subtask in later if subtask != current), "")
        before = images[phase.start]

        def judged(frame: int, verdict: str) -> Example:
            prompt = verify_prompt(current, following, state=self._state(labelled, frame))
            return Example("verify", (before, images[frame]), prompt, verdict)

        half = (phase.stop - phase.start) // 2
        if half:
            yield judged(phase.start + half, RETRY)
        if phase.stop >= len(images):
            self.skipped["a verdict without an image after the motion"] += 1
            return
        verdict = verdict_after(labelled, number)
        if verdict is None:
            self.skipped["a verdict that the recording does not tell"] += 1
        else:
            yield judged(phase.stop, verdict)

    def _instructions(self, labelled: LabelledTrajectory) -> Iterator[str]:
        recorded, english = labelled.trajectory.instruction, labelled.trajectory.instruction_en
        if self.settings.languages == (ENGLISH,):
            yield recorded
            return
        for language in self.settings.languages:
            if language == ENGLISH:
                yield english_of(recorded) or recorded
            elif (english or recorded) in TRANSLATIONS:
                yield translate(english or recorded, language)
            else:
                self.skipped[f"an instruction without a translation ({language})"] += 1


def to_chat(example: Example) -> dict[str, Any]:
    """The example in TRL's and transformers' chat format: `images`, and `prompt` and `completion` as messages.

    The user message has the parts of `PromptMaker.messages` in `policies.models.hf_prompt`, in the same order.
    """
    from PIL import Image

    parts: list[dict[str, str]] = [{"type": "image"} for _ in example.images]
    return {
        "images": [Image.fromarray(np.ascontiguousarray(image)) for image in example.images],
        "prompt": [{"role": "user", "content": [*parts, {"type": "text", "text": example.prompt}]}],
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": example.completion}]}],
    }
