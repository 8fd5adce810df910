"""Attention of a step in which each row has its own number of new tokens.

Rows with few new tokens attend in one call, padded to the longest of them; a row with many, such as a prompt, attends
by itself. A token's column in the cache is its position, so that rows of any length share a call and a sliding window
is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

SHORT = 8
"""Rows with at most so many new tokens attend together."""


@dataclass(eq=False)
class Piece:
    """The new tokens of one row."""

    row: int
    """In the cache."""
    start: int
    """The position of the first one."""
    ids: list[int]
    blocks: list[int] | None = None
    """For each token the number of the image that it is a part of, -1 for text; None if there is no image. The tokens
    of an image attend to one another."""
    adapter: bool = True
    positions: torch.Tensor | None = None
    """(3, tokens) where rotary positions are not the columns of the cache (M-RoPE: time, row, column)."""


class Step:
    """The new tokens of all rows of a step, in one sequence of N: first those of short rows."""

    def __init__(self, pieces: Sequence[Piece], *, columns: int) -> None:
        """columns: of a row of the cache."""
        self.short = [piece for piece in pieces if len(piece.ids) <= SHORT and piece.blocks is None]
        self.long = [piece for piece in pieces if len(piece.ids) > SHORT or piece.blocks is not None]
        self.pieces = [*self.short, *self.long]
        lengths = [len(piece.ids) for piece in self.pieces]
        self.ids = torch.tensor([token for piece in self.pieces for token in piece.ids])
        self.positions = torch.cat([torch.arange(p.start, p.start + len(p.ids)) for p in self.pieces])
        """(N,) the column of each token in its row of the cache."""
        given = [piece.positions for piece in self.pieces if piece.positions is not None]
        self.grid_positions = torch.cat(given, 1) if given else None
        """(3, N) `Piece.positions`; None where they are the columns."""
        rows = torch.tensor([piece.row for piece in self.pieces]).repeat_interleave(torch.tensor(lengths))
        self.places = rows * columns + self.positions
        """(N,) where each token is written, in a cache whose rows and columns are one axis."""
        self.last = torch.tensor(lengths).cumsum(0) - 1
        flags = {piece.adapter for piece in self.pieces}
        self.adapter: torch.Tensor | bool = flags.pop() if len(flags) == 1 else torch.cat(
            [torch.full((len(p.ids), 1), float(p.adapter)) for p in self.pieces]
        )  # fmt: skip


class Attention:
    """Attention of the tokens of a step, in the layers of one kind on one device."""

    def __init__(
        self, step: Step, *, window: int | None, dtype: torch.dtype, device: torch.device, blocks: bool = True
    ) -> None:
        """window: positions that a token sees, itself included; None for all before it.

        blocks: whether the tokens of an image attend to one another; False for a causal layer.
        """
        self._step, self._window, self._dtype, self._device = step, window, dtype, device
        self._blocks = blocks
        self.positions, self._places = step.positions.to(device), step.places.to(device)
        self._together = self._gather_short() if step.short else None
        self._alone = [self._one(piece) for piece in step.long]

    def run(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor],
        scale: float,
    ) -> torch.Tensor:  # fmt: skip
        """(N, heads, size). queries: the same. keys, values: (N, key-value heads, size), which are put into `cache`."""
        for stored, new in zip(cache, (keys, values), strict=True):
            stored.view(-1, *stored.shape[2:]).index_copy_(0, self._places, new)
        parts, begin = [], 0
        if self._together is not None:
            rows, width, where, count, seen, mask = self._together
            begin = count
            short = queries[:count]
            if where is not None:
                short = short.new_zeros((rows * width, *short.shape[1:])).index_copy_(0, where, short)
            seen_keys, seen_values = cache[0][:rows, :seen], cache[1][:rows, :seen]
            made = _attend(short.view(rows, width, *short.shape[1:]), seen_keys, seen_values, mask, scale)
            made = made.reshape(rows * width, *short.shape[1:])
            parts.append(made if where is None else made.index_select(0, where))
        for row, count, first, seen, mask in self._alone:
            some = queries[None, begin : begin + count]
            part = slice(row, row + 1)
            made = _attend(some, cache[0][part, first:seen], cache[1][part, first:seen], mask, scale)
            parts.append(made.reshape(count, *queries.shape[1:]))
            begin += count
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _gather_short(self) -> tuple[int, int, torch.Tensor | None, int, int, torch.Tensor | None]:
        """Rows and columns of the padded queries, the place of each token in them, and what they see."""
        short = self._step.short
        rows, width = max(piece.row for piece in short) + 1, max(len(piece.ids) for piece in short)
        seen = max(piece.start + len(piece.ids) for piece in short)
        count = sum(len(piece.ids) for piece in short)
        whole = count == rows * width and [piece.row for piece in short] == list(range(rows))
        where = None
        positions = torch.zeros(rows * width, dtype=torch.long)
        if whole:
            positions = self._step.positions[:count]
        else:
            where = torch.cat([torch.arange(len(p.ids)) + p.row * width for p in short])
            positions[where] = self._step.positions[:count]
        near = self._window is None or seen <= self._window
        mask = None
        if not (rows == 1 and width == 1 and near):
            mask = self._mask(positions.view(rows, width, 1), torch.arange(seen))[:, None].to(self._device)
        return rows, width, where if where is None else where.to(self._device), count, seen, mask

    def _one(self, piece: Piece) -> tuple[int, int, int, int, torch.Tensor]:
        """Row, number of tokens, first and last column that they see, and the mask (1, 1, tokens, columns)."""
        seen = piece.start + len(piece.ids)
        first = 0 if self._window is None else max(0, piece.start - self._window + 1)
        positions, columns = torch.arange(piece.start, seen)[:, None], torch.arange(first, seen)
        allowed = columns <= positions
        if piece.blocks is not None and self._blocks:
            block = torch.tensor(piece.blocks)
            allowed[:, piece.start - first :] |= (block[:, None] == block) & (block >= 0)
        if self._window is not None:
            allowed &= columns > positions - self._window
        bias = torch.zeros(allowed.shape, dtype=self._dtype).masked_fill_(~allowed, float("-inf"))
        return piece.row, len(piece.ids), first, seen, bias[None, None].to(self._device)

    def _mask(self, positions: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        allowed = columns <= positions
        if self._window is not None:
            allowed &= columns > positions - self._window
        return torch.zeros(allowed.shape, dtype=self._dtype).masked_fill_(~allowed, float("-inf"))


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """(B, T, heads, size). queries: the same; keys, values: (B, C, key-value heads, size); mask: (B, 1, T, C)."""
    batch, width, heads, size = queries.shape
    groups = keys.shape[2]
    shared = heads // groups
    if shared == 1:
        asked = queries.transpose(1, 2)
    else:
        # The heads that share keys are further queries of one head, so that keys need no copies.
        asked = queries.view(batch, width, groups, shared, size).permute(0, 2, 3, 1, 4)
        asked = asked.reshape(batch, groups, shared * width, size)
        mask = None if mask is None else mask.repeat(1, 1, shared, 1)
    made = functional.scaled_dot_product_attention(
        asked, keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask, scale=scale
    )
    if shared == 1:
        return made.transpose(1, 2)
    return made.view(batch, groups, shared, width, size).permute(0, 3, 1, 2, 4).reshape(batch, width, heads, size)
