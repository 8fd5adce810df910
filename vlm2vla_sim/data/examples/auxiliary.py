"""Auxiliary questions: is the subtask done, and in which direction did the gripper move?

The paper adds them to the training data (arXiv 2509.22195, appendix 6.2): a model that never saw an unfinished subtask
answers "done" for every image. The answers come from the labels and the measured motion.
"""

from __future__ import annotations

from collections.abc import Iterator

from vlm2vla_sim.data.episode import Example, LabelledTrajectory
from vlm2vla_sim.language.prompts import ADVANCE, NO_DIRECTION, RETRY, direction_prompt, verify_prompt
from vlm2vla_sim.language.words import WORDS

SIDEWAYS = 0.025
"""[m] smallest lateral motion that counts as left or right. The paper's threshold for moves."""
LEFT_RIGHT = WORDS[1]


def subtask_examples(labelled: LabelledTrajectory) -> Iterator[Example]:
    """For every subtask, one pair of images after which it is done, and one after which it is not.

    Of a demonstration that failed only the second, because nobody knows which of its subtasks were done.
    """
    trajectory = labelled.trajectory
    for number, subtask in enumerate(labelled.subtasks):
        phases = [phase for phase in labelled.phases if phase.subtask == subtask]
        start, stop = phases[0].start, phases[-1].stop
        following = labelled.subtasks[number + 1] if number + 1 < len(labelled.subtasks) else ""
        prompt = verify_prompt(subtask, following)
        # Not done: before the phase that completes it, or half-way if there is only one phase.
        undone = phases[-1].start if len(phases) > 1 else (start + stop) // 2
        for frame, verdict in ((stop, ADVANCE), (undone, RETRY)):
            known = verdict == RETRY or trajectory.success is not False
            if known and start < frame < len(trajectory):
                images = (trajectory.images[start], trajectory.images[frame])
                yield Example("verify", images, prompt, verdict)


def direction_examples(labelled: LabelledTrajectory) -> Iterator[Example]:
    """For every phase: did the gripper move left, right, or neither, from the first image to the second?"""
    trajectory = labelled.trajectory
    for phase in labelled.phases:
        if phase.stop >= len(trajectory):
            continue
        lateral = float(trajectory.states[phase.stop, 1] - trajectory.states[phase.start, 1])
        answer = NO_DIRECTION if abs(lateral) < SIDEWAYS else LEFT_RIGHT.plus if lateral > 0 else LEFT_RIGHT.minus
        images = (trajectory.images[phase.start], trajectory.images[phase.stop])
        yield Example("direction", images, direction_prompt(), answer)
