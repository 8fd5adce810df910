"""The embedded model's shape, its tokenizer, and how its weights begin.

It is transformers' own `Gemma3ForConditionalGeneration`, small: what loads, adapts, decodes and serves a 12B Gemma does
the same with this one. Only what a model without an internet needs is ours: whole numbers are single tokens whose
embeddings start as waves, so that neighbours in value are neighbours in direction, and so do the places of a picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.mini.scenes.rendered_dataset import SIDE
from vlm2vla_sim.policies.models.random_model import CHAT_TEMPLATE, IMAGE, SPECIAL

NUMBERS = tuple(range(-180, 181))
"""Whole numbers that are one token each: centimetres and degrees."""
PATCH = 14


@dataclass(frozen=True)
class MiniSize:
    """How large it is."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 512
    vision_hidden: int = 128
    vision_layers: int = 3
    image_tokens: int = 64


def make_tokenizer(texts: Iterable[str]) -> Any:
    """Words, signs and whole numbers of `texts` as single tokens; anything else is spelt in bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from vlm2vla_sim.policies.models.random_model import add_bytes

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    pieces = Regex(r"-?[0-9]+|,▁|▁?\p{Han}|▁?[^\W\d_▁]+|▁|\n+|[^\w▁]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pieces, "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=6000,
        special_tokens=[*SPECIAL, *IMAGE.values()],
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"],
        show_progress=False,
    )
    read = list(texts)
    words = sorted({word for text in read for word in re.findall(r"[^\W\d_]+", text) if word.isascii()})
    # Twice, and inside a sentence too: what is read once is not merged into one token.
    known = [f"{word} {word} {word}" for word in words]
    tokenizer.train_from_iterator([*read, *known, *known, *(f"{number}, " for number in NUMBERS)], trainer)
    tokenizer = add_bytes(tokenizer)
    special = {name.strip("<>") + "_token": name for name in SPECIAL[:4]}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, extra_special_tokens=IMAGE, padding_side="left"
    )


def make_model(tokenizer: Any, size: MiniSize | None = None, *, seed: int = 0) -> Any:
    """The model with its first weights."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    size = size or MiniSize()
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in IMAGE.items()}
    config = Gemma3Config(
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
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        mm_tokens_per_image=size.image_tokens,
        boi_token_index=ids["boi_token"],
        eoi_token_index=ids["eoi_token"],
        image_token_index=ids["image_token"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Gemma3ForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # transformers leaves the projector at zero for weights that are to be loaded.
            if "mm_input_projection" in name:
                weight.normal_(0.0, weight.shape[0] ** -0.5)
            if "position_embedding" in name:
                weight.copy_(_place_waves(math.isqrt(weight.shape[0]), weight.shape[1]))
        _number_waves(model.get_input_embeddings().weight, tokenizer)
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    model.generation_config.eos_token_id = ends
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def make_processor(tokenizer: Any, size: MiniSize | None = None) -> Any:
    """What turns pictures and words into the model's input."""
    from transformers import Gemma3ImageProcessorPil, Gemma3Processor

    images = Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_convert_rgb=True)
    tokens = (size or MiniSize()).image_tokens
    return Gemma3Processor(images, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=tokens)


def number_tokens(tokenizer: Any) -> dict[int, int]:
    """Whole number -> its token."""
    vocabulary = tokenizer.get_vocab()
    missing = [number for number in NUMBERS if str(number) not in vocabulary]
    if missing:
        raise AssertionError(f"These numbers are not single tokens: {missing[:10]}.")
    return {number: vocabulary[str(number)] for number in NUMBERS}


def _number_waves(embedding: Any, tokenizer: Any) -> None:
    """Half of each number's embedding becomes sines and cosines of its value, from 4 to 720 in wavelength."""
    import torch

    width = embedding.shape[1]
    count = width // 4
    periods = torch.exp(torch.linspace(math.log(4.0), math.log(720.0), count))
    for number, token in number_tokens(tokenizer).items():
        phase = 2 * math.pi * number / periods
        waves = torch.cat([torch.sin(phase), torch.cos(phase)])
        embedding[token, : 2 * count] = waves * (width**-0.5)


def _place_waves(side: int, width: int) -> Any:
    """(side^2, width) sines and cosines of each patch's column and row."""
    import torch

    rates = torch.exp(torch.linspace(math.log(0.1), math.log(2.0), width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = [values.flatten()[:, None] * rates for values in (columns, rows)]
    return 0.3 * torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], dim=1)
