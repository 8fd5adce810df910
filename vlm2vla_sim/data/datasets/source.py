"""What every reader of recorded data yields: a trajectory, or the name of one that was passed over, and why.

A data set of sixty thousand episodes has broken ones. A reader that stops at the first cannot be used, and one that
drops them silently makes a smaller data set than it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vlm2vla_sim.data.episode import Trajectory


@dataclass(frozen=True)
class Skipped:
    """A trajectory that could not be used."""

    name: str
    reason: str


class Source(Protocol):
    """A data set. Trajectories are read one after the other; no more than one at a time is held."""

    kind: str
    """"lerobot", "bridge_raw" or "rlds"."""

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """Every episode, from the first; may be asked for again."""
        ...

    def __len__(self) -> int:
        """How many episodes there are, broken ones included."""
        ...
