"""What a tracker is, which there are, and how one is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlm2vla_sim.core.finder import find, making
from vlm2vla_sim.errors import ExtensionError

PROJECT = "vlm2vla_sim"
"""The project that runs are filed under, unless the tracker's own setting names another."""

TRACKERS = {
    "trackio": "vlm2vla_sim.evaluation.trackers.trackio_run:TrackioRun",
    "wandb": "vlm2vla_sim.evaluation.trackers.wandb_run:WandbRun",
    "tensorboard": "vlm2vla_sim.evaluation.trackers.tensorboard_events:TensorBoardEvents",
}
"""Name -> "module:class"."""


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is opened for."""

    folder: Path
    """The run folder; of a training, the folder of its result, which appears at the end."""
    id: str
    """16 hexadecimal digits: the same in every session of a run that is resumed."""
    settings: Mapping[str, Any]
    """Plain values, as in `settings.json`."""
    files: Path | None = None
    """Where a tracker that writes files puts them meanwhile, if not in `folder`; they are moved there at the end."""


class Tracker(Protocol):
    """A place that figures are sent to. It is made without arguments; it is called in one thread, in this order."""

    def open(self, run: TrackedRun) -> None:
        """The run starts, or is resumed. An error ends it before its first episode or step."""
        ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """An episode or a training step has ended. step: how many have, in all sessions.

        values: by name, which may hold slashes.
        """
        ...

    def close(self, values: Mapping[str, float]) -> None:
        """The run has ended; `values` are its final figures."""
        ...


def make_tracker(name: str) -> Tracker:
    """The tracker `name` of `TRACKERS`, or your own as "package.module:NAME".

    MissingExtraError without its package, ExtensionError where it lacks a method of `Tracker`.
    """
    factory = find("tracker", name, TRACKERS)
    with making("tracker", name):
        made: Any = factory() if callable(factory) else factory
    missing = [method for method in ("open", "log", "close") if not callable(getattr(made, method, None))]
    if missing:
        raise ExtensionError(
            f"The tracker {name!r} has no method {', '.join(missing)} (see `evaluation.trackers.base.Tracker`)."
        )
    return made
