"""Refuses, while it is loaded, a model that could not answer: each with one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jinja2
import numpy as np
import torch

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.hf_loading import first_line
from vlm2vla_sim.policies.models.hf_processor import check_processor

PROBE = Question("probe", "Look.", (np.zeros((64, 64, 3), np.uint8),))
_FAULTS = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a chat template or a processor that cannot do it raises."""


def check_kind(model: Any, processor: Any, name: str) -> int:
    """The token for a part of an image; SettingError for a model or processor of a kind that cannot be used.

    model: of transformers. name: its name, for the sentence.
    """
    check_processor(processor, name)
    config, kind = model.config, type(model).__name__
    if getattr(config, "is_encoder_decoder", False):
        raise SettingError(
            f"{name!r} is a {kind}, which has an encoder and a decoder; expected a model that continues its prompt, "
            "such as those in docs/families.md."
        )
    tokens = (getattr(config, key, None) for key in ("image_token_id", "image_token_index"))
    token = next((token for token in tokens if isinstance(token, int)), None)
    if token is None:
        raise SettingError(
            f"{name!r} is a {kind}, whose config names no image_token_id; expected a model that reads an image as "
            "tokens of its prompt, such as those in docs/families.md."
        )
    return token


def check_prompt(prompts: Any, image_token: int, name: str) -> None:
    """SettingError unless a question with an image becomes a prompt with that image.

    prompts: the model's `PromptMaker`. image_token: see `check_kind`. name: of the model.
    """
    try:
        made = prompts.processor.apply_chat_template(
            [prompts.messages(PROBE)],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        ids = made["input_ids"][0].tolist()
    except (jinja2.TemplateError, *_FAULTS) as error:
        raise SettingError(
            f"The processor of {name!r} cannot make a prompt of an image and a text: {first_line(error)} Its chat "
            "template must write the image token for a part of type 'image'; put one that does beside the weights "
            "(chat_template.jinja)."
        ) from error
    if image_token not in ids:
        raise SettingError(
            f"The prompts of {name!r} contain no image: its processor writes none of the tokens ({image_token}) by "
            "which the model knows one. Give model and processor of the same family."
        )


def check_answer(answer: Callable[[Question], object], name: str, *, thinks: bool = False) -> None:
    """SettingError unless the model `name` answers a question about an image with a token.

    answer: asks it. thinks: whether it always thinks, so that it is given a token to do so.
    """
    try:
        answer(dataclasses.replace(PROBE, sampling=Sampling(max_tokens=1), thinking=int(thinks)))
    except (torch.OutOfMemoryError, SettingError):
        raise
    except _FAULTS as error:
        raise SettingError(
            f"{name!r} cannot answer a question about an image: {first_line(error)} Give model and processor of the "
            "same family, such as one of those in docs/families.md."
        ) from error
