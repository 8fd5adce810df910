"""What the folder of a run says about stopping early: the rule, the order of the episodes, the state at the stop."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.errors import RunFolderError

KEY = "stopping"
"""In `settings.json` of a run that may stop early: its `StopRecord`."""
METHOD = "betting confidence sequence, looked at after every round of one pair of each task (and condition)"
Cell = tuple[str, str]
"""Task, and the name of its condition; "" without a suite."""
Episode = tuple[str, str, int]
"""Task, condition and number: `EpisodeResult.key`."""


@dataclass(frozen=True)
class StopState:
    """Where a run that may stop early has ended."""

    verdict: str
    """"worse", "not worse", or "underpowered" where all episodes were run without a decision."""
    rounds: int
    """Rounds until then, from the first."""
    pairs: int
    """Scored pairs in them that count."""
    difference: float
    """Candidate minus baseline over those pairs, -1 .. 1; so are the ends of its anytime-valid interval."""
    low: float
    high: float


@dataclass(frozen=True)
class StopRecord:
    """The rule by which a run is stopped, and what has come of it."""

    baseline: str
    """As it was given."""
    baseline_digest: str
    """SHA-256 of the baseline's episodes and their success."""
    rule: str
    """The success that is compared."""
    margin: float
    confidence: float
    order: Mapping[Cell, tuple[int, ...]]
    """Task and condition -> the numbers of their episodes, in the order of the rounds."""
    state: StopState | None = None
    """None while the run goes on, or where it was interrupted."""

    @property
    def rounds(self) -> list[list[Episode]]:
        """The episodes of each round: one of every task, in every condition."""
        length = max(map(len, self.order.values()))
        return [[(*cell, numbers[k]) for cell, numbers in self.order.items()] for k in range(length)]

    def counted(self, done: Collection[Episode], scored: Collection[Episode]) -> list[Episode]:
        """The episodes that count, in order: those of complete rounds up to the stop, or to the first that is not done.

        done: episodes with a result. scored: those whose pair has an outcome on both sides; a round without one of
        them does not count, because it would weigh the tasks unequally.
        """
        counted: list[Episode] = []
        rounds = self.rounds
        for episodes in rounds if self.state is None else rounds[: self.state.rounds]:
            if any(episode not in done for episode in episodes):
                break
            if all(episode in scored for episode in episodes):
                counted += episodes
        return counted

    def difference(self, before: StopRecord) -> str:
        """How the record that was made before differs from this one, whatever has come of it; empty if it does not."""
        for name in ("rule", "margin", "confidence", "order"):
            if getattr(before, name) != getattr(self, name):
                return name if name == "order" else f"{name} {getattr(before, name)}, not {getattr(self, name)}"
        same = before.baseline_digest == self.baseline_digest
        return "" if same else f"the baseline {before.baseline} had other episodes or results"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {**dataclasses.asdict(self), "when": "decided", "method": METHOD}
        return {**values, "order": _order_to_json(self.order)}

    @classmethod
    def from_json(cls, values: Any, where: object) -> StopRecord:
        """The inverse of `to_json`; RunFolderError if `values`, from the file `where`, are no such record."""
        try:
            known = {field.name: values[field.name] for field in dataclasses.fields(cls)}
            order = _order_from_json(known["order"])
            state = known["state"] and StopState(**known["state"])
            if not order or len({len(numbers) for numbers in order.values()}) != 1:
                raise ValueError("the tasks have no or unequal numbers of episodes")
        except (TypeError, KeyError, ValueError, AttributeError) as problem:
            raise RunFolderError(
                f"{where} says that the run may stop early, but not by which rule or in which order ({problem!r}): its "
                "results can be compared with nothing."
            ) from problem
        return cls(**{**known, "order": order, "state": state})


def random_order(cells: Sequence[Cell], episodes: int, seed: int) -> dict[Cell, tuple[int, ...]]:
    """Each cell -> its episode numbers 0 .. episodes - 1, in an order drawn from the seed of the run and its names."""
    order = {}
    for cell in cells:
        words = [seed, *(zlib.crc32(name.encode()) for name in cell if name)]
        order[cell] = tuple(map(int, np.random.default_rng(words).permutation(episodes)))
    return order


def _order_to_json(order: Mapping[Cell, Sequence[int]]) -> dict[str, Any]:
    """Task -> numbers; with a suite, condition -> task -> numbers."""
    if not any(condition for _, condition in order):
        return {task: list(numbers) for (task, _), numbers in order.items()}
    nested: dict[str, Any] = {}
    for (task, condition), numbers in order.items():
        nested.setdefault(condition, {})[task] = list(numbers)
    return nested


def _order_from_json(values: Mapping[str, Any]) -> dict[Cell, tuple[int, ...]]:
    """The inverse of `_order_to_json`."""
    if all(isinstance(of, Mapping) for of in values.values()):
        nested = {condition: dict(of) for condition, of in values.items()}
    else:
        nested = {"": dict(values)}
    return {
        (str(task), str(condition)): tuple(map(int, numbers))
        for condition, of in nested.items()
        for task, numbers in of.items()
    }
