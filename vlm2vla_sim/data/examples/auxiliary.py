"""Questions beside the three stages: is the subtask done, and which way did the gripper go?

The paper adds them to the training text (arXiv 2509.22195, appendix 6.2): a model that never saw a subtask undone says
of every picture that it is done. Answers come from the labels and the measured motion, never from a guess.
"""

from __future__ import annotations

from collections.abc import Iterator

from vlm2vla_sim.data.episode import Example, Labelled
from vlm2vla_sim.language.prompts import ADVANCE, NO_DIRECTION, RETRY, direction_prompt, verify_prompt
from vlm2vla_sim.language.words import WORDS

SIDEWAYS = 0.025
"""[m] to the left or right; less is neither. The threshold of the paper's moves."""
LEFT_RIGHT = WORDS[1]


def subtask_examples(labelled: Labelled) -> Iterator[Example]:
    """For every subtask one pair of pictures after which it is done, and one after which it is not yet."""
    trajectory = labelled.trajectory
    for number, subtask in enumerate(labelled.subtasks):
        phases = [phase for phase in labelled.phases if phase.subtask == subtask]
        start, stop = phases[0].start, phases[-1].stop
        following = labelled.subtasks[number + 1] if number + 1 < len(labelled.subtasks) else ""
        prompt = verify_prompt(subtask, following)
        # Where it is not done: before the phase that ends it, or half way where there is only that one.
        undone = phases[-1].start if len(phases) > 1 else (start + stop) // 2
        for frame, verdict in ((stop, ADVANCE), (undone, RETRY)):
            if start < frame < len(trajectory):
                pictures = (trajectory.pictures[start], trajectory.pictures[frame])
                yield Example("verify", pictures, prompt, verdict)


def direction_examples(labelled: Labelled) -> Iterator[Example]:
    """For every phase: did the gripper go left, right, or neither, from the one picture to the other?"""
    trajectory = labelled.trajectory
    for phase in labelled.phases:
        if phase.stop >= len(trajectory):
            continue
        aside = float(trajectory.states[phase.stop, 1] - trajectory.states[phase.start, 1])
        answer = NO_DIRECTION if abs(aside) < SIDEWAYS else LEFT_RIGHT.plus if aside > 0 else LEFT_RIGHT.minus
        pictures = (trajectory.pictures[phase.start], trajectory.pictures[phase.stop])
        yield Example("direction", pictures, direction_prompt(), answer)
