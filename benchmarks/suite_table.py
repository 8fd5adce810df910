"""A Markdown table of runs of suites: a row for each factor and level, a column for each run.

    vlm2vla evaluate --suite language --policy mini --no-video --out runs/mini-language
    python benchmarks/suite_table.py runs/scripted-language runs/mini-language runs/hold-language

Each cell has the successes at the last step and the episodes with a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import tyro

from vlm2vla_sim.errors import RunFolderError


def main(runs: tyro.conf.Positional[tuple[Path, ...]], *, by: str = "level") -> None:
    """Print the table.

    Args:
        runs: Run folders of one suite.
        by: "level" for a row of each level, "factor" for a row of each factor.
    """
    print("\n".join(table(runs, levels=by == "level")))


def table(runs: Sequence[Path], *, levels: bool) -> Iterator[str]:
    """The lines of the table. RunFolderError where the runs are of different suites, or of none."""
    settings = [_read(run, "settings.json") for run in runs]
    suites = {one["settings"].get("suite") if "settings" in one else one.get("suite") for one in settings}
    if len(suites) != 1 or not (suite := suites.pop()):
        raise RunFolderError("The runs are not of one suite; give those of one, with the same version.")
    found = [_cells(_read(run, "summary.json")["factors"], levels=levels) for run in runs]
    columns = [_label(run) for run in runs]
    yield f"`{str(suite).split()[0]}`"
    yield ""
    yield f"| factor | {'level | ' if levels else ''}{' | '.join(columns)} |"
    yield f"|{'---|' * (len(columns) + (2 if levels else 1))}"
    for row in dict.fromkeys(key for cells in found for key in cells):
        yield f"| {' | '.join(row)} | {' | '.join(cells.get(row, '-') for cells in found)} |"
    overall = [_read(run, "summary.json")["overall"]["success_at_end"] for run in runs]
    last = " | ".join(f"**{one['k']}/{one['n']}**, {_percent(one)}" for one in overall)
    yield f"| **all** | {'| ' if levels else ''}{last} |"


def _cells(factors: dict[str, dict[str, dict[str, dict[str, int]]]], *, levels: bool) -> dict[tuple[str, ...], str]:
    cells: dict[tuple[str, ...], str] = {}
    for factor, by_level in factors.items():
        rates = {level: one["success_at_end"] for level, one in by_level.items()}
        if levels:
            cells |= {(factor, level): f"{rate['k']}/{rate['n']}" for level, rate in rates.items()}
        else:
            k, n = (sum(rate[key] for rate in rates.values()) for key in ("k", "n"))
            cells[factor,] = f"{k}/{n}"
    return cells


def _percent(rate: dict[str, float]) -> str:
    return f"{rate['rate']:.0%}" if rate["n"] else "-"


def _label(run: Path) -> str:
    with (run / "results.jsonl").open(encoding="utf-8") as lines:
        first = json.loads(next(lines))
    return f"`{first['policy']}`, {'twin' if first['backend'] == 'mujoco' else first['backend']}"


def _read(run: Path, name: str) -> dict:
    path = run / name
    if not path.is_file():
        raise RunFolderError(f"{path} is not there; expected the folder of a finished run.")
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    tyro.cli(main)
