"""Writes a tiny random Llama, a picture encoder for it and a LoRA adapter as GGUF files, which llama.cpp reads.

Run with an interpreter that has the package gguf: python gguf_model.py FOLDER TOKENIZER_JSON TEMPLATE. Nothing of this
package is imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np

HIDDEN, HEADS, FORWARD, LAYERS, CONTEXT = 64, 4, 128, 2, 4096
SIDE, PATCH, VISION, VISION_LAYERS = 112, 14, 32, 2
"""[pixels] of the picture encoder, whose 64 patches become 4 tokens."""
RANK = 4


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.5) -> np.ndarray:
    """Random weights, large enough that the answers depend on every token."""
    return rng.normal(0.0, scale * shape[-1] ** -0.5, shape).astype(np.float32)


def write(path: Path, arch: str, values: dict, tensors: dict[str, np.ndarray]) -> None:
    """One GGUF file. values: key -> a bool, int, float, text, or a list of them."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vocabulary(tokenizer: dict) -> dict:
    """The tokens of a byte-fallback BPE tokenizer, as the kind "llama" of llama.cpp, which merges by score."""
    names = dict(sorted((index, token) for token, index in tokenizer["model"]["vocab"].items()))
    added = {entry["id"]: entry for entry in tokenizer["added_tokens"]}
    tokens = [added[k]["content"] if k in added else names[k] for k in range(max([*names, *added]) + 1)]
    kinds = []
    for index, token in enumerate(tokens):
        if index in added:
            kinds.append(gguf.TokenType.CONTROL if added[index]["special"] else gguf.TokenType.USER_DEFINED)
        else:
            is_byte = len(token) == 6 and token.startswith("<0x")
            kinds.append(gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL)
    at = {token: index for index, token in enumerate(tokens)}
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(index) for index in range(len(tokens))],
        "tokenizer.ggml.token_type": [int(kind) for kind in kinds],
        "tokenizer.ggml.bos_token_id": at["<bos>"],
        "tokenizer.ggml.eos_token_id": at["<end_of_turn>"],
        "tokenizer.ggml.unknown_token_id": at["<unk>"],
        "tokenizer.ggml.padding_token_id": at["<pad>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }


def text_model(rng: np.random.Generator, words: int) -> tuple[dict, dict[str, np.ndarray]]:
    """Values and tensors of the Llama."""
    values = {
        "general.name": "tiny",
        "llama.context_length": CONTEXT,
        "llama.embedding_length": HIDDEN,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": HIDDEN // HEADS,
        "llama.vocab_size": words,
    }
    tensors = {
        "token_embd.weight": normal(rng, words, HIDDEN, scale=8.0),
        "output_norm.weight": np.ones(HIDDEN),
        "output.weight": normal(rng, words, HIDDEN),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{layer}.{name}.weight"] = normal(rng, HIDDEN, HIDDEN)
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"blk.{layer}.{name}.weight"] = normal(rng, FORWARD, HIDDEN)
        tensors[f"blk.{layer}.ffn_down.weight"] = normal(rng, HIDDEN, FORWARD)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(HIDDEN)
    return values, tensors


def picture_encoder(rng: np.random.Generator) -> tuple[dict, dict[str, np.ndarray]]:
    """Values and tensors of a SigLIP with Gemma 3's projection."""
    values = {
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "gemma3",
        "clip.use_gelu": True,
        "clip.vision.image_size": SIDE,
        "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": VISION,
        "clip.vision.feed_forward_length": 2 * VISION,
        "clip.vision.block_count": VISION_LAYERS,
        "clip.vision.projection_dim": HIDDEN,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    tensors = {
        "v.patch_embd.weight": normal(rng, VISION, 3, PATCH, PATCH),
        "v.patch_embd.bias": np.zeros(VISION),
        "v.position_embd.weight": normal(rng, (SIDE // PATCH) ** 2, VISION),
        "v.post_ln.weight": np.ones(VISION),
        "v.post_ln.bias": np.zeros(VISION),
        "mm.input_projection.weight": normal(rng, VISION, HIDDEN, scale=8.0),
        "mm.soft_emb_norm.weight": np.ones(VISION),
    }
    for layer in range(VISION_LAYERS):
        for name, shape in (
            ("attn_q", (VISION, VISION)),
            ("attn_k", (VISION, VISION)),
            ("attn_v", (VISION, VISION)),
            ("attn_out", (VISION, VISION)),
            ("ffn_up", (2 * VISION, VISION)),
            ("ffn_down", (VISION, 2 * VISION)),
        ):
            tensors[f"v.blk.{layer}.{name}.weight"] = normal(rng, *shape)
            tensors[f"v.blk.{layer}.{name}.bias"] = np.zeros(shape[0])
        for name in ("ln1", "ln2"):
            tensors[f"v.blk.{layer}.{name}.weight"] = np.ones(VISION)
            tensors[f"v.blk.{layer}.{name}.bias"] = np.zeros(VISION)
    return values, tensors


def adapter(rng: np.random.Generator) -> tuple[dict, dict[str, np.ndarray]]:
    """Values and tensors of a LoRA adapter of the Llama's queries and outputs."""
    tensors = {}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_output"):
            tensors[f"blk.{layer}.{name}.weight.lora_a"] = normal(rng, RANK, HIDDEN)
            tensors[f"blk.{layer}.{name}.weight.lora_b"] = normal(rng, HIDDEN, RANK)
    return {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}, tensors


def main(folder: Path, tokenizer: Path, template: Path) -> None:
    """Write model.gguf, mmproj.gguf and adapter.gguf."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    words = vocabulary(json.loads(tokenizer.read_text()))
    words["tokenizer.chat_template"] = template.read_text()
    values, tensors = text_model(rng, len(words["tokenizer.ggml.tokens"]))
    write(folder / "model.gguf", "llama", values | words, tensors)
    write(folder / "mmproj.gguf", "clip", *picture_encoder(rng))
    write(folder / "adapter.gguf", "llama", *adapter(rng))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
