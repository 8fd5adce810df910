"""Rows that are not trained on, and the loss on them.

Rows of one episode, and rows that show the same picture, are on the same side: otherwise the loss on the rows held out
would measure how well pictures are remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError, missing_extra

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "torch", "train") from error


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows that are held out."""

    rows: Any
    """A `datasets.Dataset` as `rows.open_rows` returns it; so is `held_out`."""
    held_out: Any
    groups: int
    """Number of episodes (or sets of rows that share pictures) that are held out."""
    all_groups: int


def split_rows(rows: Any, share: float, seed: int) -> Split:
    """Hold out the rows of a `share` of the episodes, drawn with `seed`, of one at least.

    Rows without an episode belong together where they share a picture. SettingError if that leaves one group only.
    """
    plain = rows.with_format(None)
    groups = group_rows(plain["episode"], plain["images"])
    if len(groups) < 2:
        raise SettingError(
            "All rows belong to one episode or share pictures, so none can be held out. Leave out --held-out, or give "
            "more episodes."
        )
    count = min(len(groups) - 1, max(1, round(share * len(groups))))
    drawn = np.random.default_rng(seed).permutation(len(groups))[:count]
    out = sorted(row for group in drawn for row in groups[group])
    kept = sorted(set(range(len(rows))) - set(out))
    return Split(rows.select(kept), rows.select(out), count, len(groups))


def group_rows(episodes: Sequence[str | None], images: Sequence[Sequence[str]]) -> list[list[int]]:
    """The numbers of the rows that belong together, in the order of their first rows.

    >>> group_rows(["a", None, "a", None], [["1.png"], ["2.png"], ["3.png"], ["4.png", "2.png"]])
    [[0, 2], [1, 3]]
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    keys = [
        [*([("episode", episode)] if episode else []), *(("picture", name) for name in names)]
        for episode, names in zip(episodes, images, strict=True)
    ]
    for first, *others in keys:
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (first, *_) in enumerate(keys):
        groups.setdefault(root(first), []).append(number)
    return list(groups.values())


class LossByKind:
    """Computes the loss on fixed rows, by kind of row; every process takes part."""

    def __init__(self, trainer: Any, collate: Any, rows: Any) -> None:
        """collate: makes a batch of rows. rows: a `datasets.Dataset`, as `rows.open_rows` returns it."""
        self._trainer, self._collate, self._rows = trainer, collate, rows
        kinds = rows.with_format(None)["stage"]
        self._numbers = {kind: [n for n, one in enumerate(kinds) if one == kind] for kind in sorted(set(kinds))}

    def measure(self) -> tuple[float, dict[str, float]]:
        """Nats per token of the completions: over all rows, and over those of each kind."""
        trainer = self._trainer
        model = trainer.model_wrapped
        training = model.training
        model.eval()
        sums = torch.zeros((len(self._numbers), 2), dtype=torch.float64)
        try:
            for kind, numbers, counts in self._share():
                batch = self._collate([self._rows[number] for number in numbers])
                tokens = int((batch["labels"] != -100).sum())
                loss, _, _ = trainer.prediction_step(model, batch, prediction_loss_only=True)
                if counts:
                    sums[kind] += torch.tensor([float(loss) * tokens, tokens], dtype=torch.float64)
        finally:
            model.train(training)
        sums = trainer.accelerator.reduce(sums.to(trainer.args.device), "sum").cpu()
        by_kind = {name: float(sums[k, 0] / sums[k, 1]) for k, name in enumerate(self._numbers)}
        return float(sums[:, 0].sum() / sums[:, 1].sum()), by_kind

    def _share(self) -> Iterator[tuple[int, list[int], bool]]:
        """(kind, numbers of rows, whether they count) of the batches of this process.

        Each process gets as many batches, because a sharded model computes only together; the last may not count.
        """
        size, state = self._trainer.args.per_device_eval_batch_size, self._trainer.accelerator
        batches = [
            (kind, numbers[first : first + size])
            for kind, numbers in enumerate(self._numbers.values())
            for first in range(0, len(numbers), size)
        ]
        for first in range(0, len(batches), state.num_processes):
            mine = first + state.process_index
            yield (*batches[min(mine, len(batches) - 1)], mine < len(batches))
