"""What the cached decoder needs of a model, and which models have it.

`hf_decode` encodes each image once, keeps the attention cache of prompts, and decodes many answers together. It needs a
language model that computes the new tokens of many rows over a cache that it does not own: a `CachedText`. Gemma 3 has
an implementation for speed (`gemma_text`); Gemma 4 and Qwen3-VL run transformers' own modules (`module_text`). Every
other family is decoded by transformers' `generate` (`hf_generate`), and says so when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import torch

from vlm2vla_sim.policies.models.gemma4_text import Gemma4Text
from vlm2vla_sim.policies.models.gemma_text import GemmaText, base_model, supports
from vlm2vla_sim.policies.models.hf_prompt import Prompt
from vlm2vla_sim.policies.models.key_values import KeyValues
from vlm2vla_sim.policies.models.qwen3_vl_text import Qwen3VLText
from vlm2vla_sim.policies.models.row_attention import Step

CACHED, PLAIN = "cached", "generate"
"""`provenance()["decoding"]`: by `hf_decode`, or by transformers' `generate`."""

Positions: TypeAlias = Callable[[int, int], torch.Tensor]
"""(start, count) -> (3, count) rotary positions of a row's tokens."""


class CachedText(Protocol):
    """The language model and the image encoder of a model, its adapter included."""

    mixes: bool
    """Whether rows with and without the adapter can be computed together."""

    def new_cache(self) -> KeyValues:
        """An empty attention cache."""
        ...

    def positions(self, prompt: Prompt) -> Positions | None:
        """The rotary positions of a row that begins with `prompt`; None where they are the columns of the cache."""
        ...

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(levels, tokens, hidden) features of one image: what replaces its tokens, then what later layers add.

        inputs: of the image processor.
        """
        ...

    def scores(self, step: Step, cache: KeyValues, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Scores (R, V) float32 of the token that follows the last one of each of `step.pieces`.

        images: features, as from `encode`, of the images whose tokens are in the step, in their order.
        """
        ...


def cached_text(model: Any, *, own_feed_forward: bool = True) -> CachedText | None:
    """The `CachedText` of a transformers model, with its adapter if it has one; None if there is none for it.

    own_feed_forward: False to call the feed-forward modules as they are, because they are compiled.
    """
    if supports(model):
        return GemmaText(model, own_feed_forward=own_feed_forward)
    for kind in (Gemma4Text, Qwen3VLText):
        if kind.supports(model):
            return kind(model)
    return None


def plain_notice(model: Any) -> str:
    """The sentence that says that a model has no `CachedText`."""
    return (
        f"{type(base_model(model)).__name__} is decoded by transformers' generate: each question computes its images "
        "and its whole prompt anew. Decoded with caches are Gemma 3 and, on a single device, Gemma 4 and Qwen3-VL."
    )
