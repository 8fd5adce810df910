"""The worker's side of an executor."""

from __future__ import annotations

import traceback

from vlm2vla_sim.core.portable import portable
from vlm2vla_sim.evaluation.executors.base import I, R, Runner


def answer_of(runner: Runner[I, R], item: I) -> R | Exception:
    """The result of `item`, or the error that it raised, which the other process raises."""
    try:
        return runner.run(item)
    except Exception as error:  # Any error is sent to the caller, which raises it.
        error.add_note(f"In a worker process:\n{''.join(traceback.format_exception(error))}")
        return portable(error)
