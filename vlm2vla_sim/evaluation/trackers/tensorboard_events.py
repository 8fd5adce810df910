"""The tracker "tensorboard": an event file in the folder `tensorboard` of the run, for `tensorboard --logdir runs`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from vlm2vla_sim.errors import missing_extra
from vlm2vla_sim.evaluation.trackers.base import TrackedRun

FOLDER = "tensorboard"


class TensorBoardEvents:
    """Writes scalars, and the settings as text; a run that is resumed adds a file to its folder."""

    def __init__(self) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.plugins.text.summary_v2 import text_pb
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as absent:
            raise missing_extra("The tracker 'tensorboard'", "tensorboard", "tensorboard") from absent
        self._event: Any = Event
        self._summary: Any = Summary
        self._text: Any = text_pb
        self._make_writer: Any = EventFileWriter
        self._writer: Any = None
        self._step = 0

    def open(self, run: TrackedRun) -> None:
        """See `Tracker.open`. The file is made at the first episode: a run that cannot start leaves no folder."""
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log`."""
        if self._writer is None:
            self._writer = self._make_writer(str((self._run.files or self._run.folder) / FOLDER))
            text = "```\n" + json.dumps(dict(self._run.settings), indent=2) + "\n```"
            self._write(self._text("settings", text), step=0)
        self._step = step
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(self._summary(value=scalars), step)
        self._writer.flush()

    def close(self, values: Mapping[str, float]) -> None:
        """See `Tracker.close`. The values are scalars at the last step."""
        if self._writer is not None:
            self.log(values, self._step)
            self._writer.close()

    def _write(self, summary: Any, step: int) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))
