"""The tracker "wandb": Weights & Biases. Its own environment variables hold, such as WANDB_PROJECT and WANDB_MODE."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from vlm2vla_sim.errors import missing_extra
from vlm2vla_sim.evaluation.trackers.base import PROJECT, TrackedRun


class WandbRun:
    """A run at wandb; a run that is resumed continues it."""

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as absent:
            raise missing_extra("The tracker 'wandb'", "wandb", "wandb") from absent
        self._wandb: Any = wandb
        self._run: Any = None

    def open(self, run: TrackedRun) -> None:
        """See `Tracker.open`."""
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=os.environ.get("WANDB_NAME") or run.folder.name,
            id=run.id,
            resume="allow",
            config={**run.settings, "folder": str(run.folder.absolute())},
            settings=self._wandb.Settings(console="off"),  # Standard error shows the progress.
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        self._run.log(dict(values), step=step)

    def close(self, values: Mapping[str, float]) -> None:
        """See `Tracker.close`. The values become the run's summary."""
        self._run.summary.update(dict(values))
        self._run.finish()
