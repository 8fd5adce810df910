"""The trackers of a run, an evaluation or a training. One that fails is counted and said, and the run goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.trackers.base import TrackedRun, Tracker, make_tracker


@dataclass
class _Sink:
    """A tracker, and how often it was called."""

    tracker: Tracker
    opened: bool = False
    logged: int = 0
    failed: int = 0
    error: str = ""


class Tracking:
    """All trackers of one run."""

    def __init__(self, names: Sequence[str]) -> None:
        """Make the trackers `names`, as `make_tracker` takes them; an error for one that cannot be made."""
        if len(set(names)) != len(names):
            raise SettingError(f"A tracker was given twice: {', '.join(names)}. Leave one out.")
        self._sinks = {name: _Sink(make_tracker(name)) for name in names}

    def open(self, run: Callable[[], TrackedRun]) -> None:
        """The run starts; SettingError where a tracker cannot be opened, after those before it were closed.

        run: makes what the trackers are told; not called without a tracker.
        """
        told = run() if self._sinks else None
        for name, sink in self._sinks.items():
            try:
                assert told is not None
                with _stdout_to_stderr():
                    sink.tracker.open(told)
            except (Exception, SystemExit) as error:  # A tracker is other people's code, which may raise anything.
                self.close({})
                raise SettingError(
                    f"The tracker {name!r} could not be opened, and nothing was run: {_describe(error)}. Mend that, or "
                    "leave the tracker out."
                ) from error
            sink.opened = True

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Something ended, an episode or a training step. step: how many have, in all sessions."""
        for name, sink in self._sinks.items():
            self._call(name, sink, lambda sink=sink: sink.tracker.log(values, step), counts=True)

    def close(self, values: Mapping[str, float]) -> None:
        """The run has ended, with the final `values`. May be called twice."""
        for name, sink in self._sinks.items():
            if sink.opened:
                sink.opened = False
                self._call(name, sink, lambda sink=sink: sink.tracker.close(values))

    def report(self) -> dict[str, dict[str, Any]]:
        """For each tracker: how many episodes or steps of this session it was told of, failed calls, first error."""
        return {
            name: {"logged": sink.logged, "failed": sink.failed, "error": sink.error}
            for name, sink in self._sinks.items()
        }

    def _call(self, name: str, sink: _Sink, call: Callable[[], None], *, counts: bool = False) -> None:
        try:
            with _stdout_to_stderr():
                call()
        except (Exception, SystemExit) as error:  # As above.
            sink.failed += 1
            if not sink.error:
                sink.error = _describe(error)
                to_stderr(f"The tracker {name!r} failed, and the run goes on: {sink.error}\n")
        else:
            sink.logged += counts


def _stdout_to_stderr() -> contextlib.AbstractContextManager[object]:
    """What a tracker prints is no part of a command's output, which may be JSON."""
    return contextlib.redirect_stdout(sys.stderr)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(".")
