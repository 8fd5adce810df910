"""Qwen3-VL's language model for the cached decoder.

Its rotary positions have three parts (M-RoPE): all tokens of an image have the same time, and their row and column in
it. A later token goes on after the larger side of the image, so that positions are not the columns of the cache. The
first layers add further features of the image to its tokens (DeepStack).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vlm2vla_sim.policies.models.gemma_text import STATIC_ROPE, base_model
from vlm2vla_sim.policies.models.hf_prompt import Prompt
from vlm2vla_sim.policies.models.module_text import Kind, LayerCache, ModuleText, is_whole
from vlm2vla_sim.policies.models.row_attention import Step


class Qwen3VLText(ModuleText):
    """The language model of a Qwen3-VL, its adapter included."""

    @staticmethod
    def supports(model: Any) -> bool:
        """Whether this computes what the transformers model computes."""
        return is_whole(base_model(model), "qwen3_vl.Qwen3VLForConditionalGeneration", ropes=STATIC_ROPE)

    def __init__(self, model: Any) -> None:
        """model: one that `supports` accepts."""
        layers = base_model(model).model.language_model.layers
        super().__init__(model, [LayerCache(Kind(), number) for number in range(len(layers))])
        self._image_token: int = self._base.config.image_token_id

    def positions(self, prompt: Prompt) -> GridPositions:
        """See `CachedText.positions`."""
        return GridPositions(prompt)

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """See `CachedText.encode`: the features that replace the tokens, and those of each DeepStack level."""
        placed = self._image_inputs(inputs, self._base.model.visual)
        encoded = self._base.get_image_features(placed["pixel_values"], placed["image_grid_thw"], return_dict=True)
        return torch.stack([level[0] for level in (encoded.pooler_output, *encoded.deepstack_features)])

    def _hidden(self, step: Step, features: torch.Tensor | None, **how: Any) -> torch.Tensor:
        ids = step.ids.to(self._device)[None]
        hidden = self._text.embed_tokens(ids)
        if features is not None:
            part = ids == self._image_token
            embedded, *deeper = features.to(hidden.dtype)
            hidden = hidden.masked_scatter(part[..., None], embedded)
            how |= {"visual_pos_masks": part, "deepstack_visual_embeds": deeper}
        assert step.grid_positions is not None  # as `positions` gives them
        positions = step.grid_positions.to(self._device)[:, None]
        return self._text(inputs_embeds=hidden, position_ids=positions, **how).last_hidden_state


class GridPositions:
    """The rotary positions of a prompt and of the answer after it."""

    def __init__(self, prompt: Prompt) -> None:
        """prompt: with `Prompt.grids`."""
        grids, places, after = iter(prompt.grids), [], 0
        while len(places) < len(prompt.keys):
            if isinstance(prompt.keys[len(places)], tuple):
                rows, columns = next(grids)
                places += [(after, after + row, after + column) for row in range(rows) for column in range(columns)]
                after += max(rows, columns)
            else:
                places.append((after, after, after))
                after += 1
        self._prompt = torch.tensor(places).T
        self._ahead = after - len(places)

    def __call__(self, start: int, count: int) -> torch.Tensor:
        """(3, count) of the tokens from column `start` on: time, row, column."""
        there = self._prompt[:, start : start + count]
        first = start + there.shape[1]
        later = torch.arange(first, start + count) + self._ahead
        return torch.cat([there, later.expand(3, -1)], 1)
