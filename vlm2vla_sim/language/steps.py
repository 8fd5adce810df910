"""The subtasks that follow from an instruction, in the words that labels have.

They are those of the scripted policy, which knows its objects from the scene: both say "put the carrot on the plate".
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.language.instruction_parser import Clause, Parsed, Place, parse
from vlm2vla_sim.language.instruction_parser.sets import words

_AS_PUT = words("place move stack set drop transfer bring take get lift keep lay return position relocate") | {
    *("put", "pick up", "grasp", "grab", "carry", "deliver", "remove", "reach", "shift")
}
"""Verbs of which the second subtask says "put", as SIMPLER's instructions do."""
_SAID = {"in": "into", "left of": "to the left of", "right of": "to the right of"}
"""Relations whose words in a subtask are others."""


@dataclass(frozen=True)
class Step:
    """One object that is to be moved, and where to. What the instruction does not name is empty."""

    object_name: str = ""
    """Without an article: "carrot"."""
    relation: str = ""
    """To the goal, as in `instruction_parser.Place`."""
    goal: str = ""
    """Without an article."""
    verb: str = "put"

    @property
    def object_phrase(self) -> str:
        """The object as plans name it: "the carrot"."""
        return f"the {self.object_name or 'object'}"

    @property
    def goal_phrase(self) -> str:
        """The goal as plans name it.

        >>> Step("cup", "at", "left side of table").goal_phrase, Step("cup", "to", "left").goal_phrase
        ('the left side of the table', 'its goal')
        >>> Step("cup", "next to", "red spoon").goal_phrase
        'the place next to the red spoon'
        >>> Step("pot", "left of", "you").goal_phrase, Step("cloth", "in", "half", "fold").put
        ('the place to the left of you', 'fold the cloth in half')
        """
        if self._is_way or not self.goal or self.goal.startswith("half"):  # a cloth is folded in half: no place
            return "its goal"
        name = _definite(self.goal, self.relation)
        if self.relation in ("on", "in", "at", "to", "toward"):
            return name
        return f"the place {_SAID.get(self.relation, self.relation)} {name}"

    @property
    def grasp(self) -> str:
        """The subtask that ends when the gripper has closed."""
        return f"grasp {self.object_phrase}"

    @property
    def put(self) -> str:
        """The subtask that ends when the gripper has opened again.

        >>> Step("carrot", "in", "pot").put, Step("carrot", "to", "left", "push").put, Step("drawer", verb="open").put
        ('put the carrot into the pot', 'push the carrot to the left', 'open the drawer')
        """
        verb = "put" if self.verb in _AS_PUT else self.verb
        if not self.goal:
            return f"{verb} {self.object_phrase}" if verb != "put" else f"move {self.object_phrase} and let it go"
        if self.relation == "to" and verb == "put":
            verb = "move"
        relation = "in" if self.goal.startswith("half") else _SAID.get(self.relation, self.relation)
        if self._is_way:
            return f"{verb} {self.object_phrase} {_way(self.goal)}"
        return f"{verb} {self.object_phrase} {relation} {_definite(self.goal, self.relation)}"

    @property
    def _is_way(self) -> bool:
        return self.relation == "to" and set(self.goal.split()) <= _WAYS


_WITHOUT_ARTICLE = ("half", "two", "three", "both", "you", "yourself", "itself")
_WAYS = words("left right up down forward forwards backward backwards top bottom front back clockwise") | {
    *("counterclockwise", "anticlockwise", "sideways", "upwards", "downwards", "vertical", "horizontal", "far")
}


@dataclass(frozen=True)
class Steps:
    """What an instruction asks for, in the order in which it says it."""

    instruction: str
    steps: tuple[Step, ...] = ()
    """Empty where the instruction is not understood."""

    @property
    def object_name(self) -> str:
        """That of the first step; "" where none is named."""
        return next((step.object_name for step in self.steps if step.object_name), "")

    @property
    def goal(self) -> str:
        """That of the last step that has one; "" where none is named."""
        return next((step.goal for step in reversed(self.steps) if step.goal), "")

    def of_hold(self, number: int, holds: int) -> Step | None:
        """The step of hold `number` of `holds`, from 0; None where it is not sure which it is.

        One step is carried out by all of them: an object may be grasped again.
        """
        if len(self.steps) == 1:
            return self.steps[0] if self.steps[0].object_name else None
        if len(self.steps) != holds or number >= holds:
            return None
        return self.steps[number] if self.steps[number].object_name else None


def steps_of(instruction: str, english: str = "") -> Steps:
    """What `instruction` asks for; no steps where it is not clear.

    english: the same instruction in English, where it is known. It is read instead if `instruction`, which may be in
    another language, does not name an object and a goal.

    >>> step = steps_of("Put the eggplant into yellow basket.").steps[0]
    >>> step.grasp, step.put
    ('grasp the eggplant', 'put the eggplant into the yellow basket')
    >>> [step.put for step in steps_of("take the cup out of the drawer and put it next to the red spoon").steps]
    ['put the cup next to the red spoon']
    >>> steps_of("do the thing with the beans").steps
    ()
    """
    found = Steps(instruction, _steps(parse(instruction)))
    if english and not (found.object_name and found.goal):
        translated = Steps(instruction, _steps(parse(english)))
        return translated if translated.object_name else found
    return found


def _steps(parsed: Parsed) -> tuple[Step, ...]:
    if not parsed.is_clear:
        return ()
    steps: list[Step] = []
    for clause in parsed.asked:
        step = _step(clause)
        last = steps[-1] if steps else None
        if last and last.object_name == step.object_name and not last.goal:
            steps.pop()  # "pick up the cup and put it on the tray"
        steps.append(step)
    return tuple(steps)


def _step(clause: Clause) -> Step:
    name = clause.object.text if clause.object else ""
    goal = clause.goal
    if goal and goal.phrase.at:
        return Step(name, goal.relation, _nested(goal), clause.verb)
    return Step(name, goal.relation if goal else "", goal.phrase.text if goal else "", clause.verb)


def _nested(goal: Place) -> str:
    """The goal with where it is: "pot on the stove"."""
    at = goal.phrase.at
    if at is None:
        return goal.phrase.text
    relation = {"left of": "to the left of", "right of": "to the right of"}.get(at.relation, at.relation)
    return f"{goal.phrase.text} {relation} {_definite(_nested(at), at.relation)}"


def _definite(text: str, relation: str) -> str:
    """`text` with its articles: "the left side of the table", "the can and the cloth"."""
    if relation == "at":
        text = text.replace(" of ", " of the ")
    if relation in ("between", "on", "in"):
        text = text.replace(" and ", " and the ")
    return text if text.split()[0] in _WITHOUT_ARTICLE else f"the {text}"


def _way(goal: str) -> str:
    return (
        goal
        if goal in ("up", "down", "forward", "forwards", "backward", "backwards", "clockwise")
        else (goal if goal.endswith(("wards", "wise", "ways")) else f"to the {goal}")
    )
