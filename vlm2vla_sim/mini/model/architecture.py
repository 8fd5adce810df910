"""The embedded model's configuration, initial weights and processor.

It is transformers' own `Gemma3ForConditionalGeneration` at a small size, so that the code that loads, adapts, decodes
and serves Gemma 3 12B handles it too. Two initialisations are ours, because there is no web-scale pretraining: the
embeddings of whole numbers and the position embeddings of image patches begin as sinusoids, so that close values have
similar embeddings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.mini.model.tokenizer import number_tokens
from vlm2vla_sim.mini.scenes.rendered_dataset import IMAGE_SIDE
from vlm2vla_sim.policies.models.random_model import CHAT_TEMPLATE, IMAGE

PATCH = 14
"""[pixels] side of a patch of the vision tower."""


@dataclass(frozen=True)
class MiniSize:
    """Sizes of the model. The defaults are those of the shipped weights, 2.2 million parameters."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 512
    vision_hidden: int = 128
    vision_layers: int = 3
    image_tokens: int = 64


def make_model(tokenizer: Any, size: MiniSize | None = None, *, seed: int = 0) -> Any:
    """The model with its initial weights."""
    import torch
    from transformers import Gemma3ForConditionalGeneration

    config = _config(tokenizer, size or MiniSize())
    torch.manual_seed(seed)
    model = Gemma3ForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # transformers initialises the projector with zeros, because it expects weights to be loaded.
            if "mm_input_projection" in name:
                weight.normal_(0.0, weight.shape[0] ** -0.5)
            if "position_embedding" in name:
                weight.copy_(_position_waves(math.isqrt(weight.shape[0]), weight.shape[1]))
        _set_number_waves(model.get_input_embeddings().weight, tokenizer)
    stop_tokens = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    model.generation_config.eos_token_id = stop_tokens
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def make_processor(tokenizer: Any, size: MiniSize | None = None) -> Any:
    """The processor that turns images and text into the model's input."""
    from transformers import Gemma3ImageProcessorPil, Gemma3Processor

    images = Gemma3ImageProcessorPil(size={"height": IMAGE_SIDE, "width": IMAGE_SIDE}, do_convert_rgb=True)
    tokens = (size or MiniSize()).image_tokens
    return Gemma3Processor(images, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=tokens)


def _set_number_waves(embedding: Any, tokenizer: Any) -> None:
    """Set half of each number's embedding to sines and cosines of its value, with wavelengths from 4 to 720."""
    import torch

    width = embedding.shape[1]
    count = width // 4
    periods = torch.exp(torch.linspace(math.log(4.0), math.log(720.0), count))
    for number, token in number_tokens(tokenizer).items():
        phase = 2 * math.pi * number / periods
        waves = torch.cat([torch.sin(phase), torch.cos(phase)])
        embedding[token, : 2 * count] = waves * (width**-0.5)


def _position_waves(side: int, width: int) -> Any:
    """(side^2, width) sines and cosines of the column and row of each patch."""
    import torch

    rates = torch.exp(torch.linspace(math.log(0.1), math.log(2.0), width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = [values.flatten()[:, None] * rates for values in (columns, rows)]
    return 0.3 * torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], dim=1)


def _config(tokenizer: Any, size: MiniSize) -> Any:
    from transformers import Gemma3Config

    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in IMAGE.items()}
    return Gemma3Config(
        text_config={
            "vocab_size": 64 * math.ceil(len(tokenizer) / 64),
            "hidden_size": size.hidden,
            "intermediate_size": size.feed_forward,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads,
            "head_dim": size.hidden // size.heads,
            "query_pre_attn_scalar": size.hidden // size.heads,
            "sliding_window": 4096,
            "layer_types": ["full_attention"] * size.layers,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
            "max_position_embeddings": 4096,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
        },
        vision_config={
            "hidden_size": size.vision_hidden,
            "intermediate_size": 4 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.vision_hidden // 32,
            "image_size": IMAGE_SIDE,
            "patch_size": PATCH,
        },
        mm_tokens_per_image=size.image_tokens,
        boi_token_index=ids["boi_token"],
        eoi_token_index=ids["eoi_token"],
        image_token_index=ids["image_token"],
        tie_word_embeddings=True,
    )
