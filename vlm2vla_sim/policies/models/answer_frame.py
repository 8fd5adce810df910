"""What stands around an answer in a model's chat template: spaces before it, and the token that ends the turn.

Training teaches an answer with both, so an answer in evaluation may begin and must end with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.byte_vocabulary import find_anchor, special_tokens


@dataclass(frozen=True)
class AnswerFrame:
    """What training puts around the text of an answer."""

    spaces: int = 0
    """Spaces before the text: the tokenizer's own before every text, and the chat template's."""
    end: int | None = None
    """The special token after the text; None if the chat template has none."""


NO_FRAME = AnswerFrame()


def answer_frame(processor: Any) -> AnswerFrame:
    """The frame of an answer to one user message. Empty if the chat template cannot write an answer."""
    try:
        after = written_answer(processor, 0, "Look.", "x")
    except (jinja2.TemplateError, TypeError, ValueError):
        return NO_FRAME  # nothing can be trained with such a template either: `TokenCounter` fails with it
    tokenizer = processor.tokenizer
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    special = special_tokens(tokenizer)
    end = next((token for token in ids if token in special), None)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    anchor = find_anchor(backend) if backend is not None and hasattr(backend, "decode") else None
    if backend is None or anchor is None:
        return AnswerFrame(0, end)
    text = backend.decode([anchor[0], *ids], skip_special_tokens=True)[1:]
    return AnswerFrame(len(text) - len(text.lstrip(" ")), end)


def written_answer(processor: Any, images: int, prompt: str, answer: str) -> str:
    """The text that the chat template appends to a prompt for its answer, as the trainer takes it for the completion.

    images: the number of images in the prompt.
    """
    parts = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": prompt}]
    turns = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
    asked = processor.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole = processor.apply_chat_template(turns, tokenize=False)
    shared = next(
        (k for k, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), min(len(asked), len(whole))
    )
    return whole[shared:]


def learned_text(processor: Any, frame: AnswerFrame, images: int, prompt: str, answer: str) -> str:
    """What a model that is trained to give `answer` will write: the text of the tokens that it is taught."""
    ids = processor.tokenizer(written_answer(processor, images, prompt, answer), add_special_tokens=False)["input_ids"]
    if frame.end in ids:
        ids = ids[: ids.index(frame.end)]
    return answer_text(processor.tokenizer, ids, frame)


def answer_text(tokenizer: Any, tokens: Sequence[int], frame: AnswerFrame) -> str:
    """The text of an answer: without special tokens, and without the spaces of the frame.

    The tokenizer's option `clean_up_tokenization_spaces` is not followed: it removes spaces that the model wrote.
    """
    text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    for _ in range(frame.spaces):
        text = text.removeprefix(" ")
    return text


def count_logits(model: Any) -> int:
    """The number of the model's logits."""
    head = model.get_output_embeddings()
    return int(getattr(head, "out_features", None) or model.config.get_text_config().vocab_size)


def answer_ends(model: Any, tokenizer: Any, frame: AnswerFrame) -> tuple[int, ...]:
    """The tokens that end an answer: those of the generation config, and the one that ends a turn of the chat template.

    SettingError if the model can write none of them.
    """
    logits = count_logits(model)
    named = model.generation_config.eos_token_id
    named = tokenizer.eos_token_id if named is None else named
    known = [named] if isinstance(named, int) else list(named or ())
    ends = tuple(token for token in dict.fromkeys([*known, frame.end]) if token is not None and token < logits)
    if not ends:
        raise SettingError(
            f"No token ends an answer: eos_token_id is {named}, and the model has {logits} logits. Set eos_token_id in "
            "generation_config.json to the token that ends a turn."
        )
    return ends
