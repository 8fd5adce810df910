"""`vlm2vla report`: one HTML page about one or several runs, for people who look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.errors import RunFolderError


def report(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")],
    /,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("report.html"),
    embed_videos: Annotated[Literal["auto", "always", "never"], tyro.conf.arg(metavar="auto|always|never")] = "auto",
    embed_limit: Annotated[float, tyro.conf.arg(metavar="MB")] = 40.0,
    rule: str = "success_at_end",
    margin: float = 15.0,
    allow: tuple[str, ...] = (),
    json: bool = False,
) -> CommandResult:
    """Write one HTML page about runs: rates, causes of failures, every episode with its video and words.

    The page is a single file that needs no server and no network. Of two runs or more, every further one is compared
    with the first, and the episodes in which only one succeeded are shown side by side. A run that is still going on
    may be shown too; what a report cannot show, it says.

    A run is a folder of `vlm2vla evaluate`, or of a session; FOLDER#POLICY names one of several policies in it, and
    A,B merges the runs of one policy with several seeds.

    Args:
        runs: The runs, the baseline first.
        out: The HTML file to write; an existing file is replaced.
        embed_videos: Put videos into the page: as many as --embed-limit allows, failures first (auto), all, or none.
            The others are read from the run folders, to which the page has to keep its place.
        embed_limit: Megabytes of videos in the page, for auto.
        rule: Which success is compared: success_at_end (SIMPLER's), success_once, success_released or success_settled.
        margin: The largest drop of the overall rate, in points, that counts as not worse.
        allow: Conditions that may differ in the comparison, such as backend, or versions for all versions.
        json: Print one line of JSON.
    """
    from vlm2vla_sim.evaluation.report.page import write_report

    check_path(out, RunFolderError, flag="--out FILE", room=0, beside=".new")
    with tqdm(unit="episode", disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = write_report(
            runs,
            out,
            embed=embed_videos,
            limit_mb=embed_limit,
            rule=rule,
            margin=margin / 100,
            allow=allow,
            progress=progress,
        )
    videos = f"{made.embedded} videos in it, {made.linked} linked" if made.embedded or made.linked else "no videos"
    text = f"Report   {out}: {made.episodes} episodes, {videos}. Open it in a browser."
    values = {
        "report": str(out),
        "runs": made.runs,
        "episodes": made.episodes,
        "embedded": made.embedded,
        "linked": made.linked,
        "missing": list(made.missing),
    }
    return CommandResult("\n".join([text, *(f"Missing  {one}" for one in made.missing)]), values, json)
