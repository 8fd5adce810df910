"""What an executor runs, and what an executor is."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vlm2vla_sim.policies import TextModelFactory

I = TypeVar("I", bound=Hashable)  # noqa: E741
R = TypeVar("R")
I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Runner(Protocol[I_contra, R_co]):
    """Runs items one after the other, in one process."""

    def run(self, item: I_contra, /) -> R_co:
        """The result of `item`; an error that every item would meet is raised."""
        ...

    def close(self) -> None:
        """Release what is kept from one item to the next."""
        ...


class Job(Protocol[I_contra, R]):
    """What is to be run. It is sent to other processes, so it can be pickled; so can items and results."""

    @property
    def folder(self) -> Path:
        """Where runners write files, besides what they return."""
        ...

    @property
    def fresh_for_group(self) -> bool:
        """Whether a process may serve items of one group only."""
        ...

    @property
    def asks_models(self) -> bool:
        """Whether its runners ask text models."""
        ...

    def open(self, models: TextModelFactory | None, /) -> Runner[I_contra, R]:
        """A runner. models: makes text models that another process holds; None: the runner loads its own."""
        ...

    def within(self, folder: Path, /) -> Job[I_contra, R]:
        """The same job, with its files in another folder."""
        ...

    def group(self, item: I_contra, /) -> str:
        """A process is given items of one group as long as there are any: another group costs a new start."""
        ...

    def broken(self, item: I_contra, reason: str, /) -> R:
        """The result of an item whose process has died or hung `ATTEMPTS` times; it may raise an error instead.

        reason: a verb phrase: "broke off 2 times. ...".
        """
        ...

    def annotated(self, result: R, note: str, /) -> R:
        """`result`, with a note about an earlier attempt."""
        ...


@dataclass(frozen=True)
class Limits:
    """How many items are run at the same time, and for how long."""

    workers: int = 1
    """Items at the same time."""
    timeout: float = 3600.0
    """[s] after which the process of an item is stopped. An item in the calling process has no limit."""
    isolated: bool = False
    """Whether even a single worker is a process of its own."""
    ahead: int | None = None
    """How many items, the first one that has not ended included, are taken from their source: the bound of a stream
    that does not fit into memory. None takes all at once, which a job with several groups needs."""


class Executor(Protocol):
    """Runs the items of a job. Its results do not depend on which executor it is."""

    isolates: bool
    """Whether every item is run in another process, whatever the limits."""

    def run(self, job: Job[I, R], items: Iterable[I], limits: Limits) -> Generator[R, Any, None]:
        """The results, as items end. Each item has one; closing the generator ends what is running.

        items: each another one, read in this thread. An item whose process dies or hangs is run once more. An error
        that every item would meet is raised.
        """
        ...

    def close(self) -> None:
        """Release what is kept from one job to the next."""
        ...
