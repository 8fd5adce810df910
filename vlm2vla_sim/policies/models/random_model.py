"""Creates a Gemma 3 model of any size with random weights and its own tokenizer, and saves it to a folder.

The real models have gigabytes and require a licence. Loading, adapters, decoding, serving and training are tested and
timed on random models, which have the same structure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm2vla_sim.errors import missing_extra
from vlm2vla_sim.language.formats import FORMATS, get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt, verify_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
IMAGE = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
"""As Gemma 3's tokenizer calls them."""

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>"
    "{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Equivalent to Gemma 3's template for a conversation without a system turn."""


@dataclass(frozen=True)
class Size:
    """The size of a random model."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vision_layers: int
    vision_hidden: int
    image_side: int
    """[pixels]"""
    image_tokens: int
    vocabulary: int
    """Rows of the embedding; the tokenizer may have fewer tokens."""
    sliding_window: int = 1024


TINY = Size(
    layers=3, hidden=64, heads=4, feed_forward=128, vision_layers=2, vision_hidden=32, image_side=56, image_tokens=4,
    vocabulary=2048,
)  # fmt: skip
"""Answers in milliseconds."""
LIKE_12B = Size(
    layers=14, hidden=768, heads=8, feed_forward=2560, vision_layers=6, vision_hidden=512, image_side=448,
    image_tokens=256, vocabulary=16384,
)  # fmt: skip
"""143 M parameters, as many tokens per image as the real models. Encoding an image costs 0.9 times as much as computing
its tokens, as in gemma-3-12b (SigLIP: 0.4 G parameters on 4096 patches)."""
LIKE_4B = Size(
    layers=12, hidden=640, heads=8, feed_forward=2560, vision_layers=7, vision_hidden=768, image_side=448,
    image_tokens=256, vocabulary=16384,
)  # fmt: skip
"""143 M parameters; encoding an image costs about 3 times as much as computing its tokens, as in gemma-3-4b."""


def save_random_model(folder: Path, size: Size = TINY, *, seed: int = 0) -> Path:
    """Save model, tokenizer and processor to `folder`, for `from_pretrained`."""
    tokenizer = make_tokenizer()
    model, processor = make_random_model(size_config(size, tokenizer), tokenizer, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_random_model(
    config: Mapping[str, Any], tokenizer: Any, *, seed: int = 0, device: str = "cpu", dtype: str = "float32"
) -> tuple[Any, Any]:
    """A model with random weights and its processor, in memory; `HfModel` takes them as a `LoadedModel`.

    config: the keyword arguments of `Gemma3Config`; the numbers of its image tokens are the tokenizer's. tokenizer: of
    `make_tokenizer`. device: where the weights are made, so that a large model needs no other memory.
    """
    try:
        import torch
        from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessorPil, Gemma3Processor
    except ModuleNotFoundError as error:
        raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error
    made = Gemma3Config(**config, **_image_ids(tokenizer))
    before = torch.get_default_dtype()
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            model: Any = Gemma3ForConditionalGeneration(made)
        finally:
            torch.set_default_dtype(before)
        # With the usual initialisation such a small model gives the same answer to everything. Larger weights make its
        # answers depend on the image, on every token and on the adapter, so that tests can detect errors.
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim >= 2:
                    weight.normal_(0.0, (1.0 if "embed_tokens" in name else 1.5) * weight.shape[-1] ** -0.5)
                if "mm_input_projection" in name:
                    weight.normal_(0.0, 1.0)
                if name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")):
                    weight.fill_(2.0)  # else the embedding dominates, and the last token is repeated
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    side = made.vision_config.image_size
    images = Gemma3ImageProcessorPil(size={"height": side, "width": side}, do_convert_rgb=True)
    processor = Gemma3Processor(
        images, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=made.mm_tokens_per_image
    )
    return model, processor


def make_tokenizer() -> Any:
    """A tokenizer like Gemma's, trained on the prompts and actions: single digits, with byte fallback."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # Without the pre-tokenizer whole prompts would become single tokens: there is little text to train on.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split(Regex(r"[0-9]|\n+|[^\w▁]"), "isolated")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=1400,
        special_tokens=[*SPECIAL, *IMAGE.values()],
        initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer = add_bytes(tokenizer)
    tokenizer.add_tokens(["\n\n", "\n\n\n", "\n\n\n\n"])
    special = {name.strip("<>") + "_token": name for name in SPECIAL[:4]}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, extra_special_tokens=IMAGE, padding_side="left"
    )


def add_bytes(tokenizer: Any) -> Any:
    """The same tokenizer with a normal token for each byte: decoding would drop special ones."""
    description = json.loads(tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    return type(tokenizer).from_str(json.dumps(description))


def _texts() -> Iterator[str]:
    for instruction in (
        "put carrot on plate",
        "put the spoon on the towel",
        "stack the green block on the yellow block",
    ):
        yield subtasks_prompt(instruction)
        yield plan_prompt(instruction)
        yield verify_prompt("grasp the object", instruction)
        for name in FORMATS:
            action_format = get_format(name, symbols=tuple("zqxjkvbpyg") if name == "tokens" else None)
            yield action_prompt(instruction, "move down, then close the gripper", action_format)


def size_config(size: Size, tokenizer: Any) -> dict[str, Any]:
    """The keyword arguments of `Gemma3Config` for a model of this size, for `make_random_model`."""
    return {
        "text_config": {
            "vocab_size": size.vocabulary,
            "hidden_size": size.hidden,
            "intermediate_size": size.feed_forward,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": max(1, size.heads // 2),
            "head_dim": size.hidden // size.heads,
            "query_pre_attn_scalar": size.hidden // size.heads,
            "sliding_window": size.sliding_window,
            # Gemma 3 has one layer of full attention after every five with a window; a small model has both kinds too.
            "layer_types": ["full_attention" if k % 3 == 2 else "sliding_attention" for k in range(size.layers)],
            "max_position_embeddings": 8192,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
        },
        "vision_config": {
            "hidden_size": size.vision_hidden,
            "intermediate_size": 4 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": max(2, size.vision_hidden // 64),
            "image_size": size.image_side,
            "patch_size": 14,
        },
        "mm_tokens_per_image": size.image_tokens,
        "tie_word_embeddings": True,
    }


def _image_ids(tokenizer: Any) -> dict[str, int]:
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in IMAGE.items()}
    return {
        "boi_token_index": ids["boi_token"],
        "eoi_token_index": ids["eoi_token"],
        "image_token_index": ids["image_token"],
    }
