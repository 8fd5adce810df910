"""The architectures of the families, two layers of each; see `families`."""

from __future__ import annotations

from typing import Any

import transformers

SIDE = 32
"""Side of an image in the vision tower [px]; its patches have 8."""
PATCH = 8
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {**TEXT, "num_hidden_layers": 2, "vocab_size": len(tokenizer) + 8, "max_position_embeddings": 4096}
    return {**sizes, **ids, "bos_token_id": tokenizer.bos_token_id, **more}


def _id(tokenizer: Any, token: str) -> int:
    return tokenizer.convert_tokens_to_ids(token)


def gemma3(tokenizer: Any) -> Any:
    text = _text(tokenizer, head_dim=8, query_pre_attn_scalar=8, sliding_window=64,
                 layer_types=["sliding_attention", "full_attention"])  # fmt: skip
    return transformers.Gemma3ForConditionalGeneration(
        transformers.Gemma3Config(
            text_config=text, vision_config={**VISION, "image_size": SIDE, "patch_size": PATCH}, mm_tokens_per_image=4,
            boi_token_index=tokenizer.boi_token_id, eoi_token_index=tokenizer.eoi_token_id,
            image_token_index=tokenizer.image_token_id,
        )
    )  # fmt: skip


def gemma4(tokenizer: Any) -> Any:
    text = _text(tokenizer, head_dim=8, global_head_dim=16, sliding_window=64, hidden_size_per_layer_input=8,
                 num_hidden_layers=4, num_kv_shared_layers=2, vocab_size_per_layer_input=len(tokenizer) + 8,
                 layer_types=["sliding_attention", "full_attention"] * 2)  # fmt: skip
    vision = {**VISION, "num_key_value_heads": 2, "head_dim": 8, "patch_size": PATCH, "pooling_kernel_size": 3,
              "position_embedding_size": 64}  # fmt: skip
    return transformers.Gemma4ForConditionalGeneration(
        transformers.Gemma4Config(
            text_config=text, vision_config=vision, audio_config=None, image_token_id=tokenizer.image_token_id,
            boi_token_id=tokenizer.boi_token_id, eoi_token_id=tokenizer.eoi_token_id,
            audio_token_id=tokenizer.audio_token_id, boa_token_id=tokenizer.boa_token_id,
            eoa_token_index=tokenizer.eoa_token_id, video_token_id=_id(tokenizer, "<|video|>"),
        )
    )  # fmt: skip


def paligemma2(tokenizer: Any) -> Any:
    text = _text(tokenizer, model_type="gemma2", head_dim=8, query_pre_attn_scalar=8, sliding_window=64)
    vision = {**VISION, "model_type": "siglip_vision_model", "image_size": SIDE, "patch_size": PATCH,
              "projection_dim": 32, "vision_use_head": False}  # fmt: skip
    return transformers.PaliGemmaForConditionalGeneration(
        transformers.PaliGemmaConfig(
            text_config=text, vision_config=vision, image_token_index=_id(tokenizer, "<image>"), projection_dim=32,
            hidden_size=32, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def _mrope(*sections: int, **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections), **more}


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in
            ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")}  # fmt: skip


QWEN_VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "depth": 2, "patch_size": PATCH, "out_hidden_size": 32,
    "num_position_embeddings": 16,
}  # fmt: skip


def qwen2_5_vl(tokenizer: Any) -> Any:
    vision = {**QWEN_VISION, "window_size": 2 * PATCH * 2, "fullatt_block_indexes": [1]}
    text = _text(tokenizer, rope_parameters=_mrope(1, 1, 2))
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tokenizer))
    )


def qwen3_vl(tokenizer: Any) -> Any:
    vision = {**QWEN_VISION, "deepstack_visual_indexes": [0]}
    text = _text(tokenizer, head_dim=8, rope_parameters=_mrope(2, 1, 1, mrope_interleaved=True))
    return transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tokenizer))
    )


def qwen3_5(tokenizer: Any) -> Any:
    rope = _mrope(2, 1, 1, mrope_interleaved=True, partial_rotary_factor=1.0)
    text = _text(
        tokenizer, head_dim=8, rope_parameters=rope, linear_key_head_dim=8, linear_value_head_dim=8,
        linear_num_key_heads=2, linear_num_value_heads=4, layer_types=["linear_attention", "full_attention"],
    )  # fmt: skip
    return transformers.Qwen3_5ForConditionalGeneration(
        transformers.Qwen3_5Config(text_config=text, vision_config=QWEN_VISION, **_qwen_ids(tokenizer))
    )


def glm4v(tokenizer: Any) -> Any:
    vision = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "num_heads": 2, "depth": 2,
              "patch_size": PATCH, "image_size": SIDE}  # fmt: skip
    rope = _mrope(1, 1, 2, partial_rotary_factor=1.0)
    return transformers.Glm4vForConditionalGeneration(
        transformers.Glm4vConfig(
            text_config=_text(tokenizer, rope_parameters=rope), vision_config=vision,
            image_token_id=_id(tokenizer, "<|image|>"), video_token_id=_id(tokenizer, "<|video|>"),
            image_start_token_id=_id(tokenizer, "<|begin_of_image|>"),
            image_end_token_id=_id(tokenizer, "<|end_of_image|>"),
            video_start_token_id=_id(tokenizer, "<|begin_of_video|>"),
            video_end_token_id=_id(tokenizer, "<|end_of_video|>"),
        )
    )  # fmt: skip


def smolvlm(tokenizer: Any) -> Any:
    return transformers.SmolVLMForConditionalGeneration(
        transformers.SmolVLMConfig(
            text_config=_text(tokenizer, model_type="llama"),
            vision_config={**VISION, "image_size": SIDE, "patch_size": PATCH},
            image_token_id=_id(tokenizer, "<image>"), scale_factor=2, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def llava_onevision(tokenizer: Any) -> Any:
    vision = {**VISION, "model_type": "siglip_vision_model", "image_size": SIDE, "patch_size": PATCH,
              "vision_use_head": False}  # fmt: skip
    return transformers.LlavaOnevisionForConditionalGeneration(
        transformers.LlavaOnevisionConfig(
            text_config=_text(tokenizer, model_type="qwen2"), vision_config=vision,
            image_token_index=_id(tokenizer, "<image>"), video_token_index=_id(tokenizer, "<video>"),
            image_grid_pinpoints=[[SIDE, SIDE]],
        )
    )  # fmt: skip


def internvl3(tokenizer: Any) -> Any:
    vision = {**VISION, "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]}
    return transformers.InternVLForConditionalGeneration(
        transformers.InternVLConfig(
            text_config=_text(tokenizer, model_type="qwen2"), vision_config=vision, image_seq_length=4,
            image_token_id=tokenizer.context_image_token_id,
        )
    )  # fmt: skip


def mistral3(tokenizer: Any) -> Any:
    vision = {**VISION, "model_type": "pixtral", "image_size": SIDE, "patch_size": PATCH}
    return transformers.Mistral3ForConditionalGeneration(
        transformers.Mistral3Config(
            text_config=_text(tokenizer, model_type="mistral", head_dim=8, sliding_window=None), vision_config=vision,
            image_token_index=_id(tokenizer, "[IMG]"), spatial_merge_size=2,
        )
    )  # fmt: skip


def lfm2_vl(tokenizer: Any) -> Any:
    vision = {**VISION, "model_type": "siglip2_vision_model", "patch_size": PATCH, "num_patches": 16,
              "vision_use_head": False}  # fmt: skip
    text = _text(tokenizer, model_type="lfm2", layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False)
    return transformers.Lfm2VlForConditionalGeneration(
        transformers.Lfm2VlConfig(
            text_config=text, vision_config=vision, image_token_id=_id(tokenizer, "<image>"), projector_hidden_size=32
        )
    )
