"""Suites: named, versioned sets of conditions, read from TOML files.

name = "widowx-va"
version = 1
title = "one line"
episodes = 4                  # of each task in each condition
tasks = ["carrot_on_plate"]   # default of the conditions; default: SIMPLER's four
backends = ["any"]            # default of the conditions; default: both simulators

[[condition]]
name = "light-left"           # a-z, 0-9 and "-"; unique in the suite
factor = "light"
level = "left"
tasks = ["stack_cube"]        # names, or "package.module:NAME"
backends = ["mujoco"]         # where it is offered
layouts = "random"            # or "grid"; default: as the run says
instruction = "..."           # or a table of task = text; default: the task's own
language = "es"               # in place of an instruction: its translation
[condition.options]           # of the backend
light_strength = 0.4
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.finder import is_place
from vlm2vla_sim.envs.backends import BACKENDS
from vlm2vla_sim.envs.reset_options import LAYOUTS
from vlm2vla_sim.envs.tasks import TASKS, get_task, task_places
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.conditions import Condition
from vlm2vla_sim.language.translations import ENGLISH, translate

ANY = "any"
"""In `backends`: every backend, those of a user's included."""
SIMULATORS = ("mujoco", "simpler")
SUFFIX = ".toml"
_SUITE_KEYS = ("name", "version", "title", "episodes", "tasks", "backends", "condition")
_CONDITION_KEYS = (
    "name", "factor", "level", "tasks", "backends", "layouts", "instruction", "language", "options",
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Row:
    """A condition of a suite, and where it is offered."""

    condition: Condition
    backends: tuple[str, ...]

    def offered_on(self, backend: str) -> bool:
        """Whether the condition can be applied on `backend`."""
        return ANY in self.backends or backend in self.backends


@dataclass(frozen=True)
class Suite:
    """A named, versioned set of conditions."""

    name: str
    version: int
    title: str
    episodes: int
    """Of each task in each condition."""
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        """Name and version: "language@1"."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of what decides its results: everything but the title, independent of how the file is laid out."""
        values = dataclasses.asdict(dataclasses.replace(self, title=""))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def suite_names() -> list[str]:
    """The names of the suites that the package ships, sorted."""
    return sorted(entry.name.removesuffix(SUFFIX) for entry in _shipped().iterdir() if entry.name.endswith(SUFFIX))


def get_suite(name: str) -> Suite:
    """The suite called `name`, or in the file `name`, which ends in ".toml".

    Raises:
        UnknownNameError: there is no such suite; a key, task, backend, language or layout in it does not exist.
        SettingError: the file cannot be read or is no suite.
    """
    if name.endswith(SUFFIX):
        return read_suite(_read(Path(name)), where=name)
    if name not in suite_names():
        raise unknown_name("suite", name, [*suite_names(), f"PATH{SUFFIX}"])
    return read_suite(_shipped().joinpath(f"{name}{SUFFIX}").read_text(encoding="utf-8"), where=f"suite {name}")


def read_suite(text: str, *, where: str = "the suite") -> Suite:
    """The suite in TOML; errors as for `get_suite`. where: what an error calls the text."""
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        raise SettingError(f"{where} is no TOML: {error}.") from error
    _check_keys(values, _SUITE_KEYS, f"key of a suite in {where}")
    name = _name(values, "name", where)
    version, episodes = (_whole(values, key, where) for key in ("version", "episodes"))
    tables = values.get("condition")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        raise SettingError(f"{where} has no condition; expected one [[condition]] table or more.")
    label = f"{name}@{version}"
    tasks, backends = values.get("tasks", list(TASKS)), values.get("backends", list(SIMULATORS))
    rows = tuple(
        _row(table, label, f"condition {number} in {where}", tasks=tasks, backends=backends)
        for number, table in enumerate(tables, start=1)
    )
    names = [row.condition.name for row in rows]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise SettingError(f"{where} has several conditions named {', '.join(twice)}; each needs a name of its own.")
    return Suite(name, version, _text(values, "title", where), episodes, rows)


def _row(table: Mapping[str, Any], suite: str, where: str, *, tasks: Any, backends: Any) -> Row:
    """tasks, backends: of a condition that names none."""
    _check_keys(table, _CONDITION_KEYS, f"key of {where}")
    name = _name(table, "name", where)
    where = f"{where} ({name})"
    given = table.get("instruction")
    tasks = _tasks(table.get("tasks", list(given) if isinstance(given, Mapping) else tasks), where)
    backends = _texts(table.get("backends", backends), "backends", where)
    for backend in backends:
        if backend not in (*BACKENDS, ANY) and not is_place(backend):
            raise unknown_name(f"backend in {where}", backend, [*BACKENDS, ANY])
    layouts = table.get("layouts", "")
    if layouts and layouts not in LAYOUTS:
        raise unknown_name(f"kind of layouts in {where}", layouts, LAYOUTS)
    condition = Condition(
        name=name,
        suite=suite,
        factor=_text(table, "factor", where),
        level=_text(table, "level", where),
        tasks=tasks,
        layouts=layouts,
        instructions=_instructions(table, tasks, where),
        options=_options(table.get("options", {}), where),
    )
    return Row(condition, backends)


def _tasks(given: Any, where: str) -> tuple[str, ...]:
    """The tasks as `find_task` takes them, sets of tasks expanded; errors where there is none of that name."""
    places: list[str] = []
    for name in _texts(given, "tasks", where):
        places += task_places(name) if is_place(name) else [name if "#" in name else get_task(name).name]
    found = [get_task(place).name for place in places]
    twice = sorted({one for one in found if found.count(one) > 1})
    if twice:
        raise SettingError(f"{where} names a task twice: {', '.join(twice)}.")
    return tuple(places)


def _instructions(table: Mapping[str, Any], tasks: Sequence[str], where: str) -> dict[str, str]:
    """Task -> instruction; empty where the tasks' own are used."""
    given, language = table.get("instruction"), table.get("language", ENGLISH)
    if given is not None and "language" in table:
        raise SettingError(f"{where} has an instruction and a language; leave one of them out.")
    if given is None:
        own = {task: get_task(task).instruction for task in tasks}
        return {} if language == ENGLISH else {task: translate(text, language) for task, text in own.items()}
    if not isinstance(given, Mapping):
        given = dict.fromkeys(tasks, given)
    names = {get_task(task).name: task for task in tasks}
    for key, text in given.items():
        if key not in (*names, *tasks):
            raise unknown_name(f"task of the instructions in {where}", key, tasks)
        if not isinstance(text, str) or not text.strip():
            raise SettingError(f"The instruction of {key} in {where} is {text!r}; expected text.")
    told = {names.get(key, key): str(text) for key, text in given.items()}
    missing = [task for task in tasks if task not in told]
    if missing:
        raise SettingError(f"{where} has no instruction for {', '.join(missing)}; give one for each of its tasks.")
    return {task: told[task] for task in tasks}


def _options(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise SettingError(f"`options` in {where} is {given!r}; expected a table of NAME = VALUE.")
    for name, value in given.items():
        if not isinstance(value, (str, int, float, bool)):
            raise SettingError(f"The option {name} in {where} is {value!r}; expected a text, a number, true or false.")
    return dict(given)


def _check_keys(table: Mapping[str, Any], known: Collection[str], kind: str) -> None:
    for key in table:
        if key not in known:
            raise unknown_name(kind, key, known)


def _name(table: Mapping[str, Any], key: str, where: str) -> str:
    text = _text(table, key, where)
    if not _NAME.fullmatch(text):
        raise SettingError(
            f"`{key}` in {where} is {text!r}; expected a-z, 0-9 and single hyphens, such as 'light-left'."
        )
    return text


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"`{key}` in {where} is {value!r}; expected text.")
    return value


def _whole(table: Mapping[str, Any], key: str, where: str) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingError(f"`{key}` in {where} is {value!r}; expected a whole number, 1 or more.")
    return value


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise SettingError(f"`{key}` in {where} is {value!r}; expected a list of names.")
    return tuple(value)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"The suite {path} cannot be read: {error}.") from error


def _shipped() -> Any:
    return files("vlm2vla_sim") / "suites"
