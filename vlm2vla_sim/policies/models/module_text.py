"""Language models of transformers over the caches of `hf_decode`, computed by their own modules.

The tokens of all rows are one sequence (1, N), whatever their number for each row: embedding, norms, projections,
experts and adapters do not look at other tokens. Attention does, so each layer calls `row_attention` in place of
transformers' own function, under a name that is registered with transformers and set for the time of a step. Sharing
of keys, windows and image blocks are decided by layer, as in the model. No line of a family's layers is repeated here.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface

from vlm2vla_sim.policies.models.gemma_text import base_model
from vlm2vla_sim.policies.models.hf_prompt import Prompt
from vlm2vla_sim.policies.models.key_values import KeyValues
from vlm2vla_sim.policies.models.row_attention import Attention, Step

ATTENTION = "vlm2vla_rows"
"""The name of the attention function."""


@dataclass(frozen=True)
class Kind:
    """What the attention of a layer sees."""

    window: int | None = None
    """Positions, the token's own included; None for all before it."""
    blocks: bool = False
    """Whether the tokens of an image attend to one another."""


@dataclass(frozen=True)
class LayerCache:
    """Where a layer keeps keys and values."""

    kind: Kind
    store: int
    """The number of its cache; layers that share keys have the same."""


class ModuleText(abc.ABC):
    """A language model of transformers that computes the new tokens of many rows."""

    mixes = False
    """An adapter's modules compute all tokens of a step alike."""

    def __init__(self, model: Any, layers: Sequence[LayerCache]) -> None:
        """model: a transformers model, with its adapter if it has one. layers: of its language model, in order."""
        self._base = base_model(model)
        self._text = self._base.model.language_model
        self._layers = list(layers)
        self._device: torch.device = self._text.embed_tokens.weight.device

    def new_cache(self) -> KeyValues:
        """An empty attention cache."""
        shapes: dict[int, tuple[int, int, torch.dtype, torch.device]] = {}
        for layer, place in zip(self._text.layers, self._layers, strict=True):
            weight, attention = layer.input_layernorm.weight, layer.self_attn
            if place.store not in shapes:
                groups = attention.config.num_attention_heads // attention.num_key_value_groups
                shapes[place.store] = groups, attention.head_dim, weight.dtype, weight.device
        return KeyValues([shapes[number] for number in range(len(shapes))])

    def positions(self, prompt: Prompt) -> Callable[[int, int], torch.Tensor] | None:
        """See `CachedText.positions`; by default those of the columns of the cache."""
        return None

    @torch.inference_mode()
    def scores(self, step: Step, cache: KeyValues, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `CachedText.scores`."""
        rows = _Rows(step, cache, self._layers)
        features = torch.cat(list(images), 1).to(self._device) if images else None
        with self._rows_attend():
            hidden = self._hidden(step, features, use_cache=False, rows=rows)
        last = hidden[0].index_select(0, step.last.to(hidden.device))
        return self._head(last).float()

    @abc.abstractmethod
    def encode(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """See `CachedText.encode`."""

    @abc.abstractmethod
    def _hidden(self, step: Step, features: torch.Tensor | None, **how: Any) -> torch.Tensor:
        """(1, N, hidden) after the last layer.

        features: (levels, image tokens, hidden). how: further arguments of the language model.
        """

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._base.lm_head(hidden)

    def _image_inputs(self, inputs: Mapping[str, torch.Tensor], tower: torch.nn.Module) -> dict[str, torch.Tensor]:
        """`inputs` on the device of the vision tower, pixels in its dtype."""
        weight = next(tower.parameters())
        dtype = weight.dtype if weight.is_floating_point() else self._base.dtype
        placed = {name: value.to(weight.device) for name, value in inputs.items()}
        return placed | {"pixel_values": placed["pixel_values"].to(dtype)}

    @contextlib.contextmanager
    def _rows_attend(self) -> Iterator[None]:
        config = self._text.config
        before = config._attn_implementation
        config._attn_implementation = ATTENTION
        try:
            yield
        finally:
            config._attn_implementation = before


class _Rows:
    """The attention of a step, by layer."""

    def __init__(self, step: Step, cache: KeyValues, layers: Sequence[LayerCache]) -> None:
        self._step, self._cache, self._layers = step, cache, layers
        self._made: dict[Kind, Attention] = {}

    def attend(
        self, number: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """(1, N, heads, size). queries, keys, values: (1, heads, N, size), of the new tokens, in layer `number`."""
        place = self._layers[number]
        if place.kind not in self._made:
            self._made[place.kind] = Attention(
                self._step,
                window=place.kind.window,
                dtype=queries.dtype,
                device=queries.device,
                blocks=place.kind.blocks,
            )
        queries, keys, values = (part[0].transpose(0, 1).contiguous() for part in (queries, keys, values))
        return self._made[place.kind].run(queries, keys, values, self._cache.layer(place.store), scale)[None]


def _attend(
    module: Any,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    attention_mask: object,
    *,
    scaling: float,
    rows: _Rows,
    **how: object,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers. rows: from `ModuleText.scores`, through the language model's arguments."""
    return rows.attend(module.layer_idx, queries, keys, values, scaling), None


AttentionInterface.register(ATTENTION, _attend)


def is_whole(model: Any, kind: str, *, ropes: Collection[str]) -> bool:
    """Whether `model` is of the transformers class `kind` itself, with such rotary embeddings, on one device.

    kind: "family.Class"; the module of a family is not imported for a model of another one.
    """
    family, name = kind.split(".")
    if (type(model).__module__, type(model).__name__) != (f"transformers.models.{family}.modeling_{family}", name):
        return False
    given: dict[str, Any] = model.config.get_text_config().rope_parameters
    kinds = {given["rope_type"]} if "rope_type" in given else {rope["rope_type"] for rope in given.values() if rope}
    devices = {weight.device for weight in model.parameters()}
    return kinds <= set(ropes) and len(devices) == 1 and devices.pop().type != "meta"
