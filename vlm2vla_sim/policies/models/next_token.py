"""Chooses the next token of many answers: each under its own grammar, greedily or by its own generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vlm2vla_sim.errors import DecodingError
from vlm2vla_sim.policies.base import Sampling
from vlm2vla_sim.policies.models.hf_batch import Row


class NextToken:
    """Chooses tokens from scores."""

    def __init__(self, image_token: int) -> None:
        """image_token: the token that stands for a part of an image, which no answer contains."""
        self._image_token = image_token

    def choose(self, rows: Sequence[Row], scores: torch.Tensor) -> list[int]:
        """A token for each row; -1 for one whose grammar fails, with the reason in `Row.error`.

        scores: (B, V) float32, on any device.
        """
        if not rows:
            return []
        allowed = torch.from_numpy(self._allowed(rows, scores.shape[1]))
        kept = scores.masked_fill(~allowed.to(scores.device), float("-inf"))
        tokens = kept.argmax(1).tolist()
        for index, row in enumerate(rows):
            if row.error is not None:
                tokens[index] = -1
            elif row.sampling.temperature:
                where = allowed[index].nonzero().squeeze(1)
                tokens[index] = int(where[_draw(scores[index].cpu()[where], row.sampling, row.chance)])
        return tokens

    def _allowed(self, rows: Sequence[Row], vocabulary: int) -> np.ndarray:
        """(B, V) bool."""
        words = np.full((len(rows), (vocabulary + 31) // 32), -1, np.int32)
        for row, bits in zip(rows, words, strict=True):
            if row.state is None:
                continue
            try:
                row.state.allow(bits)
            except DecodingError as error:
                row.error = error
        bits = np.unpackbits(words.view(np.uint8), axis=1, count=vocabulary, bitorder="little").view(np.bool_)
        for row, allowed in zip(rows, bits, strict=True):
            if row.state is None and self._image_token < vocabulary:
                allowed[self._image_token] = False
        return bits


def _draw(scores: torch.Tensor, sampling: Sampling, chance: torch.Generator) -> int:
    """The index of the sampled entry of `scores`, (K,) float32."""
    chances = (scores / sampling.temperature).softmax(0)
    if sampling.top_p < 1:
        sorted_chances, order = chances.sort(descending=True, stable=True)
        # The likeliest token is always kept: no probability precedes it.
        kept = sorted_chances.cumsum(0) - sorted_chances < sampling.top_p
        # Back in the order of tokens, on which the draw depends: a batch rounds scores in another way, which exchanges
        # tokens that are nearly as likely.
        chances = torch.zeros_like(chances).index_copy_(0, order, sorted_chances * kept)
    return int(torch.multinomial(chances, 1, generator=chance))
