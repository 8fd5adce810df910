"""Whether an instruction asks for what the scene's task judges.

Success is judged by the task, whatever the policy was told. An instruction may put the task in other words or in
another language. One that asks for something else is refused: its success would count for the wrong thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vlm2vla_sim.core.goals import ON
from vlm2vla_sim.envs.instruction_names import PLACES, mentions, named, names_of, plain
from vlm2vla_sim.envs.tasks import SUITE_TASKS, TASKS, Task
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.instruction_parser import Clause, Parsed, parse
from vlm2vla_sim.language.translations import TRANSLATIONS

_VERB = r"(?:put|place|move|stack|set|drop|transfer|bring|push|pull|lay|leave|pick|take|grasp|grab|lift|get|touch)"
_NOT = r"(?:(?:do|must|should|shall|may|can|will)\s*n(?:o|')?t|cannot|never|avoid|without)"
_ON = r"(?:on|onto|in|into|inside|over)"
_CLAUSE = re.compile(
    rf"[;.!]+\s+|,?\s+(?:and\s+then|then|and|but)\s+(?=(?:{_NOT}\s+)?{_VERB}\b)|,\s+(?=(?:{_NOT}\s+)?{_VERB}\b)"
)
_NOT_DONE = re.compile(rf"\b{_NOT}\s+(?:\w+\s+)?(?:{_VERB}|plac|mov|leav|dropp)(?:t?ing)?\b(?P<rest>.*)")
_NOT_THERE = re.compile(rf"\b(?:not|anywhere but|nowhere)\s+{_ON}\s+(?P<goal>.+)")
_CAREFUL = re.compile(rf",?\s+without\s+(?!put|plac|stack|set|lay|leav)\w+ing\b.*?(?=\s{_ON}\b|$)")
"""What must not happen meanwhile."""
_LEFT_ALONE = re.compile(
    r"^(?:ignore|never mind|forget(?: about)?|leave(?=.*\s(?:alone|untouched|where|as)\b)|stay (?:away|clear)"
    r" (?:from|of)|(?:watch|look) out for|be careful with)\s"
)
"""A clause about what is not to be moved."""
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
    text = plain(instruction) if isinstance(instruction, str) else ""
    if text and (text in _wordings(task) or not judged):
        return True if text in _wordings(task) else None
    if not text:
        raise SettingError(f"The instruction is {instruction!r}; expected text, or leave it out for the task's own.")
    problem, complete = _compare(text, task)
    if problem:
        raise SettingError(_refusal(instruction, task, problem))
    return True if complete else None


def _compare(text: str, task: Task) -> tuple[str, bool]:
    """What in `text` contradicts `task` ("" for nothing), and whether it asks for it by the names of all objects."""
    if text in _wordings(task):
        return "", True
    for other in TASKS.values():
        if text in _wordings(other) and (other.source, other.target) != (task.source, task.target):
            return f"is that of {other.name}", False
    scene = {spec.name for spec in task.objects}
    for other in SUITE_TASKS.values():
        # Of another candidate of the same scene; that of `task` itself was looked for above.
        if text == plain(other.instruction) and {spec.name for spec in other.objects} == scene:
            return f"is that of {other.name}", False
    reading = _Reading(task, names_of(task))
    clauses = [one for one in _CLAUSE.split(text) if one]
    denied = [one for one in clauses if _NOT_DONE.search(_CAREFUL.sub("", one)) or _LEFT_ALONE.match(one)]
    kept = [_CAREFUL.sub("", one) for one in clauses if one not in denied]
    if any(reading.denies_the_place(one) for one in kept):
        return reading.elsewhere(), False
    parsed = parse(". ".join(kept))
    for clause in parsed.asked:
        if problem := reading.problem_of(clause):
            return problem, False
    if strange := reading.strange(parsed):
        return f"names the {strange}", False
    if any(reading.denies(one, alone=not kept) for one in denied):
        return "says what is not to be done", False
    return ("asks for it in another order", False) if reading.is_disordered else ("", reading.is_complete)


@dataclass(frozen=True)
class _Wanted:
    """One goal of a task, by the names of its objects."""

    moved: str
    place: str
    """Empty where the object is only to be lifted."""


class _Reading:
    """What the clauses of an instruction ask for, compared with the goals of a task."""

    def __init__(self, task: Task, known: dict[str, set[str]]) -> None:
        self._task, self._known = task, known
        self._own = {spec.name for spec in task.objects}
        self._goals = [
            _Wanted(goal.moved or task.source.name, (goal.place or task.target.name) if goal.kind == ON else "")
            for goal in task.all_goals
        ]
        self._named: list[tuple[int, str]] = []
        """(goal, "moved" or "place"), in the order in which they are named."""

    def problem_of(self, clause: Clause) -> str:
        """What in `clause` contradicts the task; "" for nothing."""
        known = self._known
        if clause.object is None and clause.verb == "move":
            return ""  # the gripper
        thing = named(clause.object.text, known) if clause.object else ""
        thing = "" if thing and known[thing] <= PLACES else thing
        goals = [n for n, goal in enumerate(self._goals) if not thing or goal.moved in known[thing]]
        if not goals:
            return f"names the {thing} as the object"
        if thing:
            self._name(thing, goals, "moved")
        left = named(clause.source.phrase.text, known) if clause.source and clause.source.relation == "from" else ""
        if left and any(self._goals[n].place in known[left] for n in goals):
            return self.elsewhere()
        if clause.goal is None:
            return ""
        place = named(clause.goal.phrase.text, known)
        if place and clause.relation not in _THERE:
            return self.elsewhere()
        goals = [n for n in goals if place and self._goals[n].place in known[place]]
        if place and not goals:
            return f"names the {place} as the place"
        over = clause.relation == "above" and clause.verb == "move"  # on the way, not there
        if place and not clause.goal.phrase.pronoun and not over:
            self._name(place, goals, "place")
        return ""

    def _name(self, name: str, goals: list[int], role: str) -> None:
        """Note that `name` names `role` of one of `goals`, if it can mean one object of the task only."""
        if len(self._known[name] & self._own) == 1:
            self._named += [(goal, role) for goal in goals]

    @property
    def is_complete(self) -> bool:
        """Whether all objects of all goals are named."""
        wanted = {(n, role) for n, goal in enumerate(self._goals) for role in ("moved", "place") if getattr(goal, role)}
        return wanted <= set(self._named)

    @property
    def is_disordered(self) -> bool:
        """Whether the task has an order, and the clauses another one."""
        goals = [goal for goal, role in self._named if role == "moved"]
        first = list(dict.fromkeys(goals))
        return self._task.ordered and len({goal.moved for goal in self._goals}) > 1 and first != sorted(first)

    def strange(self, parsed: Parsed) -> str:
        """The known object that is not of a goal and of which it is not understood what is said; "" for none."""
        unread = [part.text for part in parsed.unread if not part.is_remark]
        of_nothing = [one.goal.phrase.text for one in parsed.asked if one.object is None and one.goal]
        own = {name for goal in self._goals for name in (goal.moved, goal.place)} | PLACES
        found = [name for text in (*unread, *of_nothing) for name in mentions(text, self._known)]
        return next((name for name in found if not self._known[name] & own), "")

    def denies_the_place(self, clause: str) -> bool:
        """Whether `clause` says that a target is not where something goes: "not on the plate"."""
        found = _NOT_THERE.search(clause)
        return bool(found) and self._is_place(named(found["goal"], self._known))

    def denies(self, clause: str, *, alone: bool) -> bool:
        """Whether `clause`, which says what is not to be done, denies the task.

        Where other clauses ask for a target, a warning ("do not drop the carrot") denies nothing, unless it is the task
        itself that is not to be done. alone: whether there is no other clause.
        """
        own = {name for goal in self._goals for name in ((goal.moved, goal.place) if alone else (goal.moved,))}
        found = _NOT_DONE.search(clause)
        goal_said = _goal(f"put{found['rest']}", self._known) if found else ""
        moved = any(self._known[name] & own for name in mentions(clause, self._known))
        role = "place" if any(goal.place for goal in self._goals) else "moved"
        return (moved and all(one != role for _, one in self._named)) or self._is_place(goal_said)

    def _is_place(self, name: str) -> bool:
        return bool(name) and any(goal.place in self._known[name] for goal in self._goals)

    def elsewhere(self) -> str:
        """That a target is not where something is to go."""
        return f"asks for another place than {' or '.join(_places(self._task))}"


def _goal(text: str, known: dict[str, set[str]]) -> str:
    """The known name of the last goal in `text`; "" for none."""
    goals = [clause.goal.phrase.text for clause in parse(text).clauses if clause.goal]
    return named(goals[-1], known) if goals else ""


def _wordings(task: Task) -> set[str]:
    translated = TRANSLATIONS.get(task.instruction, {}).values()
    return {plain(task.instruction), *(plain(one.text) for one in translated)}


def _refusal(instruction: str, task: Task, problem: str) -> str:
    fitting = [
        one for one in TASKS.values() if one.name != task.name and _compare(plain(instruction), one) == ("", True)
    ]
    way = "No built-in task fits it: ask for the task in other words, or add a task of your own"
    if fitting:
        way = f"Run the task that it fits, {fitting[0].name} ({fitting[0].env_id}), with it"
    wanted = (" and then " if task.ordered else " and ").join(_asked(task))
    return f"The instruction {instruction!r} {problem}; {task.name} is judged by {wanted}. {way}."


def _asked(task: Task) -> list[str]:
    """What is to be reached, in words: "the carrot on the plate"."""
    places = iter(_places(task))
    return [
        f"the {moved} {next(places)}" if goal.kind == ON else f"holding the {moved}"
        for goal in task.all_goals
        for moved in (plain(goal.moved or task.source.name),)
    ]


def _places(task: Task) -> list[str]:
    """Where things are to be put, in words: "on the plate"."""
    specs = {spec.name: spec for spec in task.objects}
    wanted = [specs[goal.place] if goal.place else task.target for goal in task.all_goals if goal.kind == ON]
    return [f"{'in' if spec.container else 'on'} the {plain(spec.name)}" for spec in wanted]
