"""The interface of every data set reader: a stream of trajectories, with a reason for each one that was skipped.

Large data sets contain broken episodes. A reader that raises at the first one is unusable, and one that drops them
silently returns fewer episodes than it reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vlm2vla_sim.data.episode import Trajectory


@dataclass(frozen=True)
class Skipped:
    """A trajectory that cannot be used."""

    name: str
    reason: str


class TrajectoryDataset(Protocol):
    """A data set. Trajectories are read in order; at most one is held in memory at a time."""

    kind: str
    """"lerobot", "bridge_raw" or "rlds"."""

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """Yield every episode from the first; may be called again."""
        ...

    def __len__(self) -> int:
        """The number of episodes, broken ones included."""
        ...
