"""The embedded model's tokenizer: words, signs and whole numbers are single tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vlm2vla_sim.policies.models.random_model import IMAGE, SPECIAL

NUMBERS = tuple(range(-180, 181))
"""Whole numbers that are one token each: centimetres and degrees."""


def make_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-fallback BPE tokenizer with a single token for every word, sign and whole number of `texts`."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from vlm2vla_sim.policies.models.random_model import add_bytes

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    pattern = Regex(r"-?[0-9]+|,▁|▁?\p{Han}|▁?[^\W\d_▁]+|▁|\n+|[^\w▁]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=6000,
        special_tokens=[*SPECIAL, *IMAGE.values()],
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"],
        show_progress=False,
    )
    corpus = list(texts)
    words = sorted({word for text in corpus for word in re.findall(r"[^\W\d_]+", text) if word.isascii()})
    # Repeated, also inside a sentence: a word that occurs once is not merged into one token.
    repeated = [f"{word} {word} {word}" for word in words]
    tokenizer.train_from_iterator([*corpus, *repeated, *repeated, *(f"{number}, " for number in NUMBERS)], trainer)
    tokenizer = add_bytes(tokenizer)
    special = {name.strip("<>") + "_token": name for name in SPECIAL[:4]}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, extra_special_tokens=IMAGE, padding_side="left"
    )


def number_tokens(tokenizer: Any) -> dict[int, int]:
    """Whole number -> token id."""
    vocabulary = tokenizer.get_vocab()
    missing = [number for number in NUMBERS if str(number) not in vocabulary]
    if missing:
        raise AssertionError(f"These numbers are not single tokens: {missing[:10]}.")
    return {number: vocabulary[str(number)] for number in NUMBERS}
