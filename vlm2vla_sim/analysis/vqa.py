"""What training made a model forget: the same questions to the base model and to the tuned one, category by category.

Two accuracies measured apart differ by the questions alone. Here every question is asked of both, by the same code and
in one process, and the interval of their ratio draws both sides together.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from vlm2vla_sim.analysis.intervals import Interval, grouped_ratio
from vlm2vla_sim.analysis.questions import VqaQuestion
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.results import wilson_interval
from vlm2vla_sim.policies.base import Question, Sampling, TextModel

ALL = "all questions"
AT_ONCE = 16
_ARTICLE = re.compile(r"^(?:the|a|an) ")


@dataclass(frozen=True)
class AnsweredQuestion:
    """One question, answered twice."""

    category: str
    question: str
    answers: tuple[str, ...]
    base: str
    tuned: str
    base_right: bool
    tuned_right: bool


@dataclass(frozen=True)
class Retention:
    """A category."""

    category: str
    questions: int
    base: Interval
    """Share right; Wilson's interval."""
    tuned: Interval
    retention: Interval | None
    """tuned / base, both drawn together; None where the base model knew nothing that could be forgotten."""


def answer_all(model: TextModel, questions: Sequence[VqaQuestion], *, adapter: bool, max_tokens: int = 48) -> list[str]:
    """What `model` says to each, always the likeliest words."""
    how = Sampling(max_tokens=max_tokens)
    said: list[str] = []
    for start in range(0, len(questions), AT_ONCE):
        asked = [
            Question("vqa", one.question, one.images, sampling=how, adapter=adapter)
            for one in questions[start : start + AT_ONCE]
        ]
        said += [stage.text for stage in model.answer(asked)]
    return said


def compare(questions: Sequence[VqaQuestion], base: Sequence[str], tuned: Sequence[str]) -> list[AnsweredQuestion]:
    """Both models' answers, marked."""
    return [
        AnsweredQuestion(
            one.category,
            one.question,
            one.answers,
            before,
            after,
            is_right(before, one.answers),
            is_right(after, one.answers),
        )
        for one, before, after in zip(questions, base, tuned, strict=True)
    ]


def retentions(asked: Sequence[AnsweredQuestion], *, seed: int = 0) -> list[Retention]:
    """One line for each category, in the order in which they appear, then one for all questions."""
    if not asked:
        raise SettingError("There is no question to ask.")
    groups = {name: [one for one in asked if one.category == name] for name in dict.fromkeys(a.category for a in asked)}
    return [_retention(name, own, seed) for name, own in [*groups.items(), (ALL, list(asked))]]


def is_right(said: str, answers: Sequence[str]) -> bool:
    r"""Whether `said` is one of `answers`, but for capitals, accents' spelling, punctuation and a leading article.

    The whole answer must be it, or its first line, or what stands before the first full stop: a model that adds an
    explanation is right, one that lists everything there is is not.

    >>> is_right("A carrot.", ["carrot"]), is_right("Red\nBecause it is.", ["red"]), is_right("red, blue", ["red"])
    (True, True, False)
    """
    right = {_plain(answer) for answer in answers}
    lines = said.strip().splitlines()
    first = lines[0] if lines else ""
    return any(_plain(part) in right for part in (said, first, re.split(r"[.!。।](?:\s|$)", first)[0]))


def to_json(found: Sequence[Retention]) -> list[dict[str, object]]:
    """Plain values."""
    return [dataclasses.asdict(one) for one in found]


def _retention(category: str, asked: list[AnsweredQuestion], seed: int) -> Retention:
    base, tuned = [float(one.base_right) for one in asked], [float(one.tuned_right) for one in asked]
    ratio = grouped_ratio(tuned, base, range(len(asked)), seed=seed) if sum(base) else None
    return Retention(category, len(asked), _share(base), _share(tuned), ratio)


def _share(right: Sequence[float]) -> Interval:
    count = int(sum(right))
    return Interval(count / len(right), *wilson_interval(count, len(right)))


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    # Letters, their marks (Devanagari writes vowels with them) and digits stay; a minus before a digit does as well.
    text = re.sub(r"[-−](?=\d)", "minus", text)  # noqa: RUF001
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return _ARTICLE.sub("", " ".join(kept.split()))
