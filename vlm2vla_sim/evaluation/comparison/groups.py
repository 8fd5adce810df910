"""The sets of episodes that a comparison looks at: each task, each factor of a suite, all together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlm2vla_sim.evaluation.comparison.cells import OVERALL
from vlm2vla_sim.types import EpisodeResult


@dataclass(frozen=True)
class Group:
    """The episodes whose fields have these values."""

    name: str
    fields: tuple[tuple[str, str], ...] = ()
    """Field of `EpisodeResult` and its value; empty for all episodes."""

    def holds(self, episode: EpisodeResult) -> bool:
        """Whether `episode` is in the group."""
        return all(getattr(episode, field) == value for field, value in self.fields)


def groups_of(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> list[Group]:
    """The tasks that both sides have, their factors if there are several, and last all together. Empty without a task.

    A single task or factor is all there is, and has no group of all beside it.
    """
    tasks = [Group(task, (("task", task),)) for task in _shared(first, second, "task")]
    factors = [Group(f"{name} (factor)", (("factor", name),)) for name in _shared(first, second, "factor") if name]
    found = [*tasks, *(factors if len(factors) > 1 else [])]
    if len(found) < 2:
        return found
    return [*found, Group(OVERALL)]


def level_groups(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> list[Group]:
    """Each level of each factor that both sides have, named "factor: level"; none outside a suite."""
    there = {(e.factor, e.level) for e in second}
    shared = [one for one in dict.fromkeys((e.factor, e.level) for e in first) if one in there and one[0]]
    return [Group(f"{factor}: {level}", (("factor", factor), ("level", level))) for factor, level in shared]


def _shared(first: Iterable[EpisodeResult], second: Iterable[EpisodeResult], field: str) -> list[str]:
    there = {getattr(episode, field) for episode in second}
    return [name for name in dict.fromkeys(getattr(episode, field) for episode in first) if name in there]
