"""Writes the report of one or several runs: one HTML page that loads nothing from a network and needs no server.

What the eye needs first is HTML and SVG without a script. The gallery and the viewer of episodes are made by a small
script from data in the page, each episode's only when it is opened. All text of a run is data: it is escaped, and a
content security policy allows this page's own script and style only.
"""

from __future__ import annotations

import datetime
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TextIO

from vlm2vla_sim.core.atomic import replacing
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.outcome_shares import PAIR_NAMES
from vlm2vla_sim.evaluation.report import comparing, cost, origin, sections
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.evaluation.report.episode_data import as_json, details, entry
from vlm2vla_sim.evaluation.report.page_files import content_policy, read_file, style
from vlm2vla_sim.evaluation.report.pictures import (
    EMBED,
    Filmstrip,
    choose_embedded,
    encode_video,
    filmstrip,
    link,
)
from vlm2vla_sim.evaluation.report.runs import Episode, ReportRun, read_runs

SCRIPTS = ("timeline.js", "viewer.js", "gallery.js")
LIMIT_MB = 40.0
"""[MB] of videos in a page, unless another limit is given."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    path: Path
    runs: int
    episodes: int
    embedded: int
    """Videos in the page."""
    linked: int
    """Videos that the page reads from the run folders."""
    missing: tuple[str, ...]
    """Sentences about what the report cannot show; they are on the page too."""


def write_report(
    given: Sequence[str | Path],
    path: Path,
    *,
    embed: str = "auto",
    limit_mb: float = LIMIT_MB,
    rule: str = "success_at_end",
    margin: float = 0.15,
    allow: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write the report of the runs `given` to `path`, whole or not at all; an existing file is replaced.

    Args:
        given: run folders; FOLDER#POLICY names one policy of a session, "A,B" merges the runs of one policy. The first
            is what the others are compared with.
        path: the HTML file.
        embed: which videos the page holds, one of `pictures.EMBED`. The others are linked.
        limit_mb: [MB] of videos in the page together, for "auto".
        rule: which success is compared; so are margin and allow as for `evaluation.comparison.compare.compare`.
        margin: 0 .. 1.
        allow: conditions that may differ.
        progress: called with the number of episodes that were read and that of all.
    """
    if embed not in EMBED:
        raise unknown_name("way to embed videos", embed, EMBED)
    if not limit_mb >= 0:
        raise SettingError(f"The limit of the videos is {limit_mb} MB; expected 0 or more.")
    runs = read_runs([str(one) for one in given])
    episodes = [(number, episode) for number, run in enumerate(runs) for episode in run.episodes]
    strips: list[Filmstrip | None] = []
    for done, (_, episode) in enumerate(episodes, start=1):
        strips.append(filmstrip(episode.video) if episode.video else None)
        if progress:
            progress(done, len(episodes))
    embedded = choose_embedded([episode for _, episode in episodes], embed, limit_mb * 1e6)
    videos = [_video(episode, number in embedded, path) for number, (_, episode) in enumerate(episodes)]
    linked = sum(bool(video) and video != "in" for video in videos)
    problems = [strip.problem for strip in strips if strip and strip.problem]
    missing = origin.missing(runs, videos.count("in"), linked, problems)
    numbers = {episode.result.to_json(): number for number, (_, episode) in enumerate(episodes)}
    compared = comparing.compare_runs(runs, rule=rule, margin=margin, allow=allow)
    entries = [
        entry(number, run, episode, strip, video)
        for number, ((run, episode), strip, video) in enumerate(zip(episodes, strips, videos, strict=True))
    ]
    with replacing(path) as draft, draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_head(runs, missing, comparing.section(compared, runs, numbers)))
        file.write(
            _block("index", as_json({"runs": [run.label for run in runs], "pairs": PAIR_NAMES, "episodes": entries}))
        )
        for number, ((_, episode), strip) in enumerate(zip(episodes, strips, strict=True)):
            _write_episode(file, number, episode, strip, videos[number])
        file.write(f"<script>{_script()}</script>\n</body>\n</html>\n")
    return Written(path, len(runs), len(episodes), videos.count("in"), linked, tuple(missing))


def _video(episode: Episode, embedded: bool, page: Path) -> str:
    if episode.video is None:
        return ""
    return "in" if embedded else link(episode.video, page)


def _write_episode(file: TextIO, number: int, episode: Episode, strip: Filmstrip | None, video: str) -> None:
    file.write(_block(f"e{number}", as_json(details(episode))))
    if strip and strip.jpeg:
        file.write(_block(f"s{number}", strip.jpeg, kind="text/plain"))
    if video == "in" and episode.video:
        file.write(_block(f"v{number}", encode_video(episode.video), kind="text/plain"))


def _block(name: str, content: str, kind: str = "application/json") -> str:
    return f'<script type="{kind}" id="{name}">{content}</script>\n'


def _head(runs: Sequence[ReportRun], missing: Sequence[str], compared: str) -> str:
    css = style()
    title = "Report: " + ", ".join(run.label for run in runs)
    count = sum(len(run.episodes) for run in runs)
    tasks = len(sections.tasks_of(runs))
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    what = f"{count} episodes of {tasks} task{'s'[: tasks != 1]}; written {now}"
    comparison = f'<section id="compare"><h2>Comparison</h2>{compared}</section>' if compared else ""
    factors = sections.factors(runs)
    return Template(read_file("report.html")).substitute(
        policy=content_policy(css, _script()),
        style=css,
        title=html.escape(title),
        heading=text(title),
        what=html.escape(what),
        compare_link='<a href="#compare">Comparison</a>' if comparison else "",
        headline=sections.headline(runs),
        missing="".join(f"<li>{text(sentence)}</li>" for sentence in missing) or "<li>Nothing.</li>",
        missing_count=len(missing),
        rates=sections.rates(runs),
        stages=sections.stages(runs),
        factors=factors or '<p class="remark">The episodes of these runs name no factor, such as light or camera.</p>',
        causes=sections.causes(runs),
        words=cost.words(runs) + cost.verdicts(runs),
        comparison=comparison,
        cost=cost.table(runs),
        reproduce=origin.reproduce(runs),
        settings=origin.settings(runs),
    )


def _script() -> str:
    return "".join(_parts())


def _parts() -> Iterator[str]:
    for name in SCRIPTS:
        yield read_file(name)
