"""What a recording tells about whether a subtask was done, for the verifier's examples."""

from __future__ import annotations

from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.language.prompts import ADVANCE, RETRY
from vlm2vla_sim.language.steps import steps_of


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
    whole = {_plain(trajectory.instruction), _plain(trajectory.instruction_en)}
    steps = steps_of(trajectory.instruction, trajectory.instruction_en).steps
    if len(steps) == 1 and steps[0].object_name:
        whole.add(_plain(steps[0].put if steps[0].goal else steps[0].grasp))
    return _plain(subtask) in whole


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
