"""What is printed below the table of success rates: causes of failure, words against motion, verdicts, trackers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm2vla_sim.evaluation.outcome_shares import align, failure_rows, word_rows
from vlm2vla_sim.evaluation.rates import Mean, Rate
from vlm2vla_sim.evaluation.verdicts import VerdictTable, verdict_rows

SHARED_SCENES = (
    "Conditions share their scenes, so their episodes are not independent: intervals over several conditions are too "
    "narrow."
)
REPEATED_SCENES = (
    "Scenes were run more than once (with several seeds, or in several conditions of a suite), and such episodes count "
    "as independent: p is too small."
)
TESTED_BY_SCENE = (
    "Scenes were run more than once (with several seeds, or in several conditions of a suite): p is that of the exact "
    "sign-flip test over scenes, and intervals are those of the effective number of pairs."
)
Shares = tuple[Mapping[str, Rate], Mapping[str, Mean]]
"""`failures` and `words` of a summary."""


def more_tables(parts: Mapping[str, Shares], verdicts: Mapping[str, VerdictTable]) -> list[str]:
    """Lines, an empty one and a heading before each table. parts: by task; verdicts: of all of them."""
    tables = {
        "Why episodes failed, of the failures whose cause is known:": failure_rows(
            {name: failures for name, (failures, _) in parts.items()}
        ),
        "Decisions in which words and motion agree, mean of episodes:": word_rows(
            {name: words for name, (_, words) in parts.items()}
        ),
        "Subtasks that the verifier passed, by the simulator's truth:": verdict_rows(verdicts),
    }
    return [line for heading, rows in tables.items() if rows for line in ("", heading, *align(rows))]


def tracker_lines(trackers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each tracker that failed. trackers: as `RunSummary.trackers`."""
    return [
        f"The tracker {name!r} failed {found['failed']} times; it has {found['logged']} episodes of this session. "
        f"First: {found['error']}"
        for name, found in trackers.items()
        if found["failed"]
    ]
