"""Small tokenizers of every kind, trained here on the package's prompts and actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from vlm2vla_sim.language.formats import FORMATS, get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt, verify_prompt
from vlm2vla_sim.policies.models.random_model import CHAT_TEMPLATE, IMAGE, SPECIAL, add_bytes

SYMBOLS = tuple("zqxjkvbpyg")
CHARACTERS = [*(chr(code) for code in range(33, 127)), "\n", "▁"]
COMMON = {"special_tokens": [*SPECIAL, *IMAGE.values()], "show_progress": False}
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""The pre-tokenizer of Qwen 2; Llama 3 takes up to three digits together."""
SENTENCEPIECE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def texts() -> list[str]:
    formats = [get_format(name, symbols=SYMBOLS if name == "tokens" else None) for name in FORMATS]
    return [
        *(prompt("put the carrot on the plate") for prompt in (subtasks_prompt, plan_prompt)),
        verify_prompt("grasp the object", "put it on the plate"),
        *(action_prompt("grasp it", "move down, then close the gripper", written) for written in formats),
    ]


def sentencepiece(normalizer: Any, pre_tokenizer: Any, decoder: Any, *, with_bytes: bool = True) -> Tokenizer:
    made = Tokenizer(models.BPE(byte_fallback=with_bytes, unk_token="<unk>", fuse_unk=True))
    made.normalizer, made.pre_tokenizer, made.decoder = normalizer, pre_tokenizer, decoder
    made.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=700, initial_alphabet=CHARACTERS, **COMMON))
    return add_bytes(made) if with_bytes else made


def byte_level(*, prefix: bool, split: Any = None, normalizer: Any = None) -> Tokenizer:
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=split is None or "Digits" in repr(split))
    made = Tokenizer(models.BPE())
    made.normalizer, made.decoder = normalizer, decoders.ByteLevel()
    made.pre_tokenizer = level if split is None else pre_tokenizers.Sequence([split, level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, **COMMON))
    return made


def gemma() -> Tokenizer:
    words = pre_tokenizers.Split("▁", "merged_with_next")
    return sentencepiece(normalizers.Replace(" ", "▁"), words, decoders.Sequence(SENTENCEPIECE))


def llama_2() -> Tokenizer:
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words = pre_tokenizers.Split("▁", "merged_with_next")
    return sentencepiece(normalizer, words, decoders.Sequence([*SENTENCEPIECE, decoders.Strip(" ", 1, 0)]))


def metaspace() -> Tokenizer:
    return sentencepiece(None, pre_tokenizers.Metaspace(), decoders.Metaspace(), with_bytes=False)


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer, made.decoder = (
        normalizers.NFKC(),
        pre_tokenizers.Metaspace(),
        decoders.Metaspace(),
    )
    trainer = trainers.UnigramTrainer(vocab_size=500, unk_token="<unk>", initial_alphabet=CHARACTERS[:-1], **COMMON)
    made.train_from_iterator(texts(), trainer)
    return made


def wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=600, initial_alphabet=CHARACTERS[:-1], **COMMON)
    made.train_from_iterator(texts(), trainer)
    return made


def qwen() -> Tokenizer:
    return byte_level(prefix=False, split=pre_tokenizers.Split(Regex(QWEN), "isolated"), normalizer=normalizers.NFC())


def llama_3() -> Tokenizer:
    pattern = Regex(QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|"))
    return byte_level(prefix=False, split=pre_tokenizers.Split(pattern, "isolated"))


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "gemma": gemma,
    "llama-2": llama_2,
    "metaspace": metaspace,
    "unigram": unigram,
    "byte-level": lambda: byte_level(prefix=False),
    "byte-level with prefix": lambda: byte_level(prefix=True),
    "qwen": qwen,
    "llama-3": llama_3,
    "smollm": lambda: byte_level(prefix=False, split=pre_tokenizers.Digits(individual_digits=True)),
    "smollm with prefix": lambda: byte_level(prefix=True, split=pre_tokenizers.Digits(individual_digits=True)),
    "commas": lambda: byte_level(prefix=False, normalizer=normalizers.Replace(", ", ",")),
    "lower case": lambda: byte_level(prefix=False, normalizer=normalizers.Lowercase()),
}
"""Name -> what makes it. All can be constrained; "smollm with prefix" and "commas" change the texts they read."""

SPACED = ("llama-2", "metaspace", "unigram", "byte-level with prefix", "smollm with prefix")
"""The kinds that put a space before a text."""


def as_transformers(made: Tokenizer, **settings: Any) -> Any:
    special = {name.strip("<>") + "_token": name for name in SPECIAL[:4]}
    given = {"chat_template": CHAT_TEMPLATE, "extra_special_tokens": IMAGE, "padding_side": "left"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special, **given, **settings)
