"""Whether an instruction asks for what the scene's task judges.

Success is judged by the task, whatever the policy was told. An instruction may put the task in other words or in
another language. One that asks for something else is refused: its success would count for the wrong thing.
"""

from __future__ import annotations

import re

from vlm2vla_sim.core.goals import ON
from vlm2vla_sim.envs.tasks import SUITE_TASKS, TASKS, Task
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.instruction_parser import Clause, Parsed, parse
from vlm2vla_sim.language.steps import steps_of
from vlm2vla_sim.language.translations import TRANSLATIONS

_VERB = r"(?:put|place|move|stack|set|drop|transfer|bring|push|pull|lay|leave|pick|take|grasp|grab|lift|get|touch)"
_NOT = r"(?:(?:do|must|should|shall|may|can|will)\s*n(?:o|')?t|cannot|never|avoid|without)"
_ON = r"(?:on|onto|in|into|inside|over)"
_CLAUSE = re.compile(
    rf"[;.!]+\s+|,?\s+(?:and\s+then|then|and|but)\s+(?=(?:{_NOT}\s+)?{_VERB}\b)|,\s+(?=(?:{_NOT}\s+)?{_VERB}\b)"
)
_NOT_DONE = re.compile(rf"\b{_NOT}\s+(?:\w+\s+)?(?:{_VERB}|plac|mov|leav|dropp)(?:t?ing)?\b(?P<rest>.*)")
_NOT_THERE = re.compile(rf"\b(?:not|anywhere but|nowhere)\s+{_ON}\s+(?P<goal>.+)")
_DESCRIPTION = re.compile(
    r"\s+(?:that|which|beside|from|off|out|on|onto|in|into|inside|over|above|with|without|of|and|at|by|to)\b|,"
)
"""Where the name of an object ends and a description of it begins."""
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
_THERE = frozenset({"on", "in", "to", "above", "toward"})
"""Relations to a goal that a task may be judged by; the others ask for another place."""


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
    scene = {spec.name for spec in task.objects}
    for other in SUITE_TASKS.values():
        # Of another candidate of the same scene; that of `task` itself was looked for above.
        if text == _plain(other.instruction) and {spec.name for spec in other.objects} == scene:
            return f"is that of {other.name}", False
    known, named = _names(task), set()
    clauses = [one for one in _CLAUSE.split(text) if one]
    denied = [one for one in clauses if _NOT_DONE.search(_CAREFUL.sub("", one)) or _LEFT_ALONE.match(one)]
    kept = [_CAREFUL.sub("", one) for one in clauses if one not in denied]
    if any(_denied_place(one, task, known) for one in kept):
        return _elsewhere(task), False
    parsed = parse(". ".join(kept))
    for clause in parsed.asked:
        if problem := _other_clause(clause, task, known, named):
            return problem, False
    if strange := _strange(parsed, task, known):
        return f"names the {strange}", False
    if any(_denies(one, task, known, named, alone=not kept) for one in denied):
        return "says what is not to be done", False
    return "", len(named) == 2 and len(task.all_goals) == 1


def _other_clause(clause: Clause, task: Task, known: dict[str, set[str]], named: set[str]) -> str:
    """What in `clause` contradicts `task`; "" for nothing. The roles that it names go into `named`."""
    if clause.object is None and clause.verb == "move":
        return ""  # the gripper
    thing = _named(clause.object.text, known) if clause.object else ""
    thing = "" if thing and known[thing] <= _PLACES else thing
    fitting = [pair for pair in _pairs(task) if not thing or pair[0] in known[thing]]
    if not fitting:
        return f"names the {thing} as the object"
    if thing and not known[thing] & _others(task):
        named.add("object")
    left = _named(clause.source.phrase.text, known) if clause.source and clause.source.relation == "from" else ""
    if left and known[left] & {place for _, place in fitting}:
        return _elsewhere(task)
    if clause.goal is None:
        return ""
    place = _named(clause.goal.phrase.text, known)
    if place and clause.relation not in _THERE:
        return _elsewhere(task)
    if place and not known[place] & {wanted for _, wanted in fitting}:
        return f"names the {place} as the place"
    over = clause.relation == "above" and clause.verb == "move"  # on the way, not there
    if place and not clause.goal.phrase.pronoun and not over and not known[place] & _others(task):
        named.add("place")
    return ""


def _strange(parsed: Parsed, task: Task, known: dict[str, set[str]]) -> str:
    """The known object that is not the task's and of which it is not understood what is said; "" for none."""
    unread = [part.text for part in parsed.unread if not part.is_remark]
    of_nothing = [one.goal.phrase.text for one in parsed.asked if one.object is None and one.goal]
    for text in (*unread, *of_nothing):
        for name in _mentions(text, known):
            if not known[name] & ({one for pair in _pairs(task) for one in pair} | _PLACES):
                return name
    return ""


def _pairs(task: Task) -> list[tuple[str, str]]:
    """The object of each goal, and where it is to lie; "" for nowhere."""
    own = task.source.name, task.target.name
    return [(goal.moved or own[0], goal.place or (own[1] if goal.kind == ON else "")) for goal in task.all_goals]


def _others(task: Task) -> set[str]:
    """The objects of the scene that `task` does not ask for."""
    return {spec.name for spec in task.objects} - {one for pair in _pairs(task) for one in pair}


def _denied_place(clause: str, task: Task, known: dict[str, set[str]]) -> bool:
    """Whether `clause` says that the target is not where something goes: "not on the plate"."""
    found = _NOT_THERE.search(clause)
    goal = _named(found["goal"], known) if found else ""
    return bool(goal and task.target.name in known[goal])


def _elsewhere(task: Task) -> str:
    return f"asks for another place than {_on(task)} the {_plain(task.target.name)}"


def _denies(clause: str, task: Task, known: dict[str, set[str]], named: set[str], *, alone: bool) -> bool:
    """Whether `clause`, which says what is not to be done, denies the task.

    named: the roles that the other clauses name. Where they ask for the target, a warning ("do not drop the carrot")
    denies nothing, unless it is the task itself that is not to be done. alone: whether there is no other clause.
    """
    own = {task.source.name, task.target.name} if alone else {task.source.name}
    found = _NOT_DONE.search(clause)
    goal = _goal(f"put{found['rest']}", known) if found else ""
    moved = any(known[name] & own for name in _mentions(clause, known))
    return (moved and "place" not in named) or bool(goal and task.target.name in known[goal])


def _goal(text: str, known: dict[str, set[str]]) -> str:
    """The known name of the last goal in `text`; "" for none."""
    goals = [clause.goal.phrase.text for clause in parse(text).clauses if clause.goal]
    return _named(goals[-1], known) if goals else ""


def _names(task: Task) -> dict[str, set[str]]:
    """Name in an instruction -> the objects (`ObjectSpec.name`) it may mean."""
    names: dict[str, set[str]] = {place: {place} for place in _PLACES}
    for one in (*TASKS.values(), task):
        called_so = steps_of(one.instruction)
        told = ("", "") if one.goals else (called_so.object_name, called_so.goal)
        pairs = zip((one.source, one.target), told, strict=True)
        for spec, called in (*pairs, *((spec, "") for spec in one.others)):
            for name in filter(None, (_plain(spec.name), _DESCRIPTION.split(_plain(called), maxsplit=1)[0])):
                names.setdefault(name, set()).add(spec.name)
    # "carrot" may mean a task's own "big carrot".
    for name, objects in names.items():
        for spec in task.objects:
            own = [other for other, meant in names.items() if spec.name in meant]
            if any(re.search(rf"\b{re.escape(name)}\b", other) for other in own):
                objects.add(spec.name)
    return names


def _mentions(text: str, known: dict[str, set[str]]) -> list[str]:
    """The known names in `text`, in order; of names inside one another the longest."""
    pattern = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return [match[1] for match in re.finditer(rf"\b({pattern})s?\b", _COMPOUND.sub(r"\1", text))]


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
    return words.strip(" .!?\u3002\u0964")


def _refusal(instruction: str, task: Task, problem: str) -> str:
    fitting = [
        one for one in TASKS.values() if one.name != task.name and _compare(_plain(instruction), one) == ("", True)
    ]
    way = "No built-in task fits it: ask for the task in other words, or add a task of your own"
    if fitting:
        way = f"Run the task that it fits, {fitting[0].name} ({fitting[0].env_id}), with it"
    wanted = " and ".join(
        f"the {_plain(moved)} {_on(task)} the {_plain(place)}" if place else f"holding the {_plain(moved)}"
        for moved, place in _pairs(task)
    )
    return f"The instruction {instruction!r} {problem}; {task.name} is judged by {wanted}. {way}."


def _on(task: Task) -> str:
    return "in" if task.target.container else "on"
