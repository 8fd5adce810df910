"""Gemma 4's language model for the cached decoder.

The last layers of some sizes have no keys of their own and read those of the last layer of their kind that has; layers
with a window and layers without have heads of other sizes; each layer may read a further embedding of the token; and
only layers with a window let the tokens of an image attend to one another, in the sizes that do so at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vlm2vla_sim.policies.models.gemma_text import STATIC_ROPE, base_model
from vlm2vla_sim.policies.models.module_text import Kind, LayerCache, ModuleText, is_whole
from vlm2vla_sim.policies.models.row_attention import Step

KINDS = {"sliding_attention", "full_attention"}


class Gemma4Text(ModuleText):
    """The language model of a Gemma 4, its adapter included."""

    @staticmethod
    def supports(model: Any) -> bool:
        """Whether this computes what the transformers model computes."""
        base = base_model(model)
        return (
            is_whole(base, "gemma4.Gemma4ForConditionalGeneration", ropes=STATIC_ROPE | {"proportional"})
            and base.config.text_config.use_bidirectional_attention in (None, "vision")
            and set(base.config.text_config.layer_types) <= KINDS
        )

    def __init__(self, model: Any) -> None:
        """model: one that `supports` accepts."""
        config = base_model(model).config
        super().__init__(model, _layers(base_model(model).model.language_model))
        tokens = (config.image_token_id, config.video_token_id, config.audio_token_id)
        self._media = torch.tensor([token for token in tokens if token is not None])
        """Tokens that are replaced by features, or else by the embedding of padding."""
        self._image_token: int = config.image_token_id
        self._softcap: float | None = config.text_config.final_logit_softcapping

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """See `CachedText.encode`."""
        placed = self._image_inputs(inputs, self._base.model.vision_tower)
        features = self._base.get_image_features(
            placed["pixel_values"], placed["image_position_ids"], return_dict=True
        ).pooler_output
        return torch.stack(list(features))

    def _hidden(self, step: Step, features: torch.Tensor | None, **how: Any) -> torch.Tensor:
        ids = step.ids[None]
        words = ids.masked_fill(torch.isin(ids, self._media), self._text.config.pad_token_id).to(self._device)
        hidden = self._text.embed_tokens(words)
        if self._text.hidden_size_per_layer_input:
            how |= {"per_layer_inputs": self._text.get_per_layer_inputs(words, hidden)}
        if features is not None:
            part = (ids == self._image_token).to(self._device)
            hidden = hidden.masked_scatter(part[..., None], features[0].to(hidden.dtype))
        positions = step.positions.to(self._device)[None]
        masks: dict[str, None] = dict.fromkeys(KINDS)
        return self._text(inputs_embeds=hidden, position_ids=positions, attention_mask=masks, **how).last_hidden_state

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        scores = super()._head(hidden)
        return scores if self._softcap is None else torch.tanh(scores / self._softcap) * self._softcap


def _layers(text: Any) -> Sequence[LayerCache]:
    blocks = text.config.use_bidirectional_attention == "vision"
    kinds = {
        "sliding_attention": Kind(window=text.config.sliding_window, blocks=blocks),
        "full_attention": Kind(),
    }
    stores: dict[str, int] = {}
    """The cache of the last layer of a kind that has keys of its own."""
    places: list[LayerCache] = []
    count = 0
    for layer in text.layers:
        kind = layer.self_attn.layer_type
        if not layer.self_attn.is_kv_shared_layer:
            stores[kind], count = count, count + 1
        places.append(LayerCache(kinds[kind], stores[kind]))
    return places
