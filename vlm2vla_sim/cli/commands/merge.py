"""`vlm2vla merge`: one run of the shards that a job array has made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.report import report_errors
from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.evaluation.merge import merge_runs
from vlm2vla_sim.evaluation.results import format_table


def merge(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    partial: bool = False,
    json: bool = False,
) -> CommandResult:
    """Merge runs of `vlm2vla evaluate --shard I/N` into one run folder, and print its success rates.

    Results, videos and logs are copied. Runs with other settings, versions or weights are refused, and so is an episode
    that is in two of them. The exit status is that of `vlm2vla evaluate`.

    Args:
        runs: The run folders.
        out: Folder to write to, new or empty.
        partial: Merge although episodes are missing. `vlm2vla evaluate` with the same settings and --resume runs them
            in --out.
        json: Print the summary as one line of JSON instead of the table.
    """
    made = merge_runs(runs, out, partial=partial)
    missing = f" ({made.missing} episodes are missing)" if made.missing else ""
    text = f"{format_table(made.summary)}\n\nMerged   {made.folder}: {len(made.results)} episodes{missing}"
    values = {"folder": str(made.folder), "missing": made.missing, **made.summary.to_json()}
    return CommandResult(text, values, json, code=report_errors(made.results))
