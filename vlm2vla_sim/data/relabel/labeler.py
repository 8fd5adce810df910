"""Labels trajectories with a vision-language model: it divides them into named phases; the numbers stay measured.

The model sees the frames at events, the numeric log of every step and the axes. Its answer is checked against the
motion (`span_check`), and one that does not hold is sent back with the reasons before the trajectory is skipped. Every
answer is cached under a hash of its question. The labels are compared with those of the rules (`agreement`).

A labeler waits for its server nearly all the time, so several trajectories are labelled in threads of one process
(`executors.threads`): 32 requests in flight would otherwise take 32 processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.agreement import compare_labels
from vlm2vla_sim.data.relabel.rules import LabelingRules, label_spans, relabel
from vlm2vla_sim.data.relabel.shown_frames import event_frames
from vlm2vla_sim.data.relabel.span_check import check_spans
from vlm2vla_sim.errors import AnswerError, DataError, SettingError
from vlm2vla_sim.language.label_prompt import label_prompt, read_spans

AskModel = Callable[[str, Sequence[np.ndarray]], str]
"""(prompt, images, each (H, W, 3) uint8 RGB) -> the model's answer; AnswerError for one that was cut off."""


@dataclass(frozen=True)
class LabelerSettings:
    """How the model is queried."""

    model: str
    """Its name, part of the cache key."""
    pictures: int = 6
    """Maximum number of images: of the first and last frame, gripper changes and turns. Replications of the paper found
    no gain from more; the log of states helps."""
    retries: int = 1
    """How often an answer that cannot be used is sent back to be repaired."""

    temperature: float = 0.2
    """Sampling temperature; part of the key of the answer cache."""

    def __post_init__(self) -> None:
        if self.pictures < 1 or self.retries < 0:
            raise SettingError(f"pictures is {self.pictures}, retries {self.retries}; expected at least 1 and 0.")


class Labeler:
    """Labels trajectories by querying a model; several threads may call it."""

    def __init__(self, ask: AskModel, settings: LabelerSettings, rules: LabelingRules, cache: Path) -> None:
        """cache: a folder in which every whole answer is stored, unusable ones included."""
        self._ask, self._settings, self._rules, self._cache = ask, settings, rules, cache
        self.unused: Counter[str] = Counter()
        """Answers of this run that were not used: the number that were "cut off", and "inconsistent"."""
        self._counting = threading.Lock()

    def __call__(self, trajectory: Trajectory) -> LabelledTrajectory:
        """Label `trajectory`; DataError if the rules find no motion in it, or no answer of the model is consistent."""
        try:
            by_rules = relabel(trajectory, self._rules)
        except DataError as error:
            raise DataError(f"{str(error).rstrip('.')}; the model was not queried.") from error
        labelled = self._label(trajectory, event_frames(by_rules, self._settings.pictures))
        return dataclasses.replace(labelled, agreement=compare_labels(labelled, by_rules))

    def _label(self, trajectory: Trajectory, shown: Sequence[int]) -> LabelledTrajectory:
        images = [trajectory.images[index] for index in shown]
        why = answer = ""
        for attempt in range(self._settings.retries + 1):
            prompt = label_prompt(
                trajectory.instruction_en or trajectory.instruction,
                trajectory.states,
                trajectory.actions[:, 6],
                fps=trajectory.fps,
                shown=shown,
                why=why,
                answer=answer,
            )
            answer, kind = "", "cut off"
            try:
                answer = self._answer(prompt, images, attempt)
                kind = "inconsistent"
                return self._checked(trajectory, answer)
            except AnswerError as error:
                why = str(error)
                with self._counting:
                    self.unused[kind] += 1
        raise DataError(
            f"The model was queried {self._settings.retries + 1} times without a usable answer; the last one: {why}"
        )

    def _checked(self, trajectory: Trajectory, answer: str) -> LabelledTrajectory:
        """The labels that `answer` gives; AnswerError where it cannot be read or contradicts the motion."""
        spans = read_spans(answer, len(trajectory))
        check_spans(trajectory, spans, self._rules.grip)
        try:
            return label_spans(trajectory, spans, self._rules)
        except DataError as error:  # a phase of too many rows
            raise AnswerError(str(error)) from error

    def _answer(self, prompt: str, images: Sequence[np.ndarray], attempt: int) -> str:
        # The attempt is part of the key, so that a repeated question is sent again instead of read from the cache.
        key = f"{self._settings.model}\0{self._settings.temperature}\0{prompt}\0{attempt}\0"
        question = hashlib.sha256(key.encode())
        for image in images:
            question.update(f"{image.shape}".encode())
            question.update(np.ascontiguousarray(image).tobytes())
        path = self._cache / f"{question.hexdigest()[:40]}.json"
        if path.exists():
            return str(json.loads(path.read_text(encoding="utf-8"))["answer"])
        answer = self._ask(prompt, images)
        write_text(path, json.dumps({"model": self._settings.model, "prompt": prompt, "answer": answer}))
        return answer
