"""What objects are called in instructions."""

from __future__ import annotations

import re

from vlm2vla_sim.envs.tasks import TASKS, Task
from vlm2vla_sim.language.steps import Steps, steps_of

_DESCRIPTION = re.compile(
    r"\s+(?:that|which|beside|from|off|out|on|onto|in|into|inside|over|above|with|without|of|and|at|by|to)\b|,"
)
"""Where the name of an object ends and a description of it begins."""
_COMPOUND = re.compile(r"\b(table|sink) (?=(?:cloth|mat|runner|napkin|rack|drainer|strainer)s?\b)")
"""The cloth and the rack, not the places they are named after."""
PLACES = frozenset(task.scene.name for task in TASKS.values())
"""Where an object may be put besides a target: "table", "sink"."""


def names_of(task: Task) -> dict[str, set[str]]:
    """Name in an instruction -> the objects (`ObjectSpec.name`) it may mean."""
    names: dict[str, set[str]] = {place: {place} for place in PLACES}
    for one in (*TASKS.values(), task):
        said = Steps("") if one.goals else steps_of(one.instruction)
        called_so = {one.source.name: said.object_name, one.target.name: said.goal}
        for spec in one.objects:
            called = called_so.get(spec.name, "")
            for name in filter(None, (plain(spec.name), _DESCRIPTION.split(plain(called), maxsplit=1)[0])):
                names.setdefault(name, set()).add(spec.name)
    # "carrot" may mean a task's own "big carrot".
    for name, objects in names.items():
        for spec in task.objects:
            own = [other for other, meant in names.items() if spec.name in meant]
            if any(re.search(rf"\b{re.escape(name)}\b", other) for other in own):
                objects.add(spec.name)
    return names


def mentions(text: str, known: dict[str, set[str]]) -> list[str]:
    """The known names in `text`, in order; of names inside one another the longest."""
    pattern = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return [match[1] for match in re.finditer(rf"\b({pattern})s?\b", _COMPOUND.sub(r"\1", text))]


def named(phrase: str, known: dict[str, set[str]]) -> str:
    """The known name of what `phrase` is about, without its description; "" for none."""
    found = mentions(_DESCRIPTION.split(phrase, maxsplit=1)[0], known)
    return found[-1] if found else ""


def plain(text: str) -> str:
    """Lower case, single blanks, no hyphens, underscores or final punctuation."""
    words = " ".join(re.sub(r"[-_]", " ", str(text)).replace("\u2019", "'").casefold().split())
    return words.strip(" .!?\u3002\u0964")
