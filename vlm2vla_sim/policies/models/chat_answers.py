"""Reads what a chat server answers. What is not an answer is a fault of the server, never taken for one."""

from __future__ import annotations

import json
import math
from typing import Any

from vlm2vla_sim.policies.base import Question, follows_grammar
from vlm2vla_sim.policies.models.http_client import TransientError
from vlm2vla_sim.policies.models.thinking import split_reasoning
from vlm2vla_sim.types import Stage

FINISHES = ("stop", "length")
"""The values of `finish_reason` with which a text is an answer. With any other, such as "abort", "content_filter",
"tool_calls" or "repetition", the server gave up or wrote something else."""
SHOWN = 200
"""Characters of an answer that an error message quotes."""


def read_choice(answer: Any, question: Question, *, constrained: bool) -> Stage:
    """The text in a chat completion, with its tokens and its end; TransientError for anything else.

    constrained: the request held the question's grammar, so that a whole text must be one of the grammar's. Tokens and
    end are those the server reports: None and "" where it does not. Cached tokens are read as OpenAI and vLLM write
    them, `usage.prompt_tokens_details.cached_tokens`.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise TransientError(f"its answer has no choice with a message: {_shown(answer)}")
    finish = choice.get("finish_reason")
    if finish not in (None, *FINISHES):
        raise TransientError(
            f"its answer ended with finish_reason {_shown(finish)}; expected stop, or length where it is cut off."
        )
    text, reasoning = _text_and_reasoning(message)
    usage = answer.get("usage")
    thought = _count(usage.get("completion_tokens_details"), "reasoning_tokens") if isinstance(usage, dict) else None
    stage = Stage(
        "",
        text,
        _count(usage, "completion_tokens"),
        finish=finish or "",
        reasoning=reasoning,
        reasoning_tokens=0 if thought is None and not reasoning else thought,
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_cached(usage),
    )
    if constrained and not follows_grammar(stage, question):
        raise TransientError(f"its answer does not follow the grammar that was sent: {_shown(text)}")
    return stage


def read_models(answer: Any) -> dict[str, dict[str, Any]]:
    """Name -> entry of the models that a server offers; TransientError for an answer that is no list of models."""
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise TransientError(f"its response is not a list of models: {_shown(answer)}")
    if wrong := [entry for entry in entries if not isinstance(entry, dict) or not isinstance(entry.get("id"), str)]:
        raise TransientError(f"its list of models holds an entry without an id: {_shown(wrong[0])}")
    return {entry["id"]: entry for entry in entries}


def text_or_none(value: Any) -> str | None:
    """`value` if it is a text that says something."""
    return value if isinstance(value, str) and value else None


def _text_and_reasoning(message: dict[str, Any]) -> tuple[str, str]:
    """What a message says, and the reasoning before it; TransientError for a message without a text.

    The reasoning is in a field of its own, of either name, where the server knows how its model marks it; else it is in
    the text, between the marks. A text may be missing where the tokens were used up by the reasoning.
    """
    reasoning = next(
        (text for key in ("reasoning_content", "reasoning") if (text := text_or_none(message.get(key)))), ""
    )
    text = message.get("content")
    if text is None and reasoning:
        return "", reasoning
    if not isinstance(text, str):
        raise TransientError(f"the message of its answer is {_shown(text)}, not text.")
    if reasoning:
        return text.lstrip(), reasoning
    reasoning, text = split_reasoning(text)
    return text, reasoning


def _count(usage: Any, name: str) -> int | None:
    """The number of tokens called `name` in `usage`; None where it is not a count."""
    count = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(count, bool) or not isinstance(count, int | float) or not math.isfinite(count):
        return None
    return int(count) if count >= 0 and count == int(count) else None


def _cached(usage: Any) -> int | None:
    """The tokens of the prompt that the server took from its cache; None where it does not say, or counts wrongly."""
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    cached, whole = _count(details, "cached_tokens"), _count(usage, "prompt_tokens")
    return None if cached is None or whole is None or cached > whole else cached


def _shown(value: Any) -> str:
    return json.dumps(value)[:SHOWN]
