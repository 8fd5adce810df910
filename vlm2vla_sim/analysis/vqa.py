"""VQA retention: the accuracy of a tuned model relative to its base model, per category, with 95 % intervals.

Both models answer the same questions with the same code in one process. Questions about one image are not
independent: a model that mistakes what it shows is wrong in all of them. So the interval of the ratio comes from a
paired bootstrap that resamples images with all their questions, for both models together.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from vlm2vla_sim.analysis.intervals import Interval, grouped_rate, grouped_ratio
from vlm2vla_sim.analysis.questions import VqaQuestion
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question, Sampling, TextModel, mark_cut_off
from vlm2vla_sim.policies.models.prompt_images import digest
from vlm2vla_sim.types import Stage

ALL = "all questions"
BATCH = 16
_ARTICLE = re.compile(r"^(?:the|a|an) ")


@dataclass(frozen=True)
class AnsweredQuestion:
    """One question with the answers of both models."""

    category: str
    question: str
    answers: tuple[str, ...]
    base: str
    tuned: str
    base_right: bool
    tuned_right: bool
    image_group: int
    """The same number for questions that share an image, by its pixels."""
    base_cut_off: bool = False
    tuned_cut_off: bool = False
    """Whether the answer was cut off at the token limit. Then only a first line or sentence that ended can be right."""


@dataclass(frozen=True)
class Retention:
    """The result of one category."""

    category: str
    questions: int
    images: int
    """Number of groups of questions that share an image; a question without an image is a group of its own."""
    base: Interval
    """Accuracy of the base model, with Wilson's interval over images (`grouped_rate`)."""
    tuned: Interval
    """Accuracy of the tuned model, likewise."""
    retention: Interval | None
    """tuned / base, with a paired bootstrap interval over images; None if the base model answered no question
    correctly."""
    base_cut_off: int = 0
    tuned_cut_off: int = 0
    """Number of answers that were cut off at the token limit."""


def answer_all(
    model: TextModel, questions: Sequence[VqaQuestion], *, adapter: bool, max_tokens: int = 48
) -> list[Stage]:
    """The answers of `model` with greedy decoding; one that was cut off has the reason in `error`.

    adapter: whether its adapter is on; max_tokens: per answer.
    """
    sampling = Sampling(max_tokens=max_tokens)
    answers: list[Stage] = []
    for start in range(0, len(questions), BATCH):
        batch = [
            Question("vqa", one.question, one.images, sampling=sampling, adapter=adapter)
            for one in questions[start : start + BATCH]
        ]
        answers += [mark_cut_off(stage, max_tokens) for stage in model.answer(batch)]
    return answers


def compare(questions: Sequence[VqaQuestion], base: Sequence[Stage], tuned: Sequence[Stage]) -> list[AnsweredQuestion]:
    """Grade the answers of both models, as `answer_all` returns them."""
    return [
        AnsweredQuestion(
            one.category,
            one.question,
            one.answers,
            before.text,
            after.text,
            is_right(before.text, one.answers, cut_off=bool(before.error)),
            is_right(after.text, one.answers, cut_off=bool(after.error)),
            group,
            bool(before.error),
            bool(after.error),
        )
        for one, before, after, group in zip(questions, base, tuned, image_groups(questions), strict=True)
    ]


def image_groups(questions: Sequence[VqaQuestion]) -> list[int]:
    """A number for each question: the same for those that share an image, directly or through other questions."""
    groups = list(range(len(questions)))

    def root(index: int) -> int:
        while groups[index] != index:
            groups[index] = index = groups[groups[index]]
        return index

    first: dict[str, int] = {}
    for index, one in enumerate(questions):
        for image in one.images:
            other = first.setdefault(digest(image), index)
            groups[root(index)] = root(other)
    return [root(index) for index in range(len(questions))]


def retentions(answered: Sequence[AnsweredQuestion], *, seed: int = 0) -> list[Retention]:
    """One result per category, in order of appearance, then one for all questions. seed: of the bootstrap."""
    if not answered:
        raise SettingError("There are no questions; expected at least one.")
    names = dict.fromkeys(one.category for one in answered)
    groups = {name: [one for one in answered if one.category == name] for name in names}
    return [_retention(name, own, seed) for name, own in [*groups.items(), (ALL, list(answered))]]


def is_right(answer: str, accepted: Sequence[str], *, cut_off: bool = False) -> bool:
    r"""Whether `answer` is one of `accepted`, ignoring case, Unicode form, punctuation and a leading article.

    The whole answer must match, or its first line, or the text before the first full stop: an answer with an
    explanation is right, one that lists several candidates is not. Of an answer that was cut off, a part counts only
    if more text follows it: "carrot" may be the beginning of "carrot cake".

    >>> is_right("A carrot.", ["carrot"]), is_right("Red\nBecause it is.", ["red"]), is_right("red, blue", ["red"])
    (True, True, False)
    """
    right = {_normalised(text) for text in accepted}
    lines = answer.strip().splitlines()
    first = lines[0] if lines else ""
    sentences = re.split(r"[.!。।](?:\s|$)", first)
    parts = [answer, first, sentences[0]]
    if cut_off:
        parts = [first] * (len(lines) > 1) + sentences[:1] * bool("".join(sentences[1:]))
    return any(_normalised(part) in right for part in parts)


def to_json(found: Sequence[Retention]) -> list[dict[str, object]]:
    """Plain values."""
    return [dataclasses.asdict(one) for one in found]


def _retention(category: str, answered: list[AnsweredQuestion], seed: int) -> Retention:
    base, tuned = [float(one.base_right) for one in answered], [float(one.tuned_right) for one in answered]
    groups = [one.image_group for one in answered]
    ratio = grouped_ratio(tuned, base, groups, seed=seed) if sum(base) else None
    rates = grouped_rate(base, groups), grouped_rate(tuned, groups)
    cut_off = sum(one.base_cut_off for one in answered), sum(one.tuned_cut_off for one in answered)
    return Retention(category, len(answered), len(set(groups)), *rates, ratio, *cut_off)


def _normalised(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    # Keeps letters, combining marks (Devanagari vowels) and digits, and a minus before a digit.
    text = re.sub(r"[-−](?=\d)", "minus", text)  # noqa: RUF001
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return _ARTICLE.sub("", " ".join(kept.split()))
