"""The leaderboard: one JSON line per result, and the table of docs/leaderboard.md that is made from them.

    python benchmarks/leaderboard.py add runs/mini --command "vlm2vla evaluate --policy mini --tasks all"
    python benchmarks/leaderboard.py render

`add` reads a finished run and appends a line; `render` writes the page's table anew. A line says where its figure is
from: "measured" by this project's code, or "published" by others, with the reference and the rule that they used.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import tyro

from vlm2vla_sim.errors import DataError, RunFolderError
from vlm2vla_sim.evaluation.rates import Rate, wilson_interval
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.types import EpisodeResult, Outcome

HERE = Path(__file__).parent
LINES = HERE / "leaderboard.jsonl"
PAGE = HERE.parent / "docs" / "leaderboard.md"
BEGIN, END = "<!-- leaderboard: begin -->", "<!-- leaderboard: end -->"
SOURCES = ("measured", "published")
AT_END = "success at the last step"


@dataclass(frozen=True)
class Entry:
    """One line of the file. Unknown is None."""

    policy: str
    suite: str
    """Name@version of a suite, or the tasks; "simpler" for the four tasks, 24 episodes each."""
    backend: str
    rule: str
    """What counts as success."""
    source: str
    """One of SOURCES."""
    date: str
    """When it was measured or read, YYYY-MM-DD."""
    rate: float
    """0 .. 1"""
    k: int | None = None
    """Successes."""
    n: int | None = None
    """Episodes with a verdict."""
    low: float | None = None
    high: float | None = None
    """95 % Wilson interval; None where episodes share scenes, as in conditions of a suite: it would be too narrow."""
    dialect: str | None = None
    """Action format; None for a policy that answers in numbers."""
    digest: str | None = None
    """SHA-256 of the model's weights, its first 12 digits; with an adapter, a plus sign and those of the adapter's."""
    command: str | None = None
    reference: str | None = None
    """Where a published figure was read."""
    note: str = ""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise DataError(f"source is {self.source!r}; expected one of {', '.join(SOURCES)}.")
        if self.source == "measured" and None in (self.k, self.n, self.command):
            raise DataError(f"The measured entry of {self.policy!r} lacks k, n or its command.")
        if self.source == "published" and not self.reference:
            raise DataError(f"The published entry of {self.policy!r} has no reference.")
        if not 0 <= self.rate <= 1:
            raise DataError(f"The rate of {self.policy!r} is {self.rate}; expected 0 to 1.")
        if self.k is not None and self.n is not None and abs(self.rate - self.k / self.n) > 1e-6:
            raise DataError(f"The rate of {self.policy!r} is {self.rate}, and {self.k} of {self.n} is another.")


def read(path: Path = LINES) -> list[Entry]:
    """The entries of the file; DataError for a line that is no entry."""
    known = {field.name for field in fields(Entry)}
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        values = json.loads(line)
        if unknown := set(values) - known:
            raise DataError(f"{path}, line {number}: unknown keys {', '.join(sorted(unknown))}.")
        entries.append(Entry(**values))
    return entries


def entry_of(results: Iterable[EpisodeResult], *, command: str, date: str, note: str = "") -> Entry:
    """The entry of one run; RunFolderError where it has no verdicts, or episodes without one."""
    results = list(results)
    judged = [one for one in results if one.outcome in (Outcome.SUCCESS, Outcome.FAILURE)]
    if not judged or len(judged) != len(results):
        raise RunFolderError(
            f"{len(results) - len(judged)} of {len(results)} episodes have no verdict; finish the run."
        )
    first = judged[0]
    rate = Rate(sum(bool(one.success_at_end) for one in judged), len(judged))
    low, high = wilson_interval(rate.k, rate.n)
    shared = len({(one.task, one.episode_id) for one in judged}) < len(judged)
    return Entry(
        policy=first.policy,
        suite=_suite(judged),
        backend=first.backend,
        rule=AT_END,
        source="measured",
        date=date,
        rate=rate.k / rate.n,
        k=rate.k,
        n=rate.n,
        low=None if shared else round(low, 4),
        high=None if shared else round(high, 4),
        dialect=first.action_format,
        digest=_digest(first),
        command=command,
        note=note,
    )


def _suite(results: list[EpisodeResult]) -> str:
    if named := {getattr(one, "suite", "") for one in results} - {""}:
        return ", ".join(sorted(named))
    tasks = {one.task for one in results}
    grid = all(one.layouts == "grid" for one in results)
    if grid and len(tasks) == 4 and len(results) == 96:
        return "simpler"
    return f"{', '.join(sorted(tasks))}, {'published' if grid else 'random'} layouts"


def _digest(result: EpisodeResult) -> str | None:
    model = result.provenance.get("model")
    if not isinstance(model, dict) or not model.get("model_digest"):
        return None
    adapter = model.get("adapter_digest")
    return str(model["model_digest"])[:12] + (f"+{str(adapter)[:12]}" if adapter else "")


def table(entries: Iterable[Entry]) -> Iterator[str]:
    """The lines of the page's tables: a heading and a table per suite, best first."""
    by_suite: dict[str, list[Entry]] = {}
    for entry in entries:
        by_suite.setdefault(entry.suite, []).append(entry)
    for suite, own in by_suite.items():
        yield from (f"## {suite}", "")
        yield "| policy | dialect | simulator | success | rule | source | date |"
        yield "|---|---|---|---|---|---|---|"
        for one in sorted(own, key=lambda one: (one.backend, -one.rate, one.policy)):
            cells = (one.policy, one.dialect or "numbers", one.backend, _success(one), one.rule, _source(one), one.date)
            yield f"| {' | '.join(cells)} |"
        yield ""


def _success(entry: Entry) -> str:
    if entry.k is None or entry.n is None:
        return f"{entry.rate:.1%}"
    if entry.low is None or entry.high is None:
        return f"{entry.k}/{entry.n}, {entry.rate:.1%}"
    return f"{entry.k}/{entry.n}, {entry.rate:.1%} ({entry.low:.0%} to {entry.high:.0%})"


def _source(entry: Entry) -> str:
    note = f"; {entry.note}" if entry.note else ""
    if entry.source == "published":
        return f"published: {entry.reference}{note}"
    digest = f", weights `{entry.digest}`" if entry.digest else ""
    return f"measured: `{entry.command}`{digest}{note}"


def rendered(page: str, entries: Iterable[Entry]) -> str:
    """`page` with the tables between its marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise DataError(f"The page lacks the marks {BEGIN} and {END}.")
    lines = "\n".join(table(entries)).rstrip()
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def add(run: tyro.conf.Positional[Path], *, command: str, note: str = "", date: str = "") -> None:
    """Append the line of a finished run.

    Args:
        run: The run folder.
        command: What made it.
        note: A caveat to print beside it.
        date: YYYY-MM-DD; by default today.
    """
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    entry = entry_of(read_results(run / "results.jsonl"), command=command, date=date or today, note=note)
    with LINES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
    sys.stdout.write(f"{_success(entry)} of {entry.suite} on {entry.backend}; now render the page.\n")


def render() -> None:
    """Write the tables of docs/leaderboard.md anew."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"add": add, "render": render})
