"""Reads a chat completion request. Every field is honoured, or the request is refused with the field's name.

A field that is null is not given, as in OpenAI's API. A field of OpenAI's or vLLM's API that is not honoured here is
accepted with the value that changes nothing (`NEUTRAL`), because many clients always send it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.serving.chat_images import MAX_IMAGES, read_images
from vlm2vla_sim.serving.chat_values import GRAMMARS, read_grammar, read_text, read_thinking, shown
from vlm2vla_sim.serving.refusal import RefusalError

MAX_TOKENS = 8192
DEFAULT_TOKENS = 256
"""The token limit of a request without one."""
MAX_PROMPT = 200_000
"""Characters of a prompt."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "stream": (False,),
    "stream_options": (),
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none",),
    "stop": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "store": (False,),
}
"""Field -> the values that ask for nothing."""
HONOURED = ("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "user")
THINKING = ("chat_template_kwargs", "thinking_token_budget")
"""The fields about the reasoning before an answer, with vLLM's names."""
KNOWN = frozenset({*HONOURED, *THINKING, *GRAMMARS, *NEUTRAL})


@dataclass(frozen=True)
class Names:
    """What a server offers."""

    base: str
    adapter: str = ""
    """Empty without an adapter."""
    places_images: bool = False
    """Whether images may stand behind text (`Question.places`)."""
    always_thinks: bool = False
    """Whether the model reasons before every answer, so that a request need not ask for it."""


def read_body(body: bytes) -> dict[str, Any]:
    """The object in a request's JSON; a refusal for a key that is given twice and a number that is not finite."""
    try:
        request = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as broken:
        raise RefusalError(400, f"The request is not JSON: {broken}.") from broken
    if not isinstance(request, dict):
        raise RefusalError(400, "The request is JSON, but not an object.")
    return request


def read_question(request: dict[str, Any], names: Names) -> Question:
    """The question in a request; RefusalError with a status and the field for what this server does not support."""
    name = request.get("model")
    offered = [names.base, *([names.adapter] if names.adapter else [])]
    if name not in offered:
        raise RefusalError(404, f"There is no model {name!r} on this server; it has {' and '.join(offered)}.", "model")
    if unknown := sorted(set(request) - KNOWN):
        raise RefusalError(400, f"This server does not know the field {unknown[0][:40]!r}.", unknown[0])
    for key, neutral in NEUTRAL.items():
        value = request.get(key)
        if value is not None and not any(
            value == one and isinstance(value, bool) is isinstance(one, bool) for one in neutral
        ):
            only = f" but {json.dumps(neutral[0])}" if neutral else ""
            raise RefusalError(400, f"This server supports nothing{only} here, not {shown(value)}.", key)
    if not isinstance(request.get("user"), str | None):
        raise RefusalError(400, f"Expected a text, not {shown(request['user'])}.", "user")
    images, prompt, places = _read_messages(request.get("messages"))
    if places and not names.places_images:
        raise RefusalError(
            400,
            "The model of this server takes images before the text; send them in this order.",
            "messages[0].content",
        )
    limit = _limit(request)
    thinking = read_thinking(request, limit, always=names.always_thinks)
    sampling = Sampling(
        _number(request, "temperature", 0.0, 2.0, default=0.0),
        _number(request, "top_p", 0.0, 1.0, default=1.0, above=True),
        limit - thinking,
    )
    seed = _whole(request, "seed", -(2**63), 2**63 - 1) or 0
    adapter = name == names.adapter
    return Question("chat", prompt, images, read_grammar(request), sampling, seed, adapter, places, thinking)


# Messages -------------------------------------------------------------------------------------------------------------


def _read_messages(messages: Any) -> tuple[tuple[np.ndarray, ...], str, tuple[int, ...]]:
    """Images, prompt and places of the one user message."""
    if not isinstance(messages, list) or not messages:
        raise RefusalError(400, "Expected a list with one user message.", "messages")
    for index, message in enumerate(messages):
        field = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RefusalError(400, f"Expected an object with role and content, not {shown(message)}.", field)
        if message.get("role") != "user":
            said = f"This server answers one user message; the role {shown(message.get('role'))} is not supported."
            raise RefusalError(400, said, f"{field}.role")
        if unknown := sorted(set(message) - {"role", "content"}):
            raise RefusalError(400, f"This server does not know the key {unknown[0][:40]!r}.", f"{field}.{unknown[0]}")
    if len(messages) > 1:
        raise RefusalError(400, f"This server answers one user message; {len(messages)} are given.", "messages")
    return _read_content(messages[0].get("content"), "messages[0].content")


def _read_content(content: Any, field: str) -> tuple[tuple[np.ndarray, ...], str, tuple[int, ...]]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        raise RefusalError(400, "A message's content is text, or a list of texts and images.", field)
    urls: list[tuple[Any, str]] = []
    places: list[int] = []
    prompt, after_text = "", False
    for index, part in enumerate(parts):
        where = f"{field}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "image_url"):
            said = f"A message's content is text, or a list of texts and images; {shown(kind)} is not supported."
            raise RefusalError(400, said, f"{where}.type")
        if unknown := sorted(set(part) - {"type", kind}):
            raise RefusalError(400, f"This server does not know the key {unknown[0][:40]!r}.", f"{where}.{unknown[0]}")
        if kind == "text":
            prompt += ("\n" if after_text else "") + read_text(part.get("text"), f"{where}.text")
        else:
            urls.append((part.get("image_url"), f"{where}.image_url"))
            places.append(len(prompt))
        after_text = kind == "text"
    if len(urls) > MAX_IMAGES:
        raise RefusalError(413, f"The message has {len(urls)} images; at most {MAX_IMAGES} are accepted.", field)
    if len(prompt) > MAX_PROMPT:
        raise RefusalError(413, f"The text has {len(prompt):,} characters; at most {MAX_PROMPT:,} are accepted.", field)
    return tuple(read_images(urls)), prompt, tuple(places) if any(places) else ()


# Numbers --------------------------------------------------------------------------------------------------------------


def _limit(request: dict[str, Any]) -> int:
    """The token limit, under either of its names."""
    limits = {key: _whole(request, key, 1, MAX_TOKENS) for key in ("max_tokens", "max_completion_tokens")}
    old, new = limits.values()
    if old is not None and new is not None and old != new:
        raise RefusalError(400, f"It is {new}, and max_tokens is {old}; give one of them.", "max_completion_tokens")
    return new or old or DEFAULT_TOKENS


def _whole(request: dict[str, Any], key: str, least: int, most: int) -> int | None:
    value = request.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
        raise RefusalError(400, f"Expected a whole number from {least} to {most}, not {shown(value)}.", key)
    return value


def _number(
    request: dict[str, Any], key: str, least: float, most: float, *, default: float, above: bool = False
) -> float:
    value = request.get(key)
    if value is None:
        return default
    wrong = isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most
    if wrong or (above and value == least):
        span = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
        raise RefusalError(400, f"Expected a number {span}, not {shown(value)}.", key)
    return float(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise RefusalError(400, "The key is given twice.", key)
        values[key] = value
    return values


def _no_number(name: str) -> Any:
    raise RefusalError(400, f"The request holds {name}, which is no number in JSON.")


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise RefusalError(400, f"The request holds the number {digits[:40]}, which is too large.")
    return value
