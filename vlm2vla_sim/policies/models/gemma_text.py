"""Gemma 3's language model over preallocated attention caches, for many answers at once.

transformers' own forward pass builds masks, positions and cache objects anew for every token, concatenates the caches,
and calls an adapter's layers one by one; for a small model that is most of the time. Here the tokens of all rows are
one (N, hidden) array, whatever their number for each row, so that a long prompt, a single token and a few forced ones
go through the weights together. Only attention looks at rows (`row_attention`).

The weights are those of the transformers model, of which no copy is made. The operations are the same up to the order
in which sums are rounded; `supports` says for which models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers.models.gemma3 import modeling_gemma3 as gemma3

from vlm2vla_sim.policies.models.hf_prompt import Prompt
from vlm2vla_sim.policies.models.key_values import KeyValues
from vlm2vla_sim.policies.models.linear_group import LinearGroup
from vlm2vla_sim.policies.models.row_attention import Attention, Step

STATIC_ROPE = frozenset({"default", "linear", "llama3"})
"""Kinds of rotary embedding whose angles depend on the position alone."""


def supports(model: Any) -> bool:
    """Whether `GemmaText` computes what this transformers model, with its adapter if it has one, computes."""
    base: Any = base_model(model)
    text: Any = getattr(getattr(base, "model", None), "language_model", None)
    if type(text) is not gemma3.Gemma3TextModel:
        return False
    config = text.config
    angles: Any = config.rope_parameters
    kinds = {rope["rope_type"] for rope in angles.values() if rope}
    placed: dict[str, Any] = getattr(base, "hf_device_map", {}) or {}
    places = {str(place) for place in placed.values()}
    return (
        kinds <= STATIC_ROPE
        and not config.use_bidirectional_attention
        and config.attn_logit_softcapping is None
        and (len(places) <= 1 or not places & {"cpu", "disk", "meta"})
        and all(
            type(layer) is gemma3.Gemma3DecoderLayer
            and type(layer.self_attn) is gemma3.Gemma3Attention
            and type(layer.mlp) is gemma3.Gemma3MLP
            for layer in text.layers
        )
    )


class GemmaText:
    """The language model of a Gemma 3, its adapter included."""

    def __init__(self, model: Any, *, own_feed_forward: bool = True) -> None:
        """model: one that `supports` accepts. own_feed_forward: False to call its feed-forward modules as they are."""
        base = self._base = base_model(model)
        self._text, self._head = base.model.language_model, base.lm_head
        self._softcap = self._text.config.final_logit_softcapping
        self._image_token: int = base.config.image_token_id
        self.window: int = self._text.config.sliding_window
        self._layers = [_Layer(layer, own_feed_forward=own_feed_forward) for layer in self._text.layers]
        self._norm = _norm(self._text.norm)
        fixed = (self._text.embed_tokens, self._head)
        known = (gemma3.Gemma3TextScaledWordEmbedding, torch.nn.Linear)
        self.mixes: bool = (
            all(layer.mixes for layer in self._layers)
            and _is_norm(self._text.norm)
            and all(type(module) is kind for module, kind in zip(fixed, known, strict=True))
        )
        """Whether rows with and without the adapter can be computed together."""
        self._angles: dict[tuple[str, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    def new_cache(self) -> KeyValues:
        """An empty attention cache."""
        return KeyValues([(layer.groups, layer.size, layer.dtype, layer.device) for layer in self._layers])

    def positions(self, prompt: Prompt) -> None:
        """None: rotary positions are the columns of the cache."""

    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """See `CachedText.encode`."""
        weight = next(self._base.model.vision_tower.parameters())
        dtype = weight.dtype if weight.is_floating_point() else self._base.dtype
        pixels = inputs["pixel_values"].to(weight.device, dtype)
        return self._base.get_image_features(pixels, return_dict=True).pooler_output

    @torch.inference_mode()
    def scores(self, step: Step, cache: KeyValues, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Scores (R, V) float32 of the token that follows the last one of each of `step.pieces`.

        images: (1, tokens, hidden) features of the images whose tokens are in the step, in their order.
        """
        hidden = self._embed(step.ids, images)
        kinds: dict[tuple[str, torch.device], tuple[Attention, tuple[torch.Tensor, torch.Tensor]]] = {}
        for number, layer in enumerate(self._layers):
            place = (layer.kind, layer.device)
            if place not in kinds:
                window = self.window if layer.kind == "sliding_attention" else None
                attention = Attention(step, window=window, dtype=hidden.dtype, device=layer.device)
                kinds[place] = attention, self._turn(layer, attention.positions, cache.columns, hidden.dtype)
            attention, angles = kinds[place]
            hidden = layer.run(hidden.to(layer.device), step.adapter, attention, angles, cache.layer(number))
        last = hidden.index_select(0, step.last.to(hidden.device))
        scores = self._head(self._norm(last))
        if self._softcap is not None:
            scores = torch.tanh(scores / self._softcap) * self._softcap
        return scores.float()

    def _embed(self, ids: torch.Tensor, images: Sequence[torch.Tensor]) -> torch.Tensor:
        embed = self._text.embed_tokens
        if not images:
            return embed(ids.to(self._layers[0].device))
        part = ids == self._image_token
        hidden = embed(ids.masked_fill(part, 0).to(self._layers[0].device))
        features = torch.cat([image.flatten(0, 1) for image in images]).to(hidden)
        return hidden.index_copy(0, part.nonzero().squeeze(1).to(hidden.device), features)

    def _turn(
        self, layer: _Layer, positions: torch.Tensor, columns: int, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 1, size) cosines, and sines with the sign of the half they are multiplied with."""
        place = (layer.kind, layer.device)
        if place not in self._angles or len(self._angles[place][0]) < columns:
            every = torch.arange(columns, device=layer.device)[None]
            sample = torch.empty((), dtype=dtype, device=layer.device)
            cos, sin = self._text.rotary_emb(sample, every, layer.kind)
            sin[..., : layer.size // 2].neg_()
            self._angles[place] = cos[0, :, None], sin[0, :, None]
        cos, sin = self._angles[place]
        return cos.index_select(0, positions), sin.index_select(0, positions)


class _Layer:
    """One decoder layer, on (N, hidden) arrays."""

    def __init__(self, layer: Any, *, own_feed_forward: bool) -> None:
        attention, feed = layer.self_attn, layer.mlp
        self.kind: str = attention.layer_type
        self.size: int = attention.head_dim
        self.heads: int = attention.config.num_attention_heads
        self.groups: int = attention.config.num_key_value_heads
        self._scale: float = attention.scaling
        self._joint = LinearGroup([attention.q_proj, attention.k_proj, attention.v_proj])
        self._out = LinearGroup([attention.o_proj])
        self.dtype: torch.dtype = layer.input_layernorm.weight.dtype
        self.device: torch.device = layer.input_layernorm.weight.device
        norms = (
            layer.input_layernorm, layer.post_attention_layernorm, layer.pre_feedforward_layernorm,
            layer.post_feedforward_layernorm,
        )  # fmt: skip
        self._before, self._after, self._before_feed, self._after_feed = map(_norm, norms)
        self._norm_queries, self._norm_keys = _norm(attention.q_norm), _norm(attention.k_norm)
        groups = [self._joint, self._out]
        self._feed: Callable[[torch.Tensor, torch.Tensor | bool], torch.Tensor] = lambda hidden, on: feed(hidden)
        if own_feed_forward:
            self._wide, self._narrow = LinearGroup([feed.gate_proj, feed.up_proj]), LinearGroup([feed.down_proj])
            self._act, self._feed = feed.act_fn, self._feed_forward
            groups += [self._wide, self._narrow]
        self.mixes = (
            own_feed_forward
            and all(group.mixes for group in groups)
            and all(map(_is_norm, (*norms, attention.q_norm, attention.k_norm)))
        )
        """Whether rows with and without the adapter can be computed together."""

    def run(
        self,
        hidden: torch.Tensor,
        on: torch.Tensor | bool,
        attention: Attention,
        angles: tuple[torch.Tensor, torch.Tensor],
        cache: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """(N, hidden) after this layer. on: as in `LinearGroup`."""
        joint = self._joint(self._before(hidden), on).view(len(hidden), -1, self.size)
        queries, keys, values = joint.split((self.heads, self.groups, self.groups), 1)
        queries, keys = _turned(self._norm_queries(queries), angles), _turned(self._norm_keys(keys), angles)
        seen = attention.run(queries, keys, values, cache, self._scale)
        hidden = hidden + self._after(self._out(seen.reshape(len(hidden), -1), on))
        return hidden + self._after_feed(self._feed(self._before_feed(hidden), on))

    def _feed_forward(self, hidden: torch.Tensor, on: torch.Tensor | bool) -> torch.Tensor:
        gate, up = self._wide(hidden, on).chunk(2, -1)
        return self._narrow(self._act(gate) * up, on)


def _turned(vectors: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotary embedding. vectors: (N, heads, size)."""
    cos, sin = angles
    return vectors * cos + vectors.roll(vectors.shape[-1] // 2, -1) * sin


def _is_norm(module: Any) -> bool:
    return type(module) is gemma3.Gemma3RMSNorm


def _norm(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Gemma 3's normalisation, computed in float32, in one call; a module of another type as it is."""
    if not _is_norm(module):
        return module
    weight, eps = 1.0 + module.weight.detach().float(), module.eps
    if module.weight.dtype == torch.float32:
        return lambda vectors: functional.rms_norm(vectors, weight.shape, weight, eps)
    return lambda vectors: functional.rms_norm(vectors.float(), weight.shape, weight, eps).to(vectors.dtype)


def base_model(model: Any) -> Any:
    """The transformers model without the wrapper of peft."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
