"""The prompts of a model that was never trained on robot actions: they say what training would have taught.

A zero-shot prompt holds the axes, where the camera is and how directions appear in its picture, the box that the arm
reaches, the height of the table, and where the gripper is; and how an answer is written. `zero_shot_answers` reads the
answer. These prompts are separate from those of `prompts`, with which models are trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.pinhole import PinholeCamera, SceneGeometry
from vlm2vla_sim.language.formats import ActionFormat, get_format, properties_of
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS
from vlm2vla_sim.language.prompts import axes
from vlm2vla_sim.language.zero_shot_scene import OVERLAYS, ZeroShotFacts, describe_place, describe_state

DONE = "done"
"""The action of an answer that says that there is nothing left to do."""
LONGEST_STEP, GRIPPER_STEPS = 0.025, 3
"""[m] of a control step, and control steps in which the gripper opens or closes (`envs.motion.StepLimits`)."""

_INTRODUCTION = (
    "You control a robot arm with a two-finger gripper. You see a picture and write the next motion of the gripper as "
    "text. The motion is carried out, then you see a new picture.\n"
)
_MOTION = (
    "{relative}{rules} {limits}The arm needs a fifth of a second for {stride:g} cm and {waits} fifths to open or "
    "close; {time}Write whole motions, not small ones.\n"
    "Example: {example}\n"
)
_RELATIVE = "A motion is relative: it is added to the place to which the gripper was last sent. "
_LIMITS = (
    "Steps are carried out one after the other; in each, the gripper first moves, then opens or closes. A step moves "
    "at most {most_cm} cm along each axis and turns at most {most_degrees} degrees about it, and there are at most "
    "{most_rows} steps. "
)
_TIME = "the task has to be done within {steps} fifths of a second. "
_ADVICE = (
    "To move an object: open the gripper and go above the object; turn so that the fingers close across its narrow "
    "side; lower the gripper until the object is between the fingers; close it; lift; go above the place; lower; open; "
    "go up. Look at each picture whether the last motion did what it was for, and repeat what failed.\n"
)
_ANSWER = (
    "Answer with these four lines and nothing else:\n"
    "Scene: where the objects and the gripper are, x, y, z in cm, and what is already done.\n"
    "Subtask: what you do next, in a few words.\n"
    "Plan: one sentence that names directions (forward, backward, left, right, up, down, rotate) and what the gripper "
    "does (open or close), without numbers.\n"
    "Action: the motion.\n"
    "When the task is done, write the four lines with: Action: {done}\n"
)
_ANSWER_ONLY = (
    "Answer with one line and nothing else:\nAction: the motion.\nWhen the task is done, write: Action: {done}\n"
)
_REPEAT = (
    "Your last answer was:\n{answer}\nIt could not be used: {problem}\nAnswer again in the form that is asked for.\n"
)
SHOWN = 600
"""Characters of an earlier answer that is shown again."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One decision as the prompt shows it: a picture, the gripper's state, the answer and what came of it."""

    picture: np.ndarray
    """(H, W, 3) uint8 RGB, before the motion."""
    state: str
    """As `describe_state`."""
    answer: str
    note: str = ""
    """What came of it, where that is not plain: why the answer could not be used."""
    task: str = ""
    """The instruction, of an example; empty in the present episode."""


@dataclass(frozen=True, eq=False)
class ZeroShotPrompt:
    """A prompt with its pictures."""

    text: str
    pictures: tuple[np.ndarray, ...]
    places: tuple[int, ...]
    """For each picture, the index in `text` of the character before which it stands."""


def rules_prompt(action_format: ActionFormat, facts: ZeroShotFacts, *, reasoning: bool = True) -> str:
    """The part that is the same in every prompt of a task, so that a server can keep it in its cache.

    reasoning: ask for the scene, a subtask and a plan before the action.
    """
    properties = properties_of(action_format)
    limits = _LIMITS.format(most_cm=COLUMNS[0].limit, most_degrees=COLUMNS[3].limit, most_rows=MAX_ROWS)
    motion = _MOTION.format(
        relative="" if properties.goals else _RELATIVE,
        rules=action_format.rules,
        limits="" if properties.own_prompt else limits,
        stride=100 * LONGEST_STEP,
        waits=GRIPPER_STEPS,
        time=_TIME.format(steps=facts.steps) if facts.steps else "",
        example=action_format.example,
    )
    answer = (_ANSWER if reasoning else _ANSWER_ONLY).format(done=DONE)
    return "".join([_INTRODUCTION, axes(), "\n", describe_place(facts), motion, _ADVICE, answer])


def zero_shot_prompt(
    rules: str,
    instruction: str,
    now: Turn,
    *,
    examples: Sequence[Turn] = (),
    history: Sequence[Turn] = (),
    number: int = 1,
) -> ZeroShotPrompt:
    """The prompt of one decision, the same parts first so that servers can keep them in their caches.

    rules: see `rules_prompt`. now: the present picture and state; its `answer` is one that could not be used, `note`
    says why, and both are empty at the first try. number: of the decision in its episode, from 1; the last of `history`
    is the one before.
    """
    task = " ".join(instruction.split())
    pieces: list[str | np.ndarray] = [rules]
    for index, example in enumerate(examples, start=1):
        pieces += [f"\nExample {index}. The task: {example.task}\n", *_shown(example)]
        pieces.append(f"A good answer:\n{example.answer.strip()}\n")
    pieces.append(f"\nNow your task: {task}\n")
    for index, turn in enumerate(history, start=number - len(history)):
        pieces += [f"\nDecision {index}.\n", *_shown(turn), f"You answered:\n{shorten(turn.answer)}\n"]
        pieces += [f"{turn.note}\n"] if turn.note else []
    pieces += [f"\nDecision {number}, now.\n", *_shown(now)]
    if now.note:
        pieces.append(_REPEAT.format(answer=shorten(now.answer), problem=now.note))
    return _assemble([*pieces, f"The task: {task}\n"])


def _shown(turn: Turn) -> list[str | np.ndarray]:
    return ["The picture:\n", turn.picture, "\n", turn.state]


def _assemble(pieces: Sequence[str | np.ndarray]) -> ZeroShotPrompt:
    text, pictures, places = "", [], []
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
        else:
            pictures.append(piece)
            places.append(len(text))
    return ZeroShotPrompt(text, tuple(pictures), tuple(places))


def shorten(answer: str) -> str:
    """An answer on at most `SHOWN` characters."""
    answer = answer.strip()
    return answer if len(answer) <= SHOWN else f"{answer[:SHOWN]} ..."


def zero_shot_hash() -> str:
    """SHA-256 (hexadecimal) of the zero-shot prompts, with a made-up scene in the format `vlm2vla`."""
    camera = PinholeCamera(np.zeros(3), np.eye(3), (500.0, 500.0), (320.0, 240.0), (480, 640))
    geometry = SceneGeometry("scene", np.array([0.1, -0.2, 0.0]), np.array([0.5, 0.2, 0.4]), -0.3, camera)
    facts = ZeroShotFacts(0.016, geometry, 60)
    state = describe_state(np.array([1, 0, 0, 0, 0, 0, 0.5]), sent=np.ones(6), camera=camera)
    turn = Turn(np.zeros((1, 1, 3), np.uint8), state, "<answer>", "<note>", "<task>")
    variants = [facts, ZeroShotFacts(0.016), *(dataclasses.replace(facts, overlay=name) for name in OVERLAYS)]
    rules = [rules_prompt(get_format("vlm2vla"), one, reasoning=asked) for one in variants for asked in (True, False)]
    prompt = zero_shot_prompt("", "<instruction>", turn, examples=[turn], history=[turn], number=2)
    return hashlib.sha256("\0".join([*rules, prompt.text]).encode()).hexdigest()
