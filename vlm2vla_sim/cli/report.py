"""What a command prints on standard error while episodes run, and its exit status afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from vlm2vla_sim.cli.result import ALL_ERRORS, SOME_ERRORS
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.run_folder import RESULTS
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.types import EpisodeResult, Outcome

NOT_SCORED = (Outcome.ERROR, Outcome.ABORTED)


class EpisodeReporter:
    """Prints each episode as it ends; pass it as `on_result` to `run_suite` or `record`.

    On a terminal a progress bar counts the episodes, and only those that are not scored get a line. In a log file or a
    CI job there is no bar, and every episode gets a line.
    """

    def __init__(self, settings: RunSettings, folder: Path | None = None, *, shard: Shard | None = None) -> None:
        """folder: the run folder that is resumed, whose episodes count as done; None for a new run.

        shard: the part of the run, where it is not the whole.
        """
        episodes = range(len(settings.plan))
        self._total = len(episodes if shard is None else shard.of(episodes))
        earlier = folder / RESULTS if folder is not None else None
        self._done = len(read_results(earlier)) if earlier is not None and earlier.is_file() else 0

    def __call__(self, result: EpisodeResult) -> None:
        """Print a line for `result`."""
        self._done += 1
        if result.outcome in NOT_SCORED or not sys.stderr.isatty():
            reason = f": {result.reason}" if result.reason else ""
            where = f"{result.condition} {result.task}".strip()
            line = (
                f"EPISODE {self._done}/{self._total} {where} ep {result.episode_id}: "
                f"{result.outcome.value}, {result.seconds:.1f} s{reason}"
            )
            tqdm.write(line, file=sys.stderr)


def report_errors(results: Iterable[EpisodeResult]) -> int:
    """Print how many episodes ended in an error, and the first reason; return the exit status of the run."""
    found = list(results)
    errors = [result for result in found if result.outcome is Outcome.ERROR]
    if not errors:
        return 0
    first = errors[0]
    sys.stderr.write(
        f"{len(errors)} of {len(found)} episodes ended in an error and are not scored. "
        f"First: {f'{first.condition} {first.task}'.strip()} episode {first.episode_id}: {first.reason}\n"
    )
    ended = any(result.outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN) for result in found)
    return SOME_ERRORS if ended else ALL_ERRORS
