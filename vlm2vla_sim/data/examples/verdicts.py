"""What a recording tells about whether a subtask was done, for the verifier's examples."""

from __future__ import annotations

from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.language.instructions import parse_instruction
from vlm2vla_sim.language.prompts import ADVANCE, RETRY


def verdict_after(labelled: LabelledTrajectory, number: int) -> str | None:
    """Whether the subtask of phase `number` is done after that phase: `ADVANCE`, `RETRY`, or None where nobody knows.

    After the last phase of a subtask it is done, and after an earlier one it is not. A subtask that comes again after
    another one may have been undone. In a demonstration that failed, only what the instruction asks for as a whole is
    known, at the end: it is not done; the gripper may have grasped the object all the same.
    """
    phase, later = labelled.phases[number], labelled.phases[number + 1 :]
    if any(other.subtask == phase.subtask for other in later):
        return RETRY if later[0].subtask == phase.subtask else None
    if labelled.trajectory.success is not False:
        return ADVANCE
    return RETRY if not later and _is_all_that_is_asked(phase.subtask, labelled.trajectory) else None


def _is_all_that_is_asked(subtask: str, trajectory: Trajectory) -> bool:
    """Whether `subtask` is all that the instruction asks for, and not a step on the way."""
    parsed = parse_instruction(trajectory.instruction, trajectory.instruction_en)
    last = parsed.put if parsed.goal else parsed.grasp if parsed.object_name else parsed.instruction
    return _plain(subtask) in {_plain(last), _plain(trajectory.instruction), _plain(trajectory.instruction_en)}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
