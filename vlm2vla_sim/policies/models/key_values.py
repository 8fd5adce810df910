"""The attention cache of many rows, allocated once: a token is written to its place, and nothing is concatenated."""

from __future__ import annotations

from collections.abc import Sequence

import torch

COLUMNS = 128
"""The cache grows by at least this many columns."""


class KeyValues:
    """Keys and values of each layer, for `rows` x `columns` tokens; a token's column is its position in its row."""

    def __init__(self, layers: Sequence[tuple[int, int, torch.dtype, torch.device]]) -> None:
        """layers: for each the number of key-value heads, their size, dtype and device."""
        self.rows = self.columns = 0
        self._store = [
            torch.zeros((2, 0, 0, heads, size), dtype=dtype, device=device) for heads, size, dtype, device in layers
        ]

    def ensure(self, rows: int, columns: int) -> None:
        """Make room; what is stored stays."""
        if rows <= self.rows and columns <= self.columns:
            return
        rows = max(rows, self.rows)
        if columns > self.columns:
            columns = -(-max(columns, self.columns + self.columns // 4) // COLUMNS) * COLUMNS
        else:
            columns = self.columns
        for number, old in enumerate(self._store):
            new = old.new_zeros((2, rows, columns, *old.shape[3:]))
            new[:, : self.rows, : self.columns] = old[:, : self.rows, : self.columns]
            self._store[number] = new
        self.rows, self.columns = rows, columns

    def layer(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, each (rows, columns, heads, size)."""
        keys, values = self._store[number]
        return keys, values

    def copy(self, source: int, target: int, columns: int) -> None:
        """Copy the first `columns` tokens of one row over those of another."""
        for store in self._store:
            store[:, target, :columns] = store[:, source, :columns]

    def swap(self, one: int, other: int, columns: int) -> None:
        """Exchange the first `columns` tokens of two rows."""
        for store in self._store:
            kept = store[:, one, :columns].clone()
            store[:, one, :columns] = store[:, other, :columns]
            store[:, other, :columns] = kept

    def clean(self, row: int) -> None:
        """Zero a row: a value that is not finite would reach other rows, whose masks multiply it with zero."""
        for store in self._store:
            store[:, row] = 0
