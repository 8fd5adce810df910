"""Labels trajectories with a vision-language model: it divides them into named phases; the numbers stay measured.

A labeler waits for its server nearly all the time, so several trajectories are labelled in threads of one process
(`executors.threads`): 32 requests in flight would otherwise take 32 processes.

Labeling a data set this way costs time and money. The cost is estimated before the first request, every answer is
cached under a hash of its question, and an answer that is inconsistent or cut off is requested again before the
trajectory is skipped.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.rules import LabelingRules, label_spans
from vlm2vla_sim.errors import AnswerError, DataError, SettingError
from vlm2vla_sim.language.label_prompt import Span, label_prompt, read_spans

AskModel = Callable[[str, Sequence[np.ndarray]], str]
"""(prompt, images, each (H, W, 3) uint8 RGB) -> the model's answer; AnswerError for one that was cut off."""
CHARACTERS_PER_TOKEN = 2.5
"""For prompts that are mostly numbers; tokenizers encode nearly every digit separately."""
ANSWER_TOKENS = 60
"""Tokens of an answer per phase."""
PHASES = 6
"""Typical number of phases per episode."""


@dataclass(frozen=True)
class LabelerSettings:
    """How the model is queried."""

    model: str
    """Its name, part of the cache key."""
    pictures: int = 6
    """Number of evenly spaced images. Replications of the paper found no gain from more; the log of states helps."""
    retries: int = 2
    """How often the question is repeated after an inconsistent answer."""

    temperature: float = 0.2
    """Sampling temperature; part of the key of the answer cache."""

    def __post_init__(self) -> None:
        if self.pictures < 1 or self.retries < 0:
            raise SettingError(f"pictures is {self.pictures}, retries {self.retries}; expected at least 1 and 0.")


@dataclass(frozen=True)
class Prices:
    """A server's prices per million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0
    image_tokens: int = 258
    """Tokens per image, as for Gemini and Gemma 3."""


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of labeling a data set."""

    trajectories: int
    input_tokens: int
    output_tokens: int
    cost: float
    """In the currency of the prices."""

    def __str__(self) -> str:
        return (
            f"{self.trajectories} trajectories, about {self.input_tokens / 1e6:.2f} million input tokens and "
            f"{self.output_tokens / 1e6:.2f} million output tokens; cost {self.cost:.2f} without retries"
        )


class Labeler:
    """Labels trajectories by querying a model; several threads may call it."""

    def __init__(self, ask: AskModel, settings: LabelerSettings, rules: LabelingRules, cache: Path) -> None:
        """cache: a folder in which every whole answer is stored, unusable ones included."""
        self._ask, self._settings, self._rules, self._cache = ask, settings, rules, cache
        self.unused: Counter[str] = Counter()
        """Answers of this run that were not used: the number that were "cut off", and "inconsistent"."""
        self._counting = threading.Lock()

    def __call__(self, trajectory: Trajectory) -> LabelledTrajectory:
        """Label `trajectory`; DataError if no answer of the model is consistent."""
        return label_spans(trajectory, self._spans(trajectory), self._rules)

    def _spans(self, trajectory: Trajectory) -> tuple[Span, ...]:
        if len(trajectory) < 2 or not trajectory.instruction.strip():
            raise DataError("It has fewer than 2 frames or no instruction; the model was not queried.")
        shown = _evenly_spaced(len(trajectory), self._settings.pictures)
        images = [trajectory.images[index] for index in shown]
        why = ""
        for attempt in range(self._settings.retries + 1):
            prompt = label_prompt(
                trajectory.instruction_en or trajectory.instruction,
                trajectory.states,
                trajectory.actions[:, 6],
                fps=trajectory.fps,
                shown=shown,
                why=why,
            )
            kind = "cut off"
            try:
                answer = self._answer(prompt, images, attempt)
                kind = "inconsistent"
                return read_spans(answer, len(trajectory))
            except AnswerError as error:
                why = str(error)
                with self._counting:
                    self.unused[kind] += 1
        raise DataError(
            f"The model was queried {self._settings.retries + 1} times without a usable answer; the last one: {why}"
        )

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


def estimate(
    dataset: TrajectoryDataset, settings: LabelerSettings, prices: Prices, *, limit: int = 0, sample: int = 20
) -> Estimate:
    """Estimate the cost of labeling `dataset` from its first trajectories. limit: maximum number; 0 for all."""
    count = min(len(dataset), limit) if limit else len(dataset)
    looked = [found for found in islice(dataset, sample) if not isinstance(found, Skipped)]
    if not looked:
        raise DataError(f"None of the first {sample} trajectories can be used; nothing was sent.")
    prompts = []
    for one in looked:
        shown = _evenly_spaced(len(one), settings.pictures)
        prompts.append(
            label_prompt(one.instruction_en or one.instruction, one.states, one.actions[:, 6], fps=one.fps, shown=shown)
        )
    text = sum(map(len, prompts)) / len(prompts) / CHARACTERS_PER_TOKEN
    inputs = round(count * (text + settings.pictures * prices.image_tokens))
    outputs = count * PHASES * ANSWER_TOKENS
    return Estimate(count, inputs, outputs, (inputs * prices.input + outputs * prices.output) / 1e6)


def _evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` frames of `count`, the first and the last included."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))
