"""Decodes answers token by token, many at once, with caches for images and prompt beginnings.

Three `generate` calls a cycle encode the same image three times and compute every comma that the grammar forces. Here
an image is encoded once, the attention cache of a prompt's beginning is reused for every later prompt with the same
beginning, and forced tokens go through the model together with the token before them. An answer joins those in progress
at any step and leaves when it ends, so that none waits for a longer one. The answers are the same as those of
`generate`; the tests compare them token by token.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from vlm2vla_sim.errors import DecodingError
from vlm2vla_sim.policies.models.cached_text import CachedText
from vlm2vla_sim.policies.models.hf_batch import Row, Slots, blocks_of, images_of
from vlm2vla_sim.policies.models.next_token import NextToken
from vlm2vla_sim.policies.models.row_attention import Piece, Step

KEPT_IMAGES = 64
"""Encoded images that are kept: two for each environment, for more environments than fit in a batch."""


@dataclass
class Counts:
    """What has been computed so far, for tests and benchmarks."""

    images: int = 0
    """Images that went through the vision tower."""
    read: int = 0
    """Prompt tokens that were computed."""
    reused: int = 0
    """Prompt tokens taken from an earlier prompt."""
    steps: int = 0
    """Passes through the language model."""
    forced: int = 0
    """Answer tokens that the grammar forced."""


@dataclass(frozen=True)
class Optimizations:
    """Which computations are avoided: all by default. Benchmarks turn them off one by one."""

    images: bool = True
    prefix: bool = True
    forced: bool = True


class Decoder:
    """Decodes answers with a `CachedText`."""

    def __init__(
        self,
        text: CachedText,
        encode: Callable[[np.ndarray], torch.Tensor],
        adapter: Callable[[bool], AbstractContextManager[None]],
        *,
        vision_adapter: bool,
        image_token: int,
        ends: Sequence[int],
        max_rows: int,
    ) -> None:
        """Set up the decoder; caches are empty.

        encode: one image, (H, W, 3) uint8 -> features as of `CachedText.encode`. adapter: a context in which the
        model's modules have the adapter enabled or disabled. vision_adapter: whether the adapter also changes the
        vision tower. max_rows: answers in progress at the same time; others wait.
        """
        self._text, self._encode, self._adapter, self._vision_adapter = text, encode, adapter, vision_adapter
        self._ends, self._max_rows = frozenset(ends), max_rows
        self._features: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._slots = Slots(text.new_cache())
        self._waiting: deque[Row] = deque()
        self._next = NextToken(image_token)
        self.counts = Counts()
        self.optimizations = Optimizations()

    def clear(self) -> None:
        """Release the caches, and end the answers in progress with an error."""
        for row in (*self._waiting, *self._slots.rows):
            row.error = row.error or DecodingError("The answer was given up, because a step failed.")
        self._features.clear()
        self._waiting.clear()
        self._slots = Slots(self._text.new_cache())

    def begin(self, row: Row) -> None:
        """Take in a question; `step` computes its answer."""
        row.pending = list(row.prompt.ids)
        row.positions = self._text.positions(row.prompt)
        self._waiting.append(row)

    @torch.inference_mode()
    def step(self) -> None:
        """Advance all answers by a token and those that the grammar forces; each is in its `Row` when it has ended."""
        self._end()  # those that were cancelled
        self._admit()
        rows = list(self._slots.rows)
        if not rows:
            return
        on = rows[0].adapter
        with contextlib.nullcontext() if self._text.mixes else self._adapter(on):
            self._read(rows, self._compute(rows))
        self._end()
        if not self.optimizations.images:
            self._features.clear()

    # The decoding loop.

    def _end(self) -> None:
        """Drop the rows of answers that have ended."""
        rows = self._slots.rows
        # From the last one on: one that ends is replaced by the last one.
        for index in reversed(range(len(rows))):
            if rows[index].done:
                self._slots.end(index, keep=rows[index].error is None)

    def _admit(self) -> None:
        """Begin with waiting questions, as many as fit; where a step has one adapter, only such as share it."""
        while self._waiting and len(self._slots.rows) < self._max_rows:
            row = self._waiting[0]
            if row.done:  # it was cancelled
                self._waiting.popleft()
                continue
            if not self._text.mixes and any(other.adapter is not row.adapter for other in self._slots.rows):
                return
            self._waiting.popleft()
            shared = self._slots.start(row, reuse=self.optimizations.prefix)
            del row.pending[:shared]
            self.counts.reused += shared
            self.counts.read += len(row.pending)
            try:
                self._take_forced(row)
            except DecodingError as error:
                row.error = error

    def _compute(self, rows: list[Row]) -> torch.Tensor:
        """Compute the pending tokens; returns the scores (B, V) float32 of the next token of each row."""
        pieces = []
        for index, row in enumerate(rows):
            start = self._slots.length(index)
            blocks = blocks_of(row.prompt.keys[start:], len(row.pending))
            positions = None if row.positions is None else row.positions(start, len(row.pending))
            pieces.append(Piece(index, start, row.pending, blocks, row.adapter, positions))
        self._slots.cache.ensure(len(rows), max(piece.start + len(piece.ids) for piece in pieces))
        step = Step(pieces, columns=self._slots.cache.columns)
        images = [
            self._encoded(name, rows[piece.row])
            for piece in step.pieces
            if piece.blocks is not None
            for name in images_of(rows[piece.row].prompt.keys[piece.start :])
        ]
        self.counts.steps += 1
        scores = self._text.scores(step, self._slots.cache, images)
        for piece in pieces:
            self._slots.wrote(piece.row, len(piece.ids))
        order = [piece.row for piece in step.pieces]
        return scores if order == sorted(order) else scores[torch.tensor(order).argsort().to(scores.device)]

    def _read(self, rows: list[Row], scores: torch.Tensor) -> None:
        """Choose the next token of every row that is not done."""
        places = [index for index, row in enumerate(rows) if not row.done]
        rows = [rows[index] for index in places]
        tokens = self._next.choose(rows, scores[torch.tensor(places, dtype=torch.long)].to(scores.device))
        for row, token in zip(rows, tokens, strict=True):
            try:
                self._take(row, token)
            except DecodingError as error:
                row.error = error

    def _take(self, row: Row, token: int) -> None:
        if row.done:
            return
        if row.state is not None:
            row.state.consume(token)
        if token in self._ends:
            row.finish = "stop"
            return
        row.answer.append(token)
        row.pending = [token]
        self._take_forced(row)
        row.check_end()

    def _take_forced(self, row: Row) -> None:
        """Append the tokens that the grammar forces; the row is done if they end the answer."""
        if row.state is None or not self.optimizations.forced:
            return
        row.check_end()
        while not row.done and (forced := row.state.forced()):
            for token in forced[: row.sampling.max_tokens - len(row.answer)]:
                row.state.consume(token)
                row.answer.append(token)
                row.pending.append(token)
                self.counts.forced += 1
            row.check_end()

    # Caches.

    def _encoded(self, name: str, row: Row) -> torch.Tensor:
        on = row.adapter and self._vision_adapter
        key = (name, on)
        if key not in self._features:
            with self._adapter(on) if self._vision_adapter else contextlib.nullcontext():
                self._features[key] = self._encode(row.images[name])
            self.counts.images += 1
            if len(self._features) > KEPT_IMAGES:
                self._features.popitem(last=False)
        self._features.move_to_end(key)
        return self._features[key]
