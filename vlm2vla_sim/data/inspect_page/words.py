"""Which verbs and things the instruction and the subtasks of a trajectory name."""

from __future__ import annotations

from collections.abc import Sequence

from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.language.instruction_parser import parse

NOT_READ = "(not read)"


def instruction_words(labelled: LabelledTrajectory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The verbs of the instruction, and the objects that it names; `NOT_READ` where it is not understood."""
    trajectory = labelled.trajectory
    asked = parse(trajectory.instruction_en or trajectory.instruction).asked
    verbs = dict.fromkeys(clause.verb for clause in asked)
    objects = dict.fromkeys(clause.object.text for clause in asked if clause.object)
    return tuple(verbs) or (NOT_READ,), tuple(objects) or (NOT_READ,)


def first_words(texts: Sequence[str]) -> tuple[str, ...]:
    """The first word of each text: the verb of a subtask."""
    return tuple(words[0].strip(".,;:!").lower() for text in texts if (words := text.split()))
