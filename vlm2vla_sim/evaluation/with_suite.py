"""Settings of a run with one or several suites."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from vlm2vla_sim.envs.backends import check_backend_options, takes_variation
from vlm2vla_sim.envs.tasks import TASKS, get_task
from vlm2vla_sim.envs.variation import take_variation
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.conditions import Condition
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite_file import Suite, get_suite
from vlm2vla_sim.language.translations import ENGLISH


def with_suite(
    settings: RunSettings, suites: str | Sequence[str], *, tasks: Iterable[str] = (), episodes: int | None = None
) -> RunSettings:
    """`settings` with the conditions of `suites` that are offered on its backend.

    Args:
        settings: its tasks and its number of episodes are replaced.
        suites: names of suites or their files, "NAME", "NAME,NAME", "PATH.toml", or a sequence of them.
        tasks: run these tasks of the suites only; by default all of them.
        episodes: of each task in each condition; by default as many as the suites say.

    Raises:
        UnknownNameError: a suite, or a task in none of the suites.
        SettingError: no condition is offered on the backend, or the suites do not go together: two conditions have the
            same name, or the numbers of episodes differ and none is given.
    """
    names = [name.strip() for name in (suites.split(",") if isinstance(suites, str) else suites) if name.strip()]
    found = [get_suite(name) for name in names]
    if not found:
        raise SettingError("No suite was named; see `vlm2vla suites`.")
    _check_together(found)
    counts = sorted({suite.episodes for suite in found})
    if episodes is None and len(counts) > 1:
        raise SettingError(
            f"The suites ask for different numbers of episodes ({', '.join(map(str, counts))}): run them one by one, "
            "or say how many (--episodes)."
        )
    rows = [row for suite in found for row in suite.rows]
    offered = _only([row.condition for row in rows if row.offered_on(settings.backend)], list(tasks))
    left_out = tuple(row.condition.name for row in rows if not row.offered_on(settings.backend))
    if not offered:
        raise SettingError(
            f"None of the {len(rows)} conditions of {', '.join(names)} is offered on {settings.backend}."
        )
    return dataclasses.replace(
        settings,
        tasks=tuple(dict.fromkeys(task for condition in offered for task in condition.tasks)),
        episodes=counts[0] if episodes is None else episodes,
        suite=", ".join(f"{suite.label} sha256:{suite.digest[:16]}" for suite in found),
        conditions=tuple(offered),
        left_out=left_out,
    )


def suites_of(text: str) -> str:
    """The names in `RunSettings.suite`, as `with_suite` takes them where the package ships them all."""
    return ",".join(one.partition("@")[0] for one in text.split(", "))


def left_out_sentence(left_out: Sequence[str], run: int, backend: str) -> str:
    """What is said of conditions that are not offered on the backend. run: how many are."""
    return (
        f"{len(left_out)} of {len(left_out) + run} conditions are not offered on {backend} and were left out: "
        f"{', '.join(left_out)}."
    )


def _check_together(suites: Sequence[Suite]) -> None:
    names = [row.condition.name for suite in suites for row in suite.rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingError(
            f"Two of the suites have a condition named {twice[0]}, and episodes are told apart by it: run the suites "
            "one by one."
        )


def _only(conditions: Sequence[Condition], tasks: Sequence[str]) -> list[Condition]:
    """The conditions with the tasks that are asked for; those without any are left out."""
    if not tasks:
        return list(conditions)
    there = {get_task(task).name: task for condition in conditions for task in condition.tasks}
    wanted = set()
    for name in tasks:
        place = name if name in there.values() else there.get(get_task(name).name if name in TASKS else name)
        if place is None:
            raise unknown_name("task of the suite", name, there)
        wanted.add(place)
    kept = [dataclasses.replace(one, tasks=tuple(t for t in one.tasks if t in wanted)) for one in conditions]
    return [condition for condition in kept if condition.tasks]


def check_conditions(settings: RunSettings) -> None:
    """An error for settings that contradict a condition of their suite, and for an option that the backend lacks."""
    for condition in settings.conditions:
        twice = sorted(set(condition.options) & set(settings.backend_options))
        if twice:
            raise SettingError(
                f"The condition {condition.name} sets {', '.join(twice)} itself: leave it out of the backend's options "
                "(--backend-options)."
            )
        if condition.layouts and settings.layouts not in ("grid", condition.layouts):
            raise SettingError(
                f"The condition {condition.name} has layouts of its own ({condition.layouts}), not {settings.layouts}: "
                "leave the kind of layouts out (--layouts)."
            )
        if condition.instructions and settings.language != ENGLISH:
            raise SettingError(
                f"The condition {condition.name} says what the policy is told, so it cannot be told in another "
                f"language ({settings.language}) besides: leave the language out."
            )
        check_options(condition, settings.backend)


def check_options(condition: Condition, backend: str) -> None:
    """An error for an option of the condition that the backend lacks, or a value that no scene can have."""
    check_backend_options(backend, condition.options)
    if takes_variation(backend):
        variation, _ = take_variation(condition.options)
        for task in condition.tasks:
            variation.scale(get_task(task))
