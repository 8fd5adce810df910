"""Decodes answers with transformers' own `generate`, for models that `cached_text` does not know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.hf_batch import Written
from vlm2vla_sim.policies.models.hf_grammar import AnswerState, GrammarProcessor


def generate(
    model: Any,
    inputs: Any,
    start: Callable[[], list[AnswerState | None]],
    *,
    sampling: Sampling,
    seed: int,
    ends: Sequence[int],
    pad: int,
    image_token: int,
) -> list[Written]:
    """The answers to a batch of prompts that are sampled alike.

    inputs: of the model, padded on the left. start: makes the state of each answer in its grammar, before the
    answer. ends: the tokens that end an answer.
    """
    length = inputs["input_ids"].shape[1]
    how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if sampling.temperature:
        how = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    processor = GrammarProcessor(start(), prompt_length=length)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        written = model.generate(
            **inputs,
            **how,
            max_new_tokens=sampling.max_tokens,
            eos_token_id=list(ends),
            pad_token_id=pad,
            # An answer holds no image token; one would be taken for part of an image in the next step.
            suppress_tokens=[image_token],
            logits_processor=transformers.LogitsProcessorList([processor]),
        )
    rows = zip(written[:, length:].tolist(), start(), strict=True)
    return [_until_end(tokens, state, ends) for tokens, state in rows]


def _until_end(tokens: list[int], state: AnswerState | None, ends: Sequence[int]) -> Written:
    """The answer in `tokens`, of which everything from an end token on is dropped. state: before the answer."""
    for index, token in enumerate(tokens):
        if token in ends:
            return Written(tokens[:index], "stop")
        if state is not None:
            state.consume(token)
    return Written(tokens, "stop" if state is not None and state.is_done else "length")


def within_context(config: Any, name: str, question: Question, prompt: int) -> Sampling:
    """Sampling with no more tokens than the context has left behind a prompt of `prompt` tokens.

    config: of the model `name`. SettingError if such a prompt leaves none.
    """
    sampling = dataclasses.replace(question.sampling, max_tokens=question.limit)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is None or prompt + sampling.max_tokens <= context:
        return sampling
    if prompt >= context:
        raise SettingError(
            f"The prompt has {prompt} tokens, its images included; the model {name!r} reads at most {context} "
            "(max_position_embeddings), and the answer has to fit as well. Use a shorter instruction, fewer images, or "
            "a model with a longer context."
        )
    return dataclasses.replace(sampling, max_tokens=context - prompt)
