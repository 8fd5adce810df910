"""One question with its answer: the unit of which all training text of the base model is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QuestionAnswer:
    """A question and its answer."""

    category: str
    question: str
    answer: str
    period: int = 0
    """[degrees] rotation after which the object looks the same, if the numbers of the answer are measurements, so that
    neighbouring values are nearly right; 0 if the answer is exact."""
    needs_image: bool = True
    """False if the question is about its own text."""
