"""Whether an instruction asks for what the scene's task judges.

Success is judged by the task, whatever the policy was told. An instruction may put the task in other words or in
another language. One that asks for something else is refused: its success would count for the wrong thing.
"""

from __future__ import annotations

import re

from vlm2vla_sim.envs.tasks import TASKS, Task
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.instructions import parse_instruction
from vlm2vla_sim.language.translations import TRANSLATIONS

_PUT = "put|place|move|stack|set|drop|transfer|bring|push|pull|lay|leave"
_VERB = rf"(?:{_PUT}|pick|take|grasp|grab|lift|get|touch)"
_NOT = r"(?:(?:do|must|should|shall|may|can|will)\s*n(?:o|')?t|cannot|never|avoid|without)"
_ON = r"(?:on|onto|in|into|inside|over)"
_POLITE = re.compile(
    r"^(?:(?:please|kindly|carefully|gently|slowly|just|try to|make sure to"
    r"|now|first|then|robot|(?:could|can|would|will) you|i want you to|you (?:should|must|need to)),?\s+)+"
)
_CLAUSE = re.compile(
    rf"[;.!]+\s+|,?\s+(?:and\s+then|then|and|but)\s+(?=(?:{_NOT}\s+)?{_VERB}\b)|,\s+(?=(?:{_NOT}\s+)?{_VERB}\b)"
)
_NOT_DONE = re.compile(rf"\b{_NOT}\s+(?:\w+\s+)?(?:{_VERB}|plac|mov|leav|dropp)(?:t?ing)?\b(?P<rest>.*)")
_NOT_THERE = re.compile(rf"\b(?:not|anywhere but|nowhere)\s+{_ON}\s+(?P<goal>.+)")
_NEARBY = re.compile(
    r"\b(?:next to|close to|near|behind|in front of|under|beneath|below"
    r"|(?:(?:on|to) the )?(?:left|right)(?: side)? of)\b"
)
"""All of them are read as "beside"."""
_BESIDE = re.compile(rf"(?:{_PUT})\s+(?:(?!\b{_ON}\b).)+?\sbeside\s+(?P<goal>(?:(?!\b{_ON}\b).)+)")
_OFF = re.compile(r".*?\s(?:off|away from|from|out of)\s+(?P<goal>(?!beside\b).+)")
_DESCRIPTION = re.compile(
    r"\s+(?:that|which|beside|from|off|out|on|onto|in|into|inside|over|above|with|without|of|and|at|by|to)\b|,"
)
"""Where the name of an object ends and a description of it begins."""
_FURTHER = re.compile(rf"[^,]+?\s{_ON}\s+(?P<goal>.+)")
_BRING = re.compile(r"^(?:get|lift|grab|pick(?:\s+up)?|push|pull|slide|carry)\s+(?=.+?\s(?:onto|into|on top of|to)\s)")
"""Verbs that ask to put something where a place follows. `parse_instruction` knows them without one."""
_LIES = re.compile(r"(?:pick|take)\s(?:(?!\b(?:to|onto|into|over|on top)\b).)+")
"""Says where the object lies: "pick up the eggplant in the sink"."""
_GRIPPER = re.compile(r"^move\s+(?:over|above|to|towards?)\s")
"""A motion of the gripper itself: what follows is not the object."""
_CAREFUL = re.compile(rf",?\s+without\s+(?!put|plac|stack|set|lay|leav)\w+ing\b.*?(?=\s{_ON}\b|$)")
"""What must not happen meanwhile."""
_LEFT_ALONE = re.compile(
    r"^(?:ignore|never mind|forget(?: about)?|leave(?=.*\s(?:alone|untouched|where|as)\b)|stay (?:away|clear)"
    r" (?:from|of)|(?:watch|look) out for|be careful with)\s"
)
"""A clause about what is not to be moved."""
_COMPOUND = re.compile(r"\b(table|sink) (?=(?:cloth|mat|runner|napkin|rack|drainer|strainer)s?\b)")
"""The cloth and the rack, not the places they are named after."""
_PLACES = frozenset(task.scene.name for task in TASKS.values())
"""Where an object may be put besides a target: "table", "sink"."""


def check_instruction(instruction: str, task: Task, *, judged: bool = True) -> bool | None:
    """Whether `instruction` asks for `task`.

    Args:
        instruction: what the policy is told.
        task: of the scene.
        judged: whether success is judged by the task. Where a person judges, only the task's own words are recognised,
            and nothing is refused.

    Returns:
        True: it is the task's own, a translation of it, or names the task's object and target. None: it could not be
        read as such, and names nothing that contradicts the task; it counts as the task in other words.

    Raises:
        SettingError: it is blank, it negates the task, it asks for another place than the target, or it names another
            known object than the task's in the place of its object or its target.
    """
    text = _plain(instruction) if isinstance(instruction, str) else ""
    if text and (text in _wordings(task) or not judged):
        return True if text in _wordings(task) else None
    if not text:
        raise SettingError(f"The instruction is {instruction!r}; expected text, or leave it out for the task's own.")
    problem, complete = _compare(text, task)
    if problem:
        raise SettingError(_refusal(instruction, task, problem))
    return True if complete else None


def _compare(text: str, task: Task) -> tuple[str, bool]:
    """What in `text` contradicts `task` ("" for nothing), and whether it asks for it by the names of both objects."""
    if text in _wordings(task):
        return "", True
    for other in TASKS.values():
        if text in _wordings(other) and (other.source, other.target) != (task.source, task.target):
            return f"is that of {other.name}", False
    known, named = _names(task), set()
    denied, clauses = [], [one for one in _CLAUSE.split(_without_contrast(text, task, known)) if one]
    for clause in clauses:
        clause = _CAREFUL.sub("", _NEARBY.sub("beside", _POLITE.sub("", clause)))
        if _NOT_DONE.search(clause) or _LEFT_ALONE.match(clause):
            denied.append(clause)  # "do not touch the spoon"
            continue
        problem = _other_place(clause, task, known) or _other_object(clause, task, known, named)
        if problem:
            return problem, False
    alone = len(denied) == len(clauses)
    if any(_denies(clause, task, known, named, alone=alone) for clause in denied):
        return "says what is not to be done", False
    return "", len(named) == 2


def _other_object(clause: str, task: Task, known: dict[str, set[str]], named: set[str]) -> str:
    """Which other object or place than the task's `clause` names; "" for none. Those of the task go into `named`."""
    parsed = parse_instruction("" if _GRIPPER.match(clause) else _BRING.sub("put ", clause))
    if not parsed.object_name:
        mentions = [name for name in _mentions(clause, known) if not known[name] & _PLACES]
        strange = [name for name in mentions if not known[name] & {task.source.name, task.target.name}]
        if strange:
            return f"names the {strange[0]}"
    for phrase, wanted, role in (
        (parsed.object_name, task.source, "object"),
        (parsed.goal, task.target, "place"),
    ):
        found = _named(phrase, known)
        if found and role == "place" and wanted.name not in known[found] and known[found] & _PLACES:
            if _LIES.fullmatch(clause):
                continue
            further = _FURTHER.match(phrase)  # "on the table on the plate"
            found = (_named(further["goal"], known) if further else "") or found
        if found and wanted.name not in known[found]:
            return f"names the {found} as the {role}"
        if found:
            named.add(role)
    return ""


def _other_place(clause: str, task: Task, known: dict[str, set[str]]) -> str:
    """How `clause` asks for another place than the target; "" where it does not."""
    for pattern, any_place in ((_NOT_THERE, False), (_OFF, False), (_BESIDE, True)):
        found = pattern.fullmatch(clause) if pattern is not _NOT_THERE else pattern.search(clause)
        goal = _named(found["goal"], known) if found else ""
        if goal and (any_place or task.target.name in known[goal]):
            return f"asks for another place than {_on(task)} the {_plain(task.target.name)}"
    return ""


def _denies(clause: str, task: Task, known: dict[str, set[str]], named: set[str], *, alone: bool) -> bool:
    """Whether `clause`, which says what is not to be done, denies the task.

    named: the roles that the other clauses name. Where they ask for the target, a warning ("do not drop the carrot")
    denies nothing, unless it is the task itself that is not to be done. alone: whether there is no other clause.
    """
    own = {task.source.name, task.target.name} if alone else {task.source.name}
    found = _NOT_DONE.search(clause)
    goal = _named(parse_instruction(f"put{found['rest']}").goal, known) if found else ""
    moved = any(known[name] & own for name in _mentions(clause, known))
    return (moved and "place" not in named) or bool(goal and task.target.name in known[goal])


def _without_contrast(text: str, task: Task, known: dict[str, set[str]]) -> str:
    """`text` without the other objects that it names only to say that they are not meant: "(not the spoon)"."""
    own = {task.source.name, task.target.name}
    others = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True) if not known[name] & own)
    contrast = rf"\s*[,(]?\s*\b(?:not|instead of|rather than)\s+(?:the|an?)\s+(?:\w+\s+)?(?:{others})s?\b\s*[,)]?"
    return re.sub(contrast, " ", text).strip()


def _names(task: Task) -> dict[str, set[str]]:
    """Name in an instruction -> the objects (`ObjectSpec.name`) it may mean."""
    names: dict[str, set[str]] = {place: {place} for place in _PLACES}
    for one in (*TASKS.values(), task):
        parsed = parse_instruction(one.instruction)
        for spec, called in ((one.source, parsed.object_name), (one.target, parsed.goal)):
            for name in filter(None, (_plain(spec.name), _DESCRIPTION.split(_plain(called), maxsplit=1)[0])):
                names.setdefault(name, set()).add(spec.name)
    # "carrot" may mean a task's own "big carrot".
    for name, objects in names.items():
        for spec in (task.source, task.target):
            own = [other for other, meant in names.items() if spec.name in meant]
            if any(re.search(rf"\b{re.escape(name)}\b", other) for other in own):
                objects.add(spec.name)
    return names


def _mentions(text: str, known: dict[str, set[str]]) -> list[str]:
    """The known names in `text`, in order; of names inside one another the longest."""
    pattern = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return [match[1] for match in re.finditer(rf"\b({pattern})s?\b", text)]


def _named(phrase: str, known: dict[str, set[str]]) -> str:
    """The known name of what `phrase` is about, without its description; "" for none."""
    found = _mentions(_DESCRIPTION.split(phrase, maxsplit=1)[0], known)
    return found[-1] if found else ""


def _wordings(task: Task) -> set[str]:
    translated = TRANSLATIONS.get(task.instruction, {}).values()
    return {_plain(task.instruction), *(_plain(one.text) for one in translated)}


def _plain(text: str) -> str:
    """Lower case, single blanks, no hyphens, underscores or final punctuation."""
    words = " ".join(re.sub(r"[-_]", " ", str(text)).replace("\u2019", "'").casefold().split())
    return _COMPOUND.sub(r"\1", words).strip(" .!?\u3002\u0964")


def _refusal(instruction: str, task: Task, problem: str) -> str:
    fitting = [
        one for one in TASKS.values() if one.name != task.name and _compare(_plain(instruction), one) == ("", True)
    ]
    way = "No built-in task fits it: ask for the task in other words, or add a task of your own"
    if fitting:
        way = f"Run the task that it fits, {fitting[0].name} ({fitting[0].env_id}), with it"
    wanted = f"the {_plain(task.source.name)} {_on(task)} the {_plain(task.target.name)}"
    return f"The instruction {instruction!r} {problem}; {task.name} is judged by {wanted}. {way}."


def _on(task: Task) -> str:
    return "in" if task.target.container else "on"
