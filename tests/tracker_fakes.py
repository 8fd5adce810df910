"""Trackers that remember, and trackers that fail; runs find them as "tracker_fakes:NAME"."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from vlm2vla_sim.evaluation.trackers.base import TrackedRun

CALLS: list[tuple] = []
"""What `Memory` was told, in order."""


class Memory:
    def open(self, run: TrackedRun) -> None:
        sys.stdout.write("a tracker that talks\n")
        CALLS.append(("open", run))

    def log(self, values: Mapping[str, float], step: int) -> None:
        CALLS.append(("log", step, dict(values)))

    def close(self, values: Mapping[str, float]) -> None:
        CALLS.append(("close", dict(values)))


class FailsOften(Memory):
    def log(self, values: Mapping[str, float], step: int) -> None:
        if step in (1, 3):
            raise ConnectionError(f"nobody listens at step {step}.")
        super().log(values, step)

    def close(self, values: Mapping[str, float]) -> None:
        raise SystemExit("it wanted to end the process")


class CannotOpen(Memory):
    def open(self, run: TrackedRun) -> None:
        raise RuntimeError("no key is configured")


class Mute:
    def open(self, run: TrackedRun) -> None: ...
