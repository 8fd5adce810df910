"""What answers cost, by prices per million tokens that the user declares: no server tells its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question, TextModel, provenance
from vlm2vla_sim.types import Stage

EXAMPLE = "prices=2.5/10/0.25"


@dataclass(frozen=True)
class Prices:
    """Money per million tokens."""

    prompt: float
    """Of the prompt, pictures included."""
    answer: float
    """Of the answer, its reasoning included."""
    cached: float | None = None
    """Of those tokens of the prompt that the server took from its cache; None: they cost what the others do."""

    def of(self, stage: Stage) -> float | None:
        """What an answer cost; None where the server does not say how many tokens of a kind it was."""
        if stage.prompt_tokens is None or stage.tokens is None:
            return None
        if self.cached is None:
            return (self.prompt * stage.prompt_tokens + self.answer * stage.tokens) / 1e6
        if stage.cached_tokens is None:
            return None
        new = stage.prompt_tokens - stage.cached_tokens
        return (self.prompt * new + self.cached * stage.cached_tokens + self.answer * stage.tokens) / 1e6


def read_prices(text: str) -> Prices:
    """The prices in "PROMPT/ANSWER" or "PROMPT/ANSWER/CACHED", per million tokens; SettingError for anything else.

    >>> read_prices("2.5/10/0.25")
    Prices(prompt=2.5, answer=10.0, cached=0.25)
    """
    try:
        numbers = [float(number) for number in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise SettingError(
            f"prices is {text!r}; expected the prices of a million tokens of prompt, answer and, where it differs, "
            f"cached prompt, such as {EXAMPLE}."
        )
    return Prices(*numbers)


class PricedModel:
    """A `TextModel` that writes into every answer of another one what it cost."""

    def __init__(self, model: TextModel, prices: Prices, currency: str) -> None:
        self._model, self._prices, self._currency = model, prices, currency

    def __getattr__(self, name: str) -> Any:
        """What else a text model may have: `prepare`, `places_images` and others."""
        return getattr(self._model, name)

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`."""
        stages = self._model.answer(questions)
        return [dataclasses.replace(stage, cost=self._prices.of(stage)) for stage in stages]

    def provenance(self) -> dict[str, Any]:
        """What the model really uses, and the prices."""
        return {**provenance(self._model), "prices": dataclasses.asdict(self._prices), "currency": self._currency}
