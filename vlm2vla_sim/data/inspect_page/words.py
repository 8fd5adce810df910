"""Which verbs and things the instruction and the subtasks of a trajectory name."""

from __future__ import annotations

from collections.abc import Sequence

from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.language.instructions import parse_instruction

NOT_READ = "(not read)"


def instruction_words(labelled: LabelledTrajectory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The verbs of the instruction, and the objects that it names; `NOT_READ` for one that is not understood."""
    trajectory = labelled.trajectory
    english = trajectory.instruction_en or trajectory.instruction
    name = parse_instruction(english).object_name
    return (first_words([english]) or (NOT_READ,)), (name.lower() or NOT_READ,)


def first_words(texts: Sequence[str]) -> tuple[str, ...]:
    """The first word of each text: the verb of a subtask."""
    return tuple(words[0].strip(".,;:!").lower() for text in texts if (words := text.split()))
