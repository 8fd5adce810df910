"""Labels by rules: subtasks from what the gripper did, plans and action text from the motion that was reached.

No model, no randomness: the same trajectory always gets the same words, and the words, carried out one after the other,
do again what was done. Recorded data has no words at all, and words that are only plausible teach motion that misses.

Two things decide whether they can be carried out. The words are rounded, so what rounding leaves is said later
(`carry_rest`), or errors add up from row to row. And the controller turns its *target* about the *measured* gripper: a
turn while the arm lags behind its target also shifts it, which reached motion already contains. So a turn is said
first, as a row of its own, while the arm stands.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from vlm2vla_sim.data.episode import Labelled, Phase, Trajectory
from vlm2vla_sim.data.gripper import GripRules, Stretch, find_stretches
from vlm2vla_sim.data.path import PATHS, Cuts, Path, cut
from vlm2vla_sim.errors import DataError, unknown_name
from vlm2vla_sim.frames import matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.language import plan_words
from vlm2vla_sim.language.grid import COLUMNS, MAX_ROWS, Resolution
from vlm2vla_sim.language.instructions import Errand, read_errand
from vlm2vla_sim.language.rows import RowsFormat
from vlm2vla_sim.types import ActionChunk

ORIENTATION = 0.01
"""[m] a phase that moves less is a turn."""
DETOUR = 0.02
"""[m] seen from above: what is shorter is no change of direction, but the arm settling."""


@dataclass(frozen=True)
class Rules:
    """How a trajectory is put into words."""

    motion: str = "reached"
    """"reached", where the gripper was measured, or "commanded", what it was told."""
    carry_rest: bool = True
    """What rounding left over in one phase is said in the next, so that the words of an episode add up to its motion.
    False: every phase by itself is as true as it can be."""
    cuts: Cuts = field(default_factory=Cuts)
    grip: GripRules = field(default_factory=GripRules)
    resolution: Resolution = field(default_factory=Resolution)

    def __post_init__(self) -> None:
        if self.motion not in PATHS:
            raise unknown_name("kind of motion", self.motion, PATHS)


@dataclass(frozen=True)
class _Piece:
    """What becomes a phase: rows of one kind of motion, and perhaps a change of the gripper."""

    frames: tuple[int, ...]
    """The rows lie between these."""
    stop: int
    stretch: Stretch
    acts: bool


def relabel(trajectory: Trajectory, rules: Rules | None = None) -> Labelled:
    """`trajectory` with its words. DataError where there is nothing to be said about it."""
    rules = rules or Rules()
    if len(trajectory) < 2:
        raise DataError(f"It has {len(trajectory)} frame; expected at least 2, between which something moves.")
    if not trajectory.instruction.strip():
        raise DataError("It has no instruction, so there is no task to name subtasks of.")
    errand = read_errand(trajectory.instruction)
    path = PATHS[rules.motion](trajectory)
    stretches = find_stretches(trajectory, rules.grip)
    says = _Speaker(path, rules)
    phases: list[Phase] = []
    for index, stretch in enumerate(stretches):
        subtask = _subtask(errand, stretches, index)
        for piece in _pieces(path, stretch, rules.cuts):
            rows = says.rows(piece)
            if rows:
                start = phases[-1].stop if phases else 0
                plan = _plan(errand, piece, np.sum(rows, axis=0))
                phases.append(Phase(start, piece.stop, subtask, plan, _chunk(rows, rules.resolution)))
    if not phases:
        raise DataError("Nothing moves in it: neither the arm by a centimetre nor the gripper.")
    return Labelled(trajectory, tuple(dict.fromkeys(phase.subtask for phase in phases)), tuple(phases))


def _chunk(rows: list[np.ndarray], resolution: Resolution) -> ActionChunk:
    deltas = np.array(rows)
    return ActionChunk(deltas, RowsFormat(resolution).write(deltas))


# Which motion belongs together ----------------------------------------------------------------------------------------


def _pieces(path: Path, stretch: Stretch, cuts: Cuts) -> list[_Piece]:
    """A stretch, divided where the motion changes between up, down and across, or turns back, or gets too long."""
    frames = cut(path, stretch.start, stretch.stop, cuts) if stretch.stop > stretch.start else [stretch.start]
    groups: list[list[int]] = []
    kinds: list[str] = []
    before: np.ndarray | None = None
    for start, stop in itertools.pairwise(frames):
        move = path.positions[stop] - path.positions[start]
        kind, returns = _kind(move), _turns_back(before, move)
        before = move
        # Every row may become two (a turn, a move), and a pause and the gripper come on top.
        if kinds and kind == kinds[-1] and not returns and len(groups[-1]) < MAX_ROWS // 2 - 2:
            groups[-1].append(stop)
        else:
            groups.append([start, stop])
            kinds.append(kind)
    if not groups:
        groups = [[stretch.start]]
    last = len(groups) - 1
    return [
        _Piece(tuple(group), stretch.stop if n == last else group[-1], stretch, acts=stretch.acts and n == last)
        for n, group in enumerate(groups)
    ]


def _turns_back(before: np.ndarray | None, move: np.ndarray) -> bool:
    if before is None or min(np.linalg.norm(before[:2]), np.linalg.norm(move[:2])) < DETOUR:
        return False
    return bool(before[:2] @ move[:2] < 0)


def _kind(move: np.ndarray) -> str:
    if abs(move[2]) <= np.hypot(move[0], move[1]):
        return "across"
    return "up" if move[2] > 0 else "down"


# Numbers --------------------------------------------------------------------------------------------------------------


class _Speaker:
    """Rounds motion to what can be written, and remembers what rounding left over."""

    def __init__(self, path: Path, rules: Rules) -> None:
        self._path, self._rules = path, rules
        self._position, self._rotation = path.positions[0].copy(), path.rotations[0].copy()
        self._steps = np.array([float(step) * c.si for step, c in zip(rules.resolution.steps, COLUMNS, strict=True)])

    def rows(self, piece: _Piece) -> list[np.ndarray]:
        """The rows of a phase, each (7,) as in `ActionChunk.deltas`, on the resolution's grid; none for no motion."""
        if not self._rules.carry_rest:
            first = piece.frames[0]
            self._position, self._rotation = self._path.positions[first].copy(), self._path.rotations[first].copy()
        gripper = float(piece.stretch.is_open)
        turns_first = self._rules.motion == "reached"
        rows = []
        if turns_first:
            rows.append(self._row(np.zeros(3), self._turn_to(piece.frames[-1]), gripper))
        for frame in piece.frames[1:]:
            move = self._move_to(frame)
            rows.append(self._row(move, np.zeros(3) if turns_first else self._turn_to(frame), gripper))
        rows = [part for row in rows if np.any(row[:6]) for part in _within_range(row)]
        if piece.acts:
            if rows and piece.stretch.pauses:
                rows.append(self._row(np.zeros(3), np.zeros(3), gripper))
            rows.append(self._row(np.zeros(3), np.zeros(3), 1.0 - gripper))
        return rows

    def _move_to(self, frame: int) -> np.ndarray:
        steps = self._steps[:3]
        move = np.round((self._path.positions[frame] - self._position) / steps) * steps
        self._position += move
        return move

    def _turn_to(self, frame: int) -> np.ndarray:
        steps = self._steps[3:]
        turn = np.round(matrix_to_rotvec(self._path.rotations[frame] @ self._rotation.T) / steps) * steps
        self._rotation = rotvec_to_matrix(turn) @ self._rotation
        return turn

    def _row(self, move: np.ndarray, turn: np.ndarray, gripper: float) -> np.ndarray:
        return np.concatenate([move, turn, [gripper]])


def _within_range(row: np.ndarray) -> list[np.ndarray]:
    """`row`, or several that come to the same where one may not say so much."""
    limits = np.array([column.limit * column.si for column in COLUMNS])
    count = int(np.ceil(np.max(np.abs(row[:6]) / limits) - 1e-9))
    if count <= 1:
        return [row]
    return [np.concatenate([row[:6] / count, row[6:]]) for _ in range(count)]


# Words ----------------------------------------------------------------------------------------------------------------


def _subtask(errand: Errand, stretches: list[Stretch], index: int) -> str:
    stretch = stretches[index]
    if not any(other.acts for other in stretches):
        return errand.instruction
    if stretch.held_before:
        return errand.put
    released = any(earlier.held_before for earlier in stretches[:index])
    to_come = any(later.held_after for later in stretches[index:])
    return errand.put if released and not to_come else errand.grasp


def _plan(errand: Errand, piece: _Piece, total: np.ndarray) -> str:
    """The plan in words. total: (>= 6,) what the rows of the phase add up to."""
    stretch, thing = piece.stretch, errand.the_thing
    goal = f"the {errand.goal}" if errand.goal else "its goal"
    kind = _kind(total[:3]) if np.linalg.norm(total[:3]) >= ORIENTATION else "none"
    where = plan_words.directions(total[:3])
    turning = plan_words.turns(total[3:6])
    if stretch.held_before:
        if piece.acts:
            return plan_words.lower(thing, goal) if kind == "down" else _then(f"move {where}", "open", kind)
        return plan_words.lift(thing) if kind == "up" else _with(turning, plan_words.carry(thing, where, goal), kind)
    if piece.acts and stretch.is_open:
        return plan_words.descend(thing) if kind == "down" else _then(f"move {where}", "close", kind)
    if piece.acts:
        return _then(f"move {where}", "open", kind)
    if not stretch.is_open:
        return _with(turning, f"move {where}, with the gripper closed", kind)
    if kind == "up":
        return plan_words.leave() if not stretch.acts else "move up, with the gripper open"
    if not stretch.acts:
        return _with(turning, f"move {where}, with the gripper open", kind)
    return _with(turning, plan_words.approach(where, thing), kind)


def _then(move: str, act: str, kind: str) -> str:
    return f"{act} the gripper" if kind == "none" else f"{move}, then {act} the gripper"


def _with(turning: str, move: str, kind: str) -> str:
    if not turning:
        return move
    return turning if kind == "none" else f"{turning}, then {move}"
