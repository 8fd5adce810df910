"""What a command says while episodes run."""

from __future__ import annotations

import sys

from tqdm import tqdm

from vlm2vla_sim.types import EpisodeResult, Outcome


def tell_trouble(result: EpisodeResult) -> None:
    """Say at once, on standard error, what broke or was stopped."""
    if result.outcome in (Outcome.ERROR, Outcome.ABORTED):
        line = f"{result.task} episode {result.episode_id}: {result.outcome.value}: {result.reason}"
        tqdm.write(line, file=sys.stderr)
