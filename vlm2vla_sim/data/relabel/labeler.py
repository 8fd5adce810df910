"""Labels by a vision-language model: it says where phases begin and what they are, the numbers stay those measured.

It costs money and hours, and it fails. So what it will cost is said before, every answer is kept under a hash of its
question and never paid for twice, and an answer that does not add up is asked for again, then given up with a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.data.datasets.source import Skipped, Source
from vlm2vla_sim.data.episode import Labelled, Trajectory
from vlm2vla_sim.data.relabel.rules import Rules, label_spans
from vlm2vla_sim.errors import AnswerError, DataError, SettingError
from vlm2vla_sim.language.label_prompt import Span, label_prompt, read_spans

Ask = Callable[[str, Sequence[np.ndarray]], str]
"""(prompt, pictures, each (H, W, 3) uint8 RGB) -> the model's answer."""
CHARACTERS_PER_TOKEN = 2.5
"""Of a prompt that is mostly numbers; tokenizers write nearly every digit by itself."""
ANSWER_TOKENS = 60
"""Of one phase, of which an episode has about six."""


@dataclass(frozen=True)
class LabelerSettings:
    """How a model is asked."""

    model: str
    """Its name, part of what an answer is kept under."""
    pictures: int = 6
    """Evenly spaced; more did not help those who tried, the log does."""
    retries: int = 2
    """How often it is asked again for phases that do not add up."""

    def __post_init__(self) -> None:
        if self.pictures < 1 or self.retries < 0:
            raise SettingError(f"pictures is {self.pictures}, retries {self.retries}; expected at least 1 and 0.")


@dataclass(frozen=True)
class Prices:
    """What a server takes, in any currency, for a million tokens."""

    read: float = 0.0
    written: float = 0.0
    picture_tokens: int = 258
    """Of one picture: Gemini's and Gemma 3's number."""


@dataclass(frozen=True)
class Estimate:
    """What labelling a data set will take."""

    trajectories: int
    tokens_read: int
    tokens_written: int
    cost: float

    def __str__(self) -> str:
        return (
            f"{self.trajectories} trajectories, about {self.tokens_read / 1e6:.2f} million tokens read and "
            f"{self.tokens_written / 1e6:.2f} million written: {self.cost:.2f} at the given prices, without retries"
        )


class Labeler:
    """Puts trajectories into words by asking a model."""

    def __init__(self, ask: Ask, settings: LabelerSettings, rules: Rules, cache: Path) -> None:
        """cache: a folder in which every answer is kept, useless ones too; without it everything is asked again."""
        self._ask, self._settings, self._rules, self._cache = ask, settings, rules, cache

    def __call__(self, trajectory: Trajectory) -> Labelled:
        """The words for `trajectory`; DataError when the model gave none that add up."""
        return label_spans(trajectory, self._spans(trajectory), self._rules)

    def _spans(self, trajectory: Trajectory) -> tuple[Span, ...]:
        if len(trajectory) < 2 or not trajectory.instruction.strip():
            raise DataError("It has less than 2 frames, or no instruction; the model was not asked.")
        shown = _evenly(len(trajectory), self._settings.pictures)
        pictures = [trajectory.pictures[index] for index in shown]
        why = ""
        for attempt in range(self._settings.retries + 1):
            prompt = label_prompt(
                trajectory.instruction,
                trajectory.states,
                trajectory.actions[:, 6],
                fps=trajectory.fps,
                shown=shown,
                why=why,
            )
            try:
                return read_spans(self._answer(prompt, pictures, attempt), len(trajectory))
            except AnswerError as error:
                why = str(error)
        raise DataError(f"The model was asked {self._settings.retries + 1} times; the last answer is no use: {why}")

    def _answer(self, prompt: str, pictures: Sequence[np.ndarray], attempt: int) -> str:
        # With the attempt: asked again with the same complaint, the model is to think again.
        question = hashlib.sha256(f"{self._settings.model}\0{prompt}\0{attempt}\0".encode())
        for picture in pictures:
            question.update(f"{picture.shape}".encode())
            question.update(np.ascontiguousarray(picture).tobytes())
        path = self._cache / f"{question.hexdigest()[:40]}.json"
        if path.exists():
            return str(json.loads(path.read_text(encoding="utf-8"))["answer"])
        answer = self._ask(prompt, pictures)
        write_text(path, json.dumps({"model": self._settings.model, "prompt": prompt, "answer": answer}))
        return answer


def estimate(
    source: Source, settings: LabelerSettings, prices: Prices, *, limit: int = 0, sample: int = 20
) -> Estimate:
    """What labelling `source` will take, judged by its first trajectories. limit: trajectories at most; 0: all."""
    count = min(len(source), limit) if limit else len(source)
    looked = [found for found in islice(source, sample) if not isinstance(found, Skipped)]
    if not looked:
        raise DataError(f"None of the first {sample} trajectories can be used; nothing was sent.")
    prompts = [
        label_prompt(t.instruction, t.states, t.actions[:, 6], fps=t.fps, shown=_evenly(len(t), settings.pictures))
        for t in looked
    ]
    text = sum(map(len, prompts)) / len(prompts) / CHARACTERS_PER_TOKEN
    read = round(count * (text + settings.pictures * prices.picture_tokens))
    written = count * 6 * ANSWER_TOKENS
    return Estimate(count, read, written, (read * prices.read + written * prices.written) / 1e6)


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` frames of `count`, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))
