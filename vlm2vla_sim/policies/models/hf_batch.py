"""Answers that are decoded together, and the reuse of an earlier prompt's attention cache for their beginning."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from vlm2vla_sim.policies.base import Sampling
from vlm2vla_sim.policies.models.hf_grammar import GrammarState
from vlm2vla_sim.policies.models.hf_prompt import Prompt


class Written(NamedTuple):
    """The tokens of an answer, without the end token, and `Stage.finish`."""

    tokens: list[int]
    finish: str


@dataclass(eq=False)
class Row:
    """One answer in progress."""

    prompt: Prompt
    sampling: Sampling
    state: GrammarState | None
    chance: torch.Generator
    pending: list[int] = field(default_factory=list)
    """Tokens that have not been through the model yet."""
    answer: list[int] = field(default_factory=list)
    finish: str = ""
    """`Stage.finish`; empty while the answer is in progress."""

    @property
    def done(self) -> bool:
        """Whether the answer has ended."""
        return bool(self.finish)

    def check_end(self) -> None:
        """End the answer if its grammar is complete, or if no token is left: a complete answer is not cut off."""
        if self.state is not None and self.state.is_done:
            self.finish = "stop"
        elif len(self.answer) >= self.sampling.max_tokens:
            self.finish = "length"


@dataclass(frozen=True, eq=False)
class CachedPrompt:
    """A prompt that has been through the model: where its tokens are in an attention cache."""

    keys: tuple[Hashable, ...]
    cache: DynamicCache
    row: int
    columns: torch.Tensor
    """(P,) int64"""


@dataclass(eq=False)
class Batch:
    """Answers that are decoded together. Every row has the same columns; those without a token are masked."""

    rows: list[Row]
    cache: DynamicCache
    live: torch.Tensor
    """(B, C) int64, 1 where the row has a token."""
    types: torch.Tensor
    """(B, C) int64, 1 where that token is part of an image."""

    def prompt_of(self, index: int) -> CachedPrompt:
        """Where the prompt of one row is in the attention cache."""
        keys = self.rows[index].prompt.keys
        return CachedPrompt(keys, self.cache, index, self.live[index].nonzero().squeeze(1)[: len(keys)])

    def alone(self, index: int) -> Batch:
        """One row by itself, without masked columns."""
        columns = self.live[index].nonzero().squeeze(1)
        cache = _gather([(self.cache, index, columns)])
        live, types = self.live[index : index + 1, columns], self.types[index : index + 1, columns]
        return Batch([self.rows[index]], cache, live, types)


def start_batch(rows: list[Row], known: Iterable[CachedPrompt], *, window: int) -> tuple[Batch, int]:
    """A batch whose cache already holds the longest beginning that every row shares with a known prompt.

    Returns the batch and the length of that beginning, in tokens. window: columns that a sliding attention layer sees.
    """
    known = list(known)
    sources = [max(known, key=lambda k, row=row: _shared(k.keys, row.prompt.keys), default=None) for row in rows]
    shared = 0
    if all(sources):
        shared = min(
            min(_shared(source.keys, row.prompt.keys), len(row.prompt.ids) - 1)
            for source, row in zip(sources, rows, strict=True)
            if source is not None
        )
    while shared and any(_is_inside_image(row.prompt.keys[shared]) for row in rows):
        shared -= 1
    if len(rows) > 1 and max(len(row.prompt.ids) for row in rows) >= window:
        shared = 0  # The masked columns behind the shared beginning would shorten a sliding window.
    if not shared:
        empty = torch.zeros((len(rows), 0), dtype=torch.long)
        return Batch(rows, DynamicCache(), empty, empty.clone()), 0
    parts = [(source, source.columns[:shared]) for source in sources if source is not None]
    cache = _gather([(part.cache, part.row, columns) for part, columns in parts])
    types = torch.tensor([[int(not isinstance(key, int)) for key in row.prompt.keys[:shared]] for row in rows])
    return Batch(rows, cache, torch.ones_like(types), types), shared


def _gather(parts: Sequence[tuple[DynamicCache, int, torch.Tensor]]) -> DynamicCache:
    """A cache with one row for each part: the part's row of its cache, with the part's columns only."""
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
    """The length of the common beginning."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


def _is_inside_image(key: Hashable) -> bool:
    """Whether a cut before this key would split an image, whose tokens attend to one another."""
    return isinstance(key, tuple) and key[1] > 0
