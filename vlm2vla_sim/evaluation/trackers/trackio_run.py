"""The tracker "trackio": a local database that `trackio show` displays. Its environment variables hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vlm2vla_sim.errors import missing_extra
from vlm2vla_sim.evaluation.trackers.base import PROJECT, TrackedRun


class TrackioRun:
    """A run in trackio; a run that is resumed continues it."""

    def __init__(self) -> None:
        try:
            import trackio
        except ImportError as absent:
            raise missing_extra("The tracker 'trackio'", "trackio", "trackio") from absent
        self._trackio: Any = trackio
        self._step = 0

    def open(self, run: TrackedRun) -> None:
        """See `Tracker.open`. Runs are continued by name, which therefore holds the run's id."""
        self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
            name=f"{run.folder.name}-{run.id[:8]}",
            config={**run.settings, "folder": str(run.folder.absolute())},
            resume="allow",
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        self._step = step
        self._trackio.log(dict(values), step=step)

    def close(self, values: Mapping[str, float]) -> None:
        """See `Tracker.close`. The values are logged at the last step."""
        if values:
            self._trackio.log(dict(values), step=self._step)
        self._trackio.finish()
