"""`vlm2vla suites`: the suites, and the conditions of one of them."""

from __future__ import annotations

from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.evaluation.suite_file import ANY, SIMULATORS, Row, Suite, get_suite, suite_names
from vlm2vla_sim.evaluation.with_suite import check_options


def suites(
    suite: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME|FILE]")] = "",
    /,
    *,
    json: bool = False,
) -> CommandResult:
    """List the suites of `vlm2vla evaluate --suite`, or the conditions of one of them.

    Args:
        suite: The suite whose conditions are listed: a name, or your own .toml file, which is checked.
        json: Print JSON.
    """
    if suite:
        return _conditions(get_suite(suite), json)
    found = [get_suite(name) for name in suite_names()]
    rows = [("suite", "conditions", "episodes each", "episodes", "what it tests")]
    rows += [(s.label, str(len(s.rows)), str(s.episodes), str(_planned(s)), s.title) for s in found]
    values = [{**_values(s), "conditions": len(s.rows)} for s in found]
    return CommandResult(columns(rows), values, json)


def _conditions(suite: Suite, json: bool) -> CommandResult:
    for row in suite.rows:
        for backend in SIMULATORS if ANY in row.backends else row.backends:
            check_options(row.condition, backend)
    rows = [("condition", "factor", "level", "offered on", "tasks", "what it changes")]
    rows += [
        (
            row.condition.name,
            row.condition.factor,
            row.condition.level,
            _offered(row),
            ", ".join(get_task(task).name for task in row.condition.tasks),
            _changes(row),
        )
        for row in suite.rows
    ]
    values = {**_values(suite), "conditions": [_row_values(row) for row in suite.rows]}
    head = (
        f"{suite.label}: {suite.title}\n{_planned(suite)} episodes, {suite.episodes} of each task in each condition\n"
    )
    return CommandResult(f"{head}\n{columns(rows)}", values, json)


def _planned(suite: Suite) -> int:
    return suite.episodes * sum(len(row.condition.tasks) for row in suite.rows)


def _values(suite: Suite) -> dict[str, Any]:
    names = ("name", "version", "title", "episodes")
    return {**{name: getattr(suite, name) for name in names}, "digest": suite.digest, "planned": _planned(suite)}


def _row_values(row: Row) -> dict[str, Any]:
    one = row.condition
    names = ("name", "factor", "level", "tasks", "layouts", "instructions", "options")
    return {**{name: getattr(one, name) for name in names}, "backends": row.backends}


def _offered(row: Row) -> str:
    if ANY in row.backends:
        return "any backend"
    if set(row.backends) == set(SIMULATORS):
        return "both simulators"
    return "twin only" if row.backends == ("mujoco",) else ", ".join(row.backends)


def _changes(row: Row) -> str:
    one = row.condition
    parts = [f"{name}={value}" for name, value in one.options.items()]
    if one.layouts:
        parts.append(f"layouts {one.layouts}")
    texts = list(dict.fromkeys(one.instructions.values()))
    if texts:
        parts.append(f"{texts[0]!r}" + (", ..." if len(texts) > 1 else ""))
    return "; ".join(parts) or "nothing"
