"""All prompts: the three stages of a decision and the verifier's question, the same in training and evaluation.

A model performs worse with another wording than that of its training. So all prompts are made here, and `prompts_hash`
is recorded in results and adapters: runs with the same hash used the same prompts. The paper's prompts are not public;
the wording is this package's. The stages, their inputs and the axis convention follow the paper (Hancock et al.,
"Actions as Language", arXiv 2509.22195, section 3).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import FORMATS, ActionFormat, get_format, properties_of
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS
from vlm2vla_sim.language.words import WORDS

MAX_SUBTASKS = 8
"""The most subtasks of an answer; the tasks need four at most."""

ADVANCE, RETRY = "advance", "retry"
"""The verifier's two answers."""

_AXES = (
    "The axes are those of the robot's base: x is forward (away from the robot), y is left and z is up, as the robot "
    "sees it. Roll is a right-handed turn of the gripper about x, pitch about y, yaw about z."
)

_SUBTASKS = (
    "The picture shows a robot arm. Its task: {instruction}\n"
    "Which subtasks does it take, one after the other? Answer with a numbered list of at most {most} short lines."
)

_PLAN = (
    "The picture shows a robot arm. Its subtask: {subtask}\n"
    "{state}"
    "How does the gripper have to move now? Answer with one sentence that names directions (forward, backward, left, "
    "right, up, down, tilt, rotate) and what the gripper does (open or close), without numbers."
)

_GROUNDED_PLAN = (
    "The picture shows a robot arm. Its subtask: {subtask}\n"
    "{state}"
    "Where does the gripper have to go, and how? First say where the thing is that it goes to: x, y, z in cm and how "
    "many degrees it is turned. Then say how far it is: the place above the thing minus that of the gripper. Then name "
    "directions and what the gripper does."
)

_STATE = "The gripper is at {x}, {y}, {z} cm, turned {turn} degrees, and {opening} percent open.\n"

_ACTION = (
    "The picture shows a robot arm. Its subtask: {subtask}\n"
    "{state}"
    "{plan}"
    "Write the motion of the gripper that does this. {axes} Steps are carried out one after the other; in each, the "
    "gripper first moves, then opens or closes. A step moves at most {most_cm} cm along each axis and turns at most "
    "{most_degrees} degrees about it, and there are at most {most_rows} steps. {rules}\n"
    "Example: {example}\n"
    "Answer with the action only."
)

_OWN_ACTION = (
    "The picture shows a robot arm. Its subtask: {subtask}\n"
    "{state}"
    "{plan}"
    "{rules} {axes}\n"
    "Example: {example}\n"
    "Answer with the action only."
)
"""For a format whose rules say everything (`FormatProperties.own_prompt`)."""

_VERIFY = (
    "The first picture shows a robot arm before it acted, the second after.\n"
    "It was to do this: {current}\n"
    "{following}\n"
    "{state}"
    "Is it done? Answer with one word: {advance} if it is done, {retry} if it has to be tried again."
)


_DIRECTION = (
    "The first picture shows a robot arm, the second the same arm a moment later.\n"
    "Did the gripper move to the left or to the right, as the robot sees it? Answer with one word: {left}, {right}, or "
    "{none} if it did neither."
)

NO_DIRECTION = "none"
"""The answer for a gripper that went neither left nor right."""


def subtasks_prompt(instruction: str) -> str:
    """Stage 1, asked once, with the first image: the subtasks of the task."""
    return _SUBTASKS.format(instruction=_one_line(instruction, "instruction"), most=MAX_SUBTASKS)


def plan_prompt(subtask: str, *, state: str = "", grounded: bool = False) -> str:
    """Stage 2, with the present image: the motion plan as a sentence, without numbers as in the paper.

    Two additions for small models, not in the paper: `state` (see `describe_state`) says where the gripper is, and a
    `grounded` plan begins with the position of the object and its distance from the gripper.
    """
    subtask = _one_line(subtask, "subtask")
    if grounded:
        return _GROUNDED_PLAN.format(subtask=subtask, state=state)
    return _PLAN.format(subtask=subtask, state=state)


def action_prompt(subtask: str, plan: str, action_format: ActionFormat, *, state: str = "") -> str:
    """Stage 3, with the present image: the motion in `action_format`. An empty `plan` or `state` is left out.

    Without reasoning (the paper's variant VLM2VLA-NR), `subtask` is the instruction and `plan` is empty.
    """
    template = _OWN_ACTION if properties_of(action_format).own_prompt else _ACTION
    return template.format(
        subtask=_one_line(subtask, "subtask"),
        state=state,
        plan=f"Its motion plan: {_one_line(plan, 'plan')}\n" if plan else "",
        axes=_AXES,
        most_cm=COLUMNS[0].limit,
        most_degrees=COLUMNS[3].limit,
        most_rows=MAX_ROWS,
        rules=action_format.rules,
        example=action_format.example,
    )


def describe_state(state: np.ndarray) -> str:
    """The gripper's pose as a line for a prompt. state: (7,) as an observation's `agent_pos`.

    Rounded to whole cm, 5 degrees and tenths of the opening; known on the real arm as well as in simulation.
    """
    x, y, z = (round(100 * float(value)) for value in state[:3])
    turn = 5 * round(math.degrees(float(state[5])) / 5)
    return _STATE.format(x=x, y=y, z=z, turn=turn, opening=10 * round(10 * float(state[6])))


def verify_prompt(current: str, following: str, *, state: str = "") -> str:
    """The verifier's question about two images, before and after; `following` is empty after the last subtask.

    state: the gripper's pose in the second image (see `describe_state`), or empty.
    """
    after = f"After that comes: {_one_line(following, 'next subtask')}" if following else "That is the last subtask."
    current = _one_line(current, "current subtask")
    return _VERIFY.format(current=current, following=after, state=state, advance=ADVANCE, retry=RETRY)


def axes() -> str:
    """The text of the axis convention, for the labelling prompt."""
    return _AXES


def direction_prompt() -> str:
    """The question about two images, before and after: left, right or neither. For training only."""
    return _DIRECTION.format(left=WORDS[1].plus, right=WORDS[1].minus, none=NO_DIRECTION)


def prompts_hash() -> str:
    """SHA-256 (hexadecimal) of all prompts, with placeholders for what a task or a model fills in.

    It covers every format of `FORMATS` at its default resolution; a run's resolution is a separate setting, and what
    a format of `DIALECTS` says is recorded with the results.
    """
    formats = [get_format(name, symbols="abcdefghij" if name == "tokens" else None) for name in FORMATS]
    state = describe_state(np.arange(7) / 10)
    sent = [
        subtasks_prompt("<instruction>"),
        plan_prompt("<subtask>"),
        plan_prompt("<subtask>", state=state, grounded=True),
        *(action_prompt("<subtask>", plan, action_format) for action_format in formats for plan in ("<plan>", "")),
        action_prompt("<subtask>", "<plan>", formats[0], state=state),
        *(verify_prompt("<current>", following) for following in ("<next>", "")),
        verify_prompt("<current>", "", state=state),
        direction_prompt(),
    ]
    return hashlib.sha256("\0".join(sent).encode()).hexdigest()


def _one_line(text: str, what: str) -> str:
    """`text` on one line, so that it cannot be taken for another part of the prompt."""
    line = " ".join(text.split())
    if not line:
        raise SettingError(f"The {what} is empty; expected a few words, for example 'put carrot on plate'.")
    return line
