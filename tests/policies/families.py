"""Tiny randomly initialised models of the families that people fine-tune, for the tests of whatever runs any of them.

Each has the architecture, the processor, the special tokens and the kind of tokenizer of its family; the tokenizer is
trained here on the package's prompts. Nothing is downloaded. `make_family` makes one in memory, `save_family` in a
folder that `from_pretrained` reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from policies import family_models as models
from policies import family_processors as processors
from transformers import PreTrainedTokenizerFast
from vlm import tokenizer_kinds
from vlm.family_templates import CHATML, GEMMA, GEMMA_4, GLM, LLAVA, MISTRAL, PALIGEMMA, SMOLVLM

from vlm2vla_sim.policies.models.hf_loading import LoadedModel


@dataclass(frozen=True)
class Family:
    """What makes a family."""

    kind: Callable[[], Any]
    """Its kind of tokenizer, of `tokenizer_kinds`."""
    pad: str
    bos: str
    """Empty for none."""
    end: str
    """The token that ends an answer."""
    tokens: dict[str, str]
    """Attribute of the tokenizer -> special token."""
    template: str
    model: Callable[[Any], Any]
    """tokenizer -> model with transformers' initialisation."""
    processor: Callable[[Any, str], Any]
    """tokenizer, chat template -> processor."""


def make_family(name: str, *, seed: int = 0) -> LoadedModel:
    """A model of the family with random weights, and its processor; the same ones for the same seed."""
    family = FAMILIES[name]
    tokenizer = family_tokenizer(name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = family.model(tokenizer).eval()
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if weight.ndim >= 2:  # with the usual initialisation it would say the same to everything
                    weight.normal_(0.0, (1.0 if "embed_tokens" in key else 1.5) * weight[0].numel() ** -0.5)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(family.end)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = family.processor(tokenizer, family.template)
    processor.tokenizer.padding_side = "left"
    return LoadedModel(model, processor)


def save_family(name: str, folder: Path, *, seed: int = 0) -> Path:
    """The same model in `folder`, for `from_pretrained`."""
    made = make_family(name, seed=seed)
    made.model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    return folder


def family_tokenizer(name: str) -> Any:
    """The tokenizer of the family, a new object."""
    family = FAMILIES[name]
    base = _trained(family.kind).to_str()
    ends = {"eos_token": family.end, "pad_token": family.pad, **({"bos_token": family.bos} if family.bos else {})}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_kinds.Tokenizer.from_str(base),
        **ends,
        extra_special_tokens=family.tokens,
        padding_side="left",
    )


@functools.cache
def _trained(kind: Callable[[], Any]) -> Any:
    return kind()


GOOGLE = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
GOOGLE_4 = {
    "boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>", "audio_token": "<|audio|>",
    "boa_token": "<|audio>", "eoa_token": "<audio|>",
}  # fmt: skip
QWEN = {
    "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>", "im_start": "<|im_start|>",
}  # fmt: skip
GLM_TOKENS = {
    "image_token": "<|image|>", "video_token": "<|video|>", "begin": "<|begin_of_image|>", "stop": "<|end_of_image|>",
    "film": "<|begin_of_video|>", "cut": "<|end_of_video|>", "mask": "[gMASK]", "sop": "<sop>", "user": "<|user|>",
    "assistant": "<|assistant|>",
}  # fmt: skip
SMOL = {
    "image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
    "video_token": "<video>", "im_start": "<|im_start|>", "row": "<row_1_col_1>",
}  # fmt: skip
INTERN = {
    "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>", "im_start": "<|im_start|>",
}  # fmt: skip
PIXTRAL = {"image_token": "[IMG]", "break": "[IMG_BREAK]", "stop": "[IMG_END]", "ask": "[INST]", "asked": "[/INST]"}
LFM = {
    "image_token": "<image>", "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>",
    "image_thumbnail_token": "<|img_thumbnail|>", "im_start": "<|im_start|>",
}  # fmt: skip

_gemma, _qwen, _llama, _smol = (
    tokenizer_kinds.KINDS[name] for name in ("gemma", "qwen", "llama-3", "smollm")
)  # fmt: skip
_TURN = {"turn": "<start_of_turn>"}
_QWEN_END = ("<|endoftext|>", "", "<|im_end|>")

FAMILIES: dict[str, Family] = {
    "gemma3": Family(
        _gemma, "<pad>", "<bos>", "<end_of_turn>", GOOGLE | _TURN, GEMMA, models.gemma3, processors.gemma3,
    ),
    "gemma4": Family(
        _gemma, "<pad>", "<bos>", "<turn|>", GOOGLE_4 | {"turn": "<|turn>", "video_token": "<|video|>"}, GEMMA_4,
        models.gemma4, processors.gemma4,
    ),
    "paligemma2": Family(
        _gemma, "<pad>", "<bos>", "<eos>", {"image_token": "<image>"}, PALIGEMMA, models.paligemma2,
        processors.paligemma2,
    ),
    "qwen2.5-vl": Family(_qwen, *_QWEN_END, QWEN, CHATML, models.qwen2_5_vl, processors.qwen("Qwen2_5_VLProcessor")),
    "qwen3-vl": Family(_qwen, *_QWEN_END, QWEN, CHATML, models.qwen3_vl, processors.qwen("Qwen3VLProcessor")),
    "qwen3.5": Family(_qwen, *_QWEN_END, QWEN, CHATML, models.qwen3_5, processors.qwen("Qwen3VLProcessor")),
    "smolvlm": Family(
        _smol, "<|im_end|>", "<|im_start|>", "<end_of_utterance>", SMOL, SMOLVLM, models.smolvlm,
        processors.smolvlm,
    ),
    "llava-onevision": Family(
        _qwen, *_QWEN_END, {"image_token": "<image>", "video_token": "<video>", "im_start": "<|im_start|>"}, LLAVA,
        models.llava_onevision, processors.llava_onevision,
    ),
    "internvl3": Family(
        _qwen, *_QWEN_END, INTERN, CHATML.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n"),
        models.internvl3, processors.internvl3,
    ),
    "mistral3": Family(_llama, "<pad>", "<s>", "</s>", PIXTRAL, MISTRAL, models.mistral3, processors.mistral3),
    "glm4v": Family(_llama, "<|endoftext|>", "", "<|endoftext|>", GLM_TOKENS, GLM, models.glm4v, processors.glm4v),
    "lfm2-vl": Family(
        _llama, "<|pad|>", "<|startoftext|>", "<|im_end|>", LFM,
        "{{ bos_token }}" + CHATML.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
        models.lfm2_vl, processors.lfm2_vl,
    ),
}  # fmt: skip
"""Name -> family."""
