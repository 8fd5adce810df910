"""What the answers of models took in a set of episodes: tokens of prompts, of the cache, of answers, and money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.types import EpisodeResult


@dataclass(frozen=True)
class Usage:
    """Sums over all answers of models. One of which a number is not known makes the sum None: unknown, not less."""

    answers: int
    """Answers of models, those that could not be used included."""
    tokens: int | None
    """In the answers."""
    prompt_tokens: int | None
    """In the prompts, pictures included, as the server counts them."""
    cached_tokens: int | None
    """Of `prompt_tokens`, those that the server took from its cache."""
    cost: float | None
    """Money, by the prices that the policy was given."""
    currency: str = ""
    """Of `cost`; empty without prices."""


def usage(results: Iterable[EpisodeResult]) -> Usage:
    """The usage of all decisions of `results`, whatever their outcome. Requests that were sent again are not in it."""
    results = list(results)
    # What no model wrote (a script, the simulator's truth, a person) has 0 tokens and no cost.
    asked = [stage for stage in _stages(results) if stage.get("tokens") != 0 or stage.get("cost") is not None]
    models = [result.provenance.get("model") or {} for result in results]
    currencies = {str(model["currency"]) for model in models if model.get("currency")}

    def total(name: str) -> Any:
        known = [stage[name] for stage in asked if stage.get(name) is not None]
        return sum(known) if asked and len(known) == len(asked) else None

    cost = total("cost") if len(currencies) == 1 else None
    return Usage(
        answers=len(asked),
        tokens=total("tokens"),
        prompt_tokens=total("prompt_tokens"),
        cached_tokens=total("cached_tokens"),
        cost=None if cost is None else round(cost, 6),
        currency=next(iter(currencies)) if len(currencies) == 1 else "",
    )


def usage_fields(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The fields of `results.Summary` about tokens and money.

    `tokens` and `tokens_per_second` are of those answers whose number is known; the others are as in `Usage`.
    """
    counted = [stage for stage in _stages(results) if stage.get("tokens")]
    tokens, seconds = (sum(stage[name] for stage in counted) for name in ("tokens", "seconds"))
    used = usage(results)
    return {
        "tokens": tokens if counted else None,
        "tokens_per_second": round(tokens / seconds, 1) if counted and seconds else None,
        **{name: getattr(used, name) for name in ("prompt_tokens", "cached_tokens", "cost", "currency")},
    }


def bill(prompt_tokens: int | None, cached_tokens: int | None, cost: float | None, currency: str) -> str:
    """What the answers took, as the end of a sentence; empty where neither prompts nor prices are known.

    >>> bill(1200, 1000, 0.25, "USD")
    '; tokens of prompts: 1200, of which cached: 1000; cost: 0.25 USD'
    >>> bill(1200, None, None, "USD")
    '; tokens of prompts: 1200; cost: not known'
    """
    said = "" if prompt_tokens is None else f"; tokens of prompts: {prompt_tokens}"
    said += "" if cached_tokens is None else f", of which cached: {cached_tokens}"
    if currency:
        said += "; cost: " + ("not known" if cost is None else f"{cost:.4g} {currency}")
    return said


def _stages(results: Iterable[EpisodeResult]) -> list[Mapping[str, Any]]:
    decisions: list[Mapping[str, Any]] = [decision for result in results for decision in result.decisions]
    return [stage for decision in decisions for stage in decision.get("stages") or ()]
