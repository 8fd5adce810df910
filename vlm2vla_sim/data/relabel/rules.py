"""Labels by rules: subtasks from what the gripper did, plans and action text from the motion that was reached.

No model, no randomness: the same trajectory always gets the same words, and the words, carried out one after the other,
do again what was done. Recorded data has no words at all, and words that are only plausible teach motion that misses.

Two things decide whether they can be carried out. The words are rounded, so what rounding leaves is said later
(`carry_rest`), or errors add up from row to row. And the controller turns its *target* about the *measured* gripper: a
turn while the arm lags behind its target also shifts it, which reached motion already contains. So a turn is said
first, as a row of its own, while the arm stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vlm2vla_sim.core.frames import matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.data.episode import Labelled, Phase, Trajectory
from vlm2vla_sim.data.relabel.gripper import GripRules, find_gripper_intervals
from vlm2vla_sim.data.relabel.path import PATHS, Cuts, Path
from vlm2vla_sim.data.relabel.plans import plan_of, subtask_of
from vlm2vla_sim.data.relabel.segments import Segment, part_of, segments_of
from vlm2vla_sim.errors import DataError, unknown_name
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS, Resolution
from vlm2vla_sim.language.formats.rows import RowsFormat
from vlm2vla_sim.language.instructions import parse_instruction
from vlm2vla_sim.language.label_prompt import Span
from vlm2vla_sim.types import ActionChunk


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


def relabel(trajectory: Trajectory, rules: Rules | None = None) -> Labelled:
    """`trajectory` with its words. DataError where there is nothing to be said about it."""
    rules = rules or Rules()
    if len(trajectory) < 2:
        raise DataError(f"It has {len(trajectory)} frame; expected at least 2, between which something moves.")
    if not trajectory.instruction.strip():
        raise DataError("It has no instruction, so there is no task to name subtasks of.")
    errand = parse_instruction(trajectory.instruction)
    path = PATHS[rules.motion](trajectory)
    stretches = find_gripper_intervals(trajectory, rules.grip)
    says = _Speaker(path, rules)
    phases: list[Phase] = []
    for index, stretch in enumerate(stretches):
        subtask = subtask_of(errand, stretches, index)
        for piece in segments_of(path, stretch, rules.cuts):
            rows = says.rows(piece)
            if rows:
                start = phases[-1].stop if phases else 0
                plan = plan_of(errand, piece, np.sum(rows, axis=0))
                phases.append(Phase(start, piece.stop, subtask, plan, _chunk(rows, rules.resolution)))
    if not phases:
        raise DataError("Nothing moves in it: neither the arm by a centimetre nor the gripper.")
    return Labelled(trajectory, tuple(dict.fromkeys(phase.subtask for phase in phases)), tuple(phases))


def label_spans(trajectory: Trajectory, spans: Sequence[Span], rules: Rules) -> Labelled:
    """`trajectory` with phases that somebody else found; their numbers come from the motion, as with rules alone.

    spans: they follow one another without a gap, and cover the trajectory. One in which nothing moves becomes part of
    the one after it.
    """
    path = PATHS[rules.motion](trajectory)
    stretches = find_gripper_intervals(trajectory, rules.grip)
    says = _Speaker(path, rules)
    phases: list[Phase] = []
    for span in spans:
        pieces = [piece for stretch in stretches if (piece := part_of(path, stretch, span, rules.cuts))]
        rows = [row for piece in pieces for row in says.rows(piece)]
        if len(rows) > MAX_ROWS:
            raise DataError(f"The phase {span.start} to {span.stop} takes {len(rows)} rows; at most {MAX_ROWS} can be.")
        if rows:
            start = phases[-1].stop if phases else 0
            phases.append(Phase(start, span.stop, span.subtask, span.plan, _chunk(rows, rules.resolution)))
    if not phases:
        raise DataError("Nothing moves in it: neither the arm by a centimetre nor the gripper.")
    return Labelled(trajectory, tuple(dict.fromkeys(phase.subtask for phase in phases)), tuple(phases))


def _chunk(rows: list[np.ndarray], resolution: Resolution) -> ActionChunk:
    deltas = np.array(rows)
    return ActionChunk(deltas, RowsFormat(resolution).write(deltas))


# Numbers --------------------------------------------------------------------------------------------------------------


class _Speaker:
    """Rounds motion to what can be written, and remembers what rounding left over."""

    def __init__(self, path: Path, rules: Rules) -> None:
        self._path, self._rules = path, rules
        self._position, self._rotation = path.positions[0].copy(), path.rotations[0].copy()
        self._steps = np.array([float(step) * c.si for step, c in zip(rules.resolution.steps, COLUMNS, strict=True)])

    def rows(self, piece: Segment) -> list[np.ndarray]:
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
