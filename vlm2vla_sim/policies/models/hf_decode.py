"""Writes answers token by token, computing nothing twice: images, shared prompt beginnings and forced tokens.

Three plain `generate` calls a cycle read the same picture three times, and compute every comma that the grammar forces.
Here a picture goes through the vision tower once, the attention cache of a prompt's beginning serves every later prompt
that begins alike, and forced tokens are read in the same step as the token before them. The answers stay the same; the
tests hold this file to it, token by token.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from vlm2vla_sim.policies.base import Sampling
from vlm2vla_sim.policies.models.hf_grammar import GrammarState
from vlm2vla_sim.policies.models.hf_prompt import Prompt

KEPT_IMAGES = 64
"""Encoded images that are remembered: the one before and the one after, for more environments than fit in a batch."""
KEPT_PREFIXES = 2
"""Attention caches that are remembered: the last two stages."""


@dataclass
class Counts:
    """What has been computed so far, for tests and benchmarks."""

    images: int = 0
    """Pictures that went through the vision tower."""
    read: int = 0
    """Prompt tokens that were computed."""
    reused: int = 0
    """Prompt tokens taken from an earlier prompt."""
    steps: int = 0
    """Passes through the language model."""
    forced: int = 0
    """Answer tokens that the grammar left no choice about."""


@dataclass(frozen=True)
class Tricks:
    """What may be skipped; all of it by default. For measuring what each is worth."""

    images: bool = True
    prefix: bool = True
    forced: bool = True


@dataclass(eq=False)
class Row:
    """One answer under way."""

    prompt: Prompt
    sampling: Sampling
    state: GrammarState | None
    chance: torch.Generator
    pending: list[int] = field(default_factory=list)
    """Tokens that the model has not read yet."""
    answer: list[int] = field(default_factory=list)
    done: bool = False


@dataclass(frozen=True, eq=False)
class _Beginning:
    """A prompt that has been read: where its tokens lie in an attention cache."""

    keys: tuple[Hashable, ...]
    cache: DynamicCache
    row: int
    columns: torch.Tensor
    """(P,) int64"""


@dataclass(eq=False)
class _Batch:
    """Rows that are read together. Columns that hold nothing for a row are masked; `live` says which hold something."""

    rows: list[Row]
    cache: DynamicCache
    live: torch.Tensor
    """(B, C) int64, 1 where the row has a token."""
    types: torch.Tensor
    """(B, C) int64, 1 where that token is part of an image."""


class Decoder:
    """For models whose forward takes Gemma 3's arguments."""

    def __init__(
        self,
        forward: Callable[..., Any],
        encode: Callable[[torch.Tensor], torch.Tensor],
        *,
        image_token: int,
        pad: int,
        ends: Sequence[int],
        window: int,
        device: torch.device,
    ) -> None:
        """Make it from a model's parts.

        forward: the model itself. encode: pixels of one image -> its (1, tokens, hidden) features. window: columns over
        which a sliding attention layer looks back.
        """
        self._forward_model, self._encode = forward, encode
        self._image_token, self._pad, self._ends = image_token, pad, frozenset(ends)
        self._window, self._device = window, device
        self._features: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._kept: dict[bool, deque[list[_Beginning]]] = {on: deque(maxlen=KEPT_PREFIXES) for on in (False, True)}
        self.counts = Counts()
        self.tricks = Tricks()

    def forget(self) -> None:
        """Drop everything that was remembered."""
        self._features.clear()
        for kept in self._kept.values():
            kept.clear()

    @torch.inference_mode()
    def generate(
        self, rows: list[Row], pixels: Callable[[str], torch.Tensor], *, adapter: bool, vision_adapter: bool
    ) -> None:
        """Write every row's answer.

        pixels: an image by its digest. adapter: whether the adapter is on; what was read with it is of no use without.
        vision_adapter: whether the adapter also changes how images are encoded.
        """
        self._image = lambda name: self._encoded((name, adapter and vision_adapter), lambda: pixels(name))
        batch, shared = self._begin(rows, self._kept[adapter])
        for row in rows:
            row.pending = list(row.prompt.ids[shared:])
            self._take_forced(row)
        self.counts.reused += shared * len(rows)
        self.counts.read += sum(len(row.prompt.ids) - shared for row in rows)
        self._read(batch, self._step(batch))
        if self.tricks.prefix:
            self._kept[adapter].append([self._beginning(batch, index) for index in range(len(rows))])
        self._run(batch)
        if not self.tricks.images:
            self._features.clear()

    # The loop.

    def _run(self, batch: _Batch) -> None:
        while not all(row.done for row in batch.rows):
            width = max(len(row.pending) for row in batch.rows)
            if len(batch.rows) > 1 and batch.live.shape[1] + width > self._window:
                # Gaps between a row's tokens would push what it may still look back on out of a sliding window.
                for index, row in enumerate(batch.rows):
                    if not row.done:
                        self._run(self._alone(batch, index))
                return
            self._read(batch, self._step(batch))

    def _step(self, batch: _Batch) -> torch.Tensor:
        """Read what is pending; the scores (B, V) float32 of what comes next. Rows are padded on the left."""
        width = max(len(row.pending) for row in batch.rows)
        ids = torch.full((len(batch.rows), width), self._pad)
        live = torch.zeros_like(ids)
        for index, row in enumerate(batch.rows):
            if row.pending:
                ids[index, width - len(row.pending) :] = torch.tensor(row.pending)
                live[index, width - len(row.pending) :] = 1
        # Only in a prompt does the token stand for an image; an answer cannot contain it.
        types = (ids == self._image_token).long()
        batch.live = torch.cat([batch.live, live], 1)
        batch.types = torch.cat([batch.types, types], 1)
        images = {}
        if types.any():
            names = [name for row in batch.rows for name in _images_in(row.prompt, row.pending, self._image_token)]
            features = torch.cat([self._image(name) for name in names])
            images["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=features)}
            # The mask goes by column, so the types are needed from the first one on.
            images["token_type_ids"] = batch.types.to(self._device)
        positions = (batch.live.cumsum(1) - 1).clamp(min=0)[:, -width:]
        self.counts.steps += 1
        scores = self._forward_model(
            input_ids=ids.to(self._device),
            attention_mask=batch.live.to(self._device),
            position_ids=positions.to(self._device),
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
            **images,
        ).logits[:, -1]
        for row in batch.rows:
            row.pending = []
        return scores.float()

    def _read(self, batch: _Batch, scores: torch.Tensor) -> None:
        """Let every row that is under way choose its next token."""
        for row, score in zip(batch.rows, scores, strict=True):
            if row.done:
                continue
            token = self._choose(row, score)
            if row.state is not None:
                row.state.consume(token)
            if token in self._ends:
                row.done = True
                continue
            row.answer.append(token)
            row.pending = [token]
            self._take_forced(row)
            row.done = row.done or len(row.answer) >= row.sampling.max_tokens

    def _choose(self, row: Row, scores: torch.Tensor) -> int:
        if row.state is not None:
            allowed = row.state.allowed()
            return int(allowed[_draw(scores[allowed.to(scores.device)], row.sampling, row.chance)])
        scores = scores.clone()
        scores[self._image_token] = float("-inf")
        return _draw(scores, row.sampling, row.chance)

    def _take_forced(self, row: Row) -> None:
        """Append what the grammar forces, and note whether that ends the answer."""
        if row.state is None or not self.tricks.forced:
            return
        while not row.state.is_done and (forced := row.state.forced()):
            for token in forced[: row.sampling.max_tokens - len(row.answer)]:
                row.state.consume(token)
                row.answer.append(token)
                row.pending.append(token)
                self.counts.forced += 1
            if len(row.answer) >= row.sampling.max_tokens:
                row.done = True
                return
        row.done = row.state.is_done

    # What is remembered.

    def _encoded(self, name: Hashable, pixels: Callable[[], torch.Tensor]) -> torch.Tensor:
        if name not in self._features:
            self._features[name] = self._encode(pixels())
            self.counts.images += 1
            if len(self._features) > KEPT_IMAGES:
                self._features.popitem(last=False)
        self._features.move_to_end(name)
        return self._features[name]

    def _begin(self, rows: list[Row], kept: deque[list[_Beginning]]) -> tuple[_Batch, int]:
        """A batch whose cache already holds the longest beginning that every row shares with an earlier prompt."""
        known = [beginning for batch in reversed(kept) for beginning in batch]
        sources = [max(known, key=lambda k, row=row: _shared(k.keys, row.prompt.keys), default=None) for row in rows]
        shared = 0
        if self.tricks.prefix and all(sources):
            shared = min(
                min(_shared(source.keys, row.prompt.keys), len(row.prompt.ids) - 1)
                for source, row in zip(sources, rows, strict=True)
                if source is not None
            )
        while shared and any(_is_inside_image(row.prompt.keys[shared]) for row in rows):
            shared -= 1
        if len(rows) > 1 and max(len(row.prompt.ids) for row in rows) >= self._window:
            shared = 0  # The gap behind the shared part would shorten a sliding window.
        if not shared:
            empty = torch.zeros((len(rows), 0), dtype=torch.long)
            return _Batch(rows, DynamicCache(), empty, empty.clone()), 0
        parts = [(source, source.columns[:shared]) for source in sources if source is not None]
        cache = _gather([(part.cache, part.row, columns) for part, columns in parts])
        types = torch.tensor([[int(not isinstance(key, int)) for key in row.prompt.keys[:shared]] for row in rows])
        return _Batch(rows, cache, torch.ones_like(types), types), shared

    def _beginning(self, batch: _Batch, index: int) -> _Beginning:
        keys = batch.rows[index].prompt.keys
        return _Beginning(keys, batch.cache, index, batch.live[index].nonzero().squeeze(1)[: len(keys)])

    def _alone(self, batch: _Batch, index: int) -> _Batch:
        """One row of `batch` by itself, without gaps."""
        columns = batch.live[index].nonzero().squeeze(1)
        cache = _gather([(batch.cache, index, columns)])
        live, types = batch.live[index : index + 1, columns], batch.types[index : index + 1, columns]
        return _Batch([batch.rows[index]], cache, live, types)


def _gather(parts: Sequence[tuple[DynamicCache, int, torch.Tensor]]) -> DynamicCache:
    """A cache with one row for each part: that row of the part's cache, those columns only."""
    gathered = DynamicCache()
    for number in range(len(parts[0][0].layers)):
        keys, values = [], []
        for cache, row, columns in parts:
            layer: Any = cache.layers[number]
            where = columns.to(layer.keys.device)
            keys.append(layer.keys[row : row + 1].index_select(2, where))
            values.append(layer.values[row : row + 1].index_select(2, where))
        gathered.update(torch.cat(keys), torch.cat(values), number)
    return gathered


def _shared(left: tuple[Hashable, ...], right: tuple[Hashable, ...]) -> int:
    """How many keys from the first on are equal."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


def _is_inside_image(key: Hashable) -> bool:
    """Whether a cut before this key would go through an image, whose parts look at one another."""
    return isinstance(key, tuple) and key[1] > 0


def _images_in(prompt: Prompt, pending: list[int], image_token: int) -> tuple[str, ...]:
    """The images, by digest, that the pending part of a prompt holds; they are its last ones."""
    if not prompt.images or image_token not in pending:
        return ()
    per_image = prompt.ids.count(image_token) // len(prompt.images)
    return prompt.images[len(prompt.images) - pending.count(image_token) // per_image :]


def _draw(scores: torch.Tensor, sampling: Sampling, chance: torch.Generator) -> int:
    """The index of the chosen one of `scores`, (K,) float32."""
    if sampling.temperature == 0:
        return int(scores.argmax())
    chances = (scores.cpu() / sampling.temperature).softmax(0)
    if sampling.top_p < 1:
        sorted_chances, order = chances.sort(descending=True, stable=True)
        # The likeliest is always kept: nothing comes before it.
        kept = sorted_chances.cumsum(0) - sorted_chances < sampling.top_p
        return int(order[torch.multinomial(sorted_chances * kept, 1, generator=chance)])
    return int(torch.multinomial(chances, 1, generator=chance))
