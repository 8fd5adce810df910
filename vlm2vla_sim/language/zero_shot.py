"""The prompts of a model that was never trained on robot actions: they say what training would have taught.

A zero-shot prompt holds the axes, where the camera is and how directions appear in its picture, the box that the arm
reaches, the height of the table, and where the gripper is; and how an answer is written. `zero_shot_answers` reads the
answer. These prompts are separate from those of `prompts`, with which models are trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.pinhole import PinholeCamera, SceneGeometry
from vlm2vla_sim.language.formats import ActionFormat, get_format
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS
from vlm2vla_sim.language.prompts import axes

DONE = "done"
"""The action of an answer that says that there is nothing left to do."""
LONGEST_STEP, GRIPPER_STEPS = 0.025, 3
"""[m] of a control step, and control steps in which the gripper opens or closes (`envs.motion.StepLimits`)."""
TIP_GAP = 0.008
"""[m] between fingertips and surface in a grasp: the arm ends a few millimetres lower than it is sent."""

_INTRODUCTION = (
    "You control a robot arm with a two-finger gripper. You see a picture and write the next motion of the gripper as "
    "text. The motion is carried out, then you see a new picture.\n"
)
_FINGERS = (
    "The gripper's point is between its fingers; the fingertips reach {tip:.1f} cm further. At roll, pitch and yaw 0 "
    "the gripper points straight down, one finger on the left of the point and one on the right, so that it closes "
    "along y. A positive yaw turns it anticlockwise, seen from above.\n"
)
_BOX = "The gripper's point can go to x from {0:g} to {1:g} cm, y from {2:g} to {3:g} cm, z from {4:g} to {5:g} cm.\n"
_SURFACE = (
    "Objects stand on a surface at z = {height:.1f} cm. Fingertips that touch it stick: to grasp what lies flat on it, "
    "bring the gripper's point to z = {lowest:.1f} cm, not lower.\n"
)
_CAMERA = (
    "The camera is at x {0:.1f}, y {1:.1f}, z {2:.1f} cm. The picture is {width} pixels wide and {height} high; "
    "columns count from its left edge, rows from its upper edge. The camera looks along the direction ({looks}) of x, "
    "y, z. In the picture, right is the direction ({right}), and down is ({down}). A point that is f cm away from the "
    "camera along its view, r to the right and d down, appears at column {column:.1f} + {across:.1f} r / f, row "
    "{row:.1f} + {along:.1f} d / f.\n"
)
_NO_CAMERA = "Where the camera stands is not known: see from the gripper in the picture how directions appear in it.\n"
_MOTION = (
    "A motion is relative: it is added to the place to which the gripper was last sent. {rules} Steps are carried out "
    "one after the other; in each, the gripper first moves, then opens or closes. A step moves at most {most_cm} cm "
    "along each axis and turns at most {most_degrees} degrees about it, and there are at most {most_rows} steps. The "
    "arm needs a fifth of a second for {stride:g} cm and {waits} fifths to open or close; {time}Write whole motions, "
    "not small ones.\n"
    "Example: {example}\n"
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
_STATE = (
    "The gripper's point is at x {0:.1f}, y {1:.1f}, z {2:.1f} cm{seen}; roll {3:.0f}, pitch {4:.0f}, yaw {5:.0f} "
    "degrees; "
)
_OPENING = "the gripper is {opening:.0f} percent open.\n"
_SENT = "It was sent to x {0:.1f}, y {1:.1f}, z {2:.1f} cm; roll {3:.0f}, pitch {4:.0f}, yaw {5:.0f} degrees.\n"
_OVERLAY = {
    "axes": (
        "Drawn on every picture: from the point ({0:g}, {1:g}) cm of the surface, a red arrow of {2:g} cm along x "
        "(forward) and a green one along y (left).\n"
    ),
    "grid": (
        "Drawn on every picture: a grid on the surface with a line every {step:g} cm, numbered with x in red and with "
        "y in green, in cm; the lines are drawn over whatever stands on the surface.\n"
    ),
}
_REPEAT = (
    "Your last answer was:\n{answer}\nIt could not be used: {problem}\nAnswer again in the form that is asked for.\n"
)
SHOWN = 600
"""Characters of an earlier answer that is shown again."""


@dataclass(frozen=True, eq=False)
class ZeroShotFacts:
    """What a zero-shot prompt tells of robot and scene."""

    fingertip: float
    """[m] from the gripper's point to the fingertips."""
    geometry: SceneGeometry | None = None
    """None: neither the box nor the camera is known, as on a policy server."""
    steps: int = 0
    """Control steps of an episode; 0: not known."""
    overlay: str = ""
    """What is drawn on the pictures: "axes", "grid", or nothing."""
    origin: tuple[float, float] = (0.0, 0.0)
    """[m] x and y of the place from which the axes are drawn."""
    spacing: float = 0.1
    """[m] between the lines of the grid, and the length of the axes."""

    @property
    def camera(self) -> PinholeCamera | None:
        """The camera, where it is known."""
        return None if self.geometry is None else self.geometry.camera


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
    motion = _MOTION.format(
        rules=action_format.rules,
        most_cm=COLUMNS[0].limit,
        most_degrees=COLUMNS[3].limit,
        most_rows=MAX_ROWS,
        stride=100 * LONGEST_STEP,
        waits=GRIPPER_STEPS,
        time=_TIME.format(steps=facts.steps) if facts.steps else "",
        example=action_format.example,
    )
    answer = (_ANSWER if reasoning else _ANSWER_ONLY).format(done=DONE)
    return "".join([_INTRODUCTION, axes(), "\n", *_describe_place(facts), motion, _ADVICE, answer])


def _describe_place(facts: ZeroShotFacts) -> list[str]:
    geometry = facts.geometry
    parts = [_FINGERS.format(tip=100 * facts.fingertip)]
    if geometry is None:
        return [*parts, _NO_CAMERA]
    bounds = [100 * float(value) for pair in zip(geometry.low, geometry.high, strict=True) for value in pair]
    parts.append(_BOX.format(*(round(bound, 1) for bound in bounds)))
    if geometry.surface is not None:
        lowest = 100 * (geometry.surface + facts.fingertip + TIP_GAP)
        parts.append(_SURFACE.format(height=_plus(100 * geometry.surface), lowest=lowest))
    if geometry.camera is None:
        return [*parts, _NO_CAMERA]
    parts.append(describe_camera(geometry.camera))
    if geometry.surface is not None:
        parts.append(_describe_view(geometry, geometry.camera, geometry.surface))
    if facts.overlay:
        x, y = (100 * place for place in facts.origin)
        length = 100 * facts.spacing
        parts.append(_OVERLAY[facts.overlay].format(x, y, length, step=length))
    return parts


def describe_camera(camera: PinholeCamera) -> str:
    """Where the camera is, and at which pixel a point appears."""
    looks, left, up = camera.axes.T
    return _CAMERA.format(
        *(_plus(100 * float(value)) for value in camera.position),
        width=camera.size[1],
        height=camera.size[0],
        looks=_direction(looks),
        right=_direction(-left),
        down=_direction(-up),
        column=camera.centre[0],
        row=camera.centre[1],
        across=camera.focal[0],
        along=camera.focal[1],
    )


def _describe_view(geometry: SceneGeometry, camera: PinholeCamera, surface: float) -> str:
    """How directions appear in the middle of the table, and the pixels of some of its places."""
    middle = np.array([*((geometry.low + geometry.high) / 2)[:2], surface])
    at = camera.project(middle[None])[0]
    moved = camera.project(middle + 0.1 * np.eye(3))
    if not np.isfinite([*at, *moved.ravel()]).all():
        return ""
    ways = [
        f"10 cm {name} {'are' if number else 'appear as'} {_shift(after - at)}"
        for number, (name, after) in enumerate(zip(("forward", "to the left", "up"), moved, strict=True))
    ]
    text = f"In the middle of the reachable surface, {', '.join(ways)}. "
    xs, ys = (np.linspace(geometry.low[axis], geometry.high[axis], 3) for axis in (0, 1))
    places = np.array([[round(x, 2), round(y, 2), surface] for x in xs for y in ys])
    seen = [
        f"({100 * place[0]:.0f}, {_plus(100 * place[1]):.0f}) at column {pixel[0]:.0f}, row {pixel[1]:.0f}"
        for place, pixel, visible in zip(places, camera.project(places), camera.sees(places), strict=True)
        if visible
    ]
    return text + (f"Places x, y of the surface in the picture: {'; '.join(seen)}.\n" if seen else "\n")


def describe_state(state: np.ndarray, *, sent: np.ndarray | None = None, camera: PinholeCamera | None = None) -> str:
    """The gripper's state as lines of a prompt. state: (7,) as an observation's `agent_pos`.

    sent: (6,) x, y, z [m], roll, pitch, yaw [rad] to which the gripper was last sent and from which the next motion
    starts, as the first six of `state`; None: not known.
    """
    position = np.asarray(state[:3], np.float64)
    seen = ""
    if camera is not None and camera.sees(position[None])[0]:
        column, row = camera.project(position[None])[0]
        seen = f", in the picture at column {column:.0f}, row {row:.0f}"
    text = _STATE.format(*_pose(state), seen=seen) + _OPENING.format(opening=_plus(100 * float(state[6]), 0))
    return text if sent is None else text + _SENT.format(*_pose(sent))


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
    variants = [facts, ZeroShotFacts(0.016), *(dataclasses.replace(facts, overlay=name) for name in _OVERLAY)]
    rules = [rules_prompt(get_format("vlm2vla"), one, reasoning=asked) for one in variants for asked in (True, False)]
    prompt = zero_shot_prompt("", "<instruction>", turn, examples=[turn], history=[turn], number=2)
    return hashlib.sha256("\0".join([*rules, prompt.text]).encode()).hexdigest()


def _direction(vector: np.ndarray) -> str:
    return ", ".join(f"{_plus(float(value), 3):.3f}" for value in vector)


def _shift(pixels: np.ndarray) -> str:
    """A displacement in the picture, such as "93 pixels up and 20 right"."""
    right, down = (round(float(value)) for value in pixels)
    across = f"{abs(right)} {'right' if right > 0 else 'left'}"
    along = f"{abs(down)} {'down' if down > 0 else 'up'}"
    words = [across, along] if abs(right) > abs(down) else [along, across]
    first, _, way = words[0].partition(" ")
    return f"{first} pixels {way} and {words[1]}"


def _pose(numbers: np.ndarray) -> list[float]:
    """x, y, z [m], roll, pitch, yaw [rad] in cm, to a tenth, and whole degrees."""
    turns = [_plus(math.degrees(float(angle)), 0) for angle in numbers[3:6]]
    return [*(_plus(100 * float(value)) for value in numbers[:3]), *turns]


def _plus(value: float, digits: int = 1) -> float:
    """`value` rounded, without the sign of a zero."""
    return round(value, digits) + 0.0
