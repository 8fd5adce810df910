"""How far the labels of a model and those of rules say the same of one trajectory.

Neither is the truth: a low agreement says where to look.
"""

from __future__ import annotations

import itertools
import re

import numpy as np

from vlm2vla_sim.data.episode import Agreement, LabelledTrajectory, Phase
from vlm2vla_sim.language.plan_reader import direction_name, read_motion

TOLERANCE = 0.6
"""[s] by which a border between phases may differ; about the time that the gripper takes to act."""
_OTHER_WORDS = (
    "the and then onto into from off out over its his her their object goal let grasp put pick place move take lift "
    "lower release carry bring reach push pull open close drop set with that this above near next"
)
_NOT_NAMES = frozenset(_OTHER_WORDS.split())


def compare_labels(by_model: LabelledTrajectory, by_rules: LabelledTrajectory) -> Agreement:
    """The agreement of two labellings of one trajectory; each share is None where there is nothing to compare."""
    differences: list[str] = []
    borders = _borders(by_model, by_rules, differences)
    directions = _directions(by_model, by_rules, differences)
    names = _names(by_model, by_rules, differences)
    return Agreement(borders, directions, names, tuple(differences))


def _borders(by_model: LabelledTrajectory, by_rules: LabelledTrajectory, differences: list[str]) -> float | None:
    """The share of the rules' borders between subtasks at which the model begins a phase."""
    near = TOLERANCE * by_rules.trajectory.fps
    starts = np.array([phase.start for phase in by_model.phases])
    pairs = itertools.pairwise(by_rules.phases)
    borders = [phase for before, phase in pairs if phase.subtask != before.subtask]
    missed = [phase for phase in borders if np.abs(starts - phase.start).min() > near]
    for phase in missed:
        differences.append(
            f"The rules begin {phase.subtask!r} at step {phase.start}; the model begins no phase within "
            f"{TOLERANCE:g} s of it."
        )
    return 1 - len(missed) / len(borders) if borders else None


def _directions(by_model: LabelledTrajectory, by_rules: LabelledTrajectory, differences: list[str]) -> float | None:
    """The share of the frames for which the two plans have a direction in common, where both name one.

    Frames between two borders that differ by less than the tolerance are left out.
    """
    agreed = compared = 0
    for one in by_rules.phases:
        for other in by_model.phases:
            frames = min(one.stop, other.stop) - max(one.start, other.start)
            if frames < TOLERANCE * by_rules.trajectory.fps:
                continue
            ours, theirs = read_motion(one.plan), read_motion(other.plan)
            if not ours.directions or not (theirs.directions or theirs.both):
                continue
            compared += frames
            if any(direction in theirs.directions or direction[0] in theirs.both for direction in ours.directions):
                agreed += frames
            else:
                differences.append(_direction_line(one, other))
    return agreed / compared if compared else None


def _direction_line(one: Phase, other: Phase) -> str:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    said = [" and ".join(map(direction_name, read_motion(phase.plan).directions)) for phase in (one, other)]
    return f"Steps {start} to {stop}: the rules say {said[0]}, the model says {said[1]}."


def _names(by_model: LabelledTrajectory, by_rules: LabelledTrajectory, differences: list[str]) -> float | None:
    """The share of the words with which the rules name things that the model's subtasks have too."""
    ours, theirs = _name_words(by_rules.subtasks), _name_words(by_model.subtasks)
    missing = sorted(ours - theirs)
    if missing:
        differences.append(f"No subtask of the model says {', '.join(map(repr, missing))}.")
    return 1 - len(missing) / len(ours) if ours else None


def _name_words(subtasks: tuple[str, ...]) -> set[str]:
    words = {word for subtask in subtasks for word in re.findall(r"[^\W\d_]{3,}", subtask.lower())}
    return words - _NOT_NAMES
