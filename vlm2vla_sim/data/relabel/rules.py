"""Labels a trajectory by rules: subtasks from the gripper, plans and action text from the motion.

The rules are deterministic, and executing the resulting action text reproduces the motion. Two details decide whether
it does. The text is rounded, so the rounding error is carried into the next row (`carry_rest`); otherwise errors add
up. And the controller rotates its *target* about the *measured* gripper, so a rotation while the arm lags behind its
target also shifts it. Measured motion contains that shift already; a rotation is therefore written first, as a row of
its own, executed while the arm stands still.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vlm2vla_sim.core.frames import matrix_to_rotvec, rotvec_to_matrix
from vlm2vla_sim.data.episode import LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.data.relabel.gripper import GripperRules, find_gripper_intervals
from vlm2vla_sim.data.relabel.kinds import PAUSE, WHOLE, kinds_in
from vlm2vla_sim.data.relabel.path import PATHS, GripperPath, RowThresholds
from vlm2vla_sim.data.relabel.plans import plan_for, step_for, subtask_for
from vlm2vla_sim.data.relabel.recorded import MotionRules, RecordedMotion
from vlm2vla_sim.data.relabel.segments import Segment, segment_within, segments_of
from vlm2vla_sim.data.relabel.stretches import levelled, still_while_acting, stretches_of
from vlm2vla_sim.data.relabel.turns import said_rotations
from vlm2vla_sim.errors import DataError, unknown_name
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS, Resolution
from vlm2vla_sim.language.formats.rows import RowsFormat
from vlm2vla_sim.language.label_prompt import Span
from vlm2vla_sim.language.steps import steps_of
from vlm2vla_sim.types import ActionChunk


@dataclass(frozen=True)
class LabelingRules:
    """How a trajectory is divided and rounded."""

    motion: str = "reached"
    """"reached" for the measured motion, "commanded" for the sum of the actions."""
    carry_rest: bool = True
    """Carry the rounding error of a phase into the next, so that an episode's text adds up to its motion.
    False rounds every phase by itself."""
    cuts: RowThresholds = field(default_factory=RowThresholds)
    kinds: MotionRules = field(default_factory=MotionRules)
    grip: GripperRules = field(default_factory=GripperRules)
    resolution: Resolution = field(default_factory=Resolution)

    def __post_init__(self) -> None:
        if self.motion not in PATHS:
            raise unknown_name("kind of motion", self.motion, PATHS)


def relabel(trajectory: Trajectory, rules: LabelingRules | None = None) -> LabelledTrajectory:
    """Label `trajectory`. DataError for one that is too short, has no instruction, or in which nothing moves."""
    rules = rules or LabelingRules()
    if len(trajectory) < 2:
        raise DataError(f"It has {len(trajectory)} frame; expected at least 2.")
    if not trajectory.instruction.strip():
        raise DataError("It has no instruction, from which the subtasks are named.")
    steps = steps_of(trajectory.instruction, trajectory.instruction_en)
    path = PATHS[rules.motion](trajectory)
    intervals = find_gripper_intervals(trajectory, rules.grip)
    path = still_while_acting(path, intervals)
    hints = kinds_in(trajectory.instruction_en or trajectory.instruction)
    recorded = RecordedMotion(path, intervals, trajectory.states[:, 6], trajectory.fps, hints, rules.kinds)
    stretches = [stretches_of(recorded, index, empty=rules.grip.empty) for index in range(len(intervals))]
    path = levelled(recorded, stretches, step=rules.resolution.translation)
    recorded = dataclasses.replace(recorded, path=path)
    found = [segments_of(recorded, index, stretches[index], rules.cuts) for index in range(len(intervals))]
    rounder = _GridRounder(path, rules, [segment for segments in found for segment in segments])
    phases: list[Phase] = []
    for index, segments in enumerate(found):
        step = step_for(steps, intervals, index)
        subtask = subtask_for(steps, intervals, index, any(segment.kind in WHOLE for segment in segments))
        for segment in segments:
            rows = rounder.rows(segment)
            if rows:
                start = phases[-1].stop if phases else 0
                plan = plan_for(steps, step, segment, rows)
                chunk = _chunk(rows, rules.resolution)
                phases.append(Phase(start, segment.stop, subtask, plan, chunk, segment.kind))
    return _labelled(trajectory, phases)


def label_spans(trajectory: Trajectory, spans: Sequence[Span], rules: LabelingRules) -> LabelledTrajectory:
    """Label `trajectory` with phases found elsewhere, by a model; the numbers still come from the motion.

    spans: contiguous, covering the trajectory. A span in which nothing moves is merged into the next one. DataError
    when nothing moves at all, or a span takes more than `MAX_ROWS` rows.
    """
    path = PATHS[rules.motion](trajectory)
    intervals = find_gripper_intervals(trajectory, rules.grip)
    found = [
        [segment for interval in intervals if (segment := segment_within(path, interval, span, rules.cuts))]
        for span in spans
    ]
    rounder = _GridRounder(path, rules, [segment for segments in found for segment in segments])
    phases: list[Phase] = []
    for span, segments in zip(spans, found, strict=True):
        rows = [row for segment in segments for row in rounder.rows(segment)]
        if len(rows) > MAX_ROWS:
            raise DataError(
                f"The phase {span.start} to {span.stop} takes {len(rows)} rows; expected {MAX_ROWS} or fewer."
            )
        if rows:
            start = phases[-1].stop if phases else 0
            phases.append(Phase(start, span.stop, span.subtask, span.plan, _chunk(rows, rules.resolution)))
    return _labelled(trajectory, phases)


def _labelled(trajectory: Trajectory, phases: list[Phase]) -> LabelledTrajectory:
    if not phases:
        raise DataError("Nothing moves in it: the arm moves less than the resolution and the gripper never changes.")
    return LabelledTrajectory(trajectory, tuple(dict.fromkeys(phase.subtask for phase in phases)), tuple(phases))


def _chunk(rows: list[np.ndarray], resolution: Resolution) -> ActionChunk:
    deltas = np.array(rows)
    return ActionChunk(deltas, RowsFormat(resolution).write(deltas))


class _GridRounder:
    """Rounds motion to the resolution's grid and carries the rounding error from row to row."""

    def __init__(self, path: GripperPath, rules: LabelingRules, segments: Sequence[Segment]) -> None:
        self._path, self._rules = path, rules
        self._turns_first = rules.motion == "reached"
        frames = [frame for one in segments for frame in (one.frames[-1:] if self._turns_first else one.frames[1:])]
        step = float(np.radians(rules.resolution.rotation))
        self._said = said_rotations(path, frames, step) if rules.carry_rest else {}
        # The pose that the rows written so far lead to.
        self._position, self._rotation = path.aims[0].copy(), path.rotations[0].copy()
        self._steps = np.array([float(step) * c.si for step, c in zip(rules.resolution.steps, COLUMNS, strict=True)])

    def rows(self, segment: Segment) -> list[np.ndarray]:
        """The rows of a segment, each (7,) as in `ActionChunk.deltas`, on the grid; empty for no motion."""
        if not self._rules.carry_rest:
            first = segment.frames[0]
            self._position, self._rotation = self._path.aims[first].copy(), self._path.rotations[first].copy()
        gripper = float(segment.interval.is_open)
        rows = []
        if segment.kind == PAUSE:
            return [] if self._rules.kinds.leave_out_pauses else [self._row(np.zeros(3), np.zeros(3), gripper)]
        if self._turns_first:
            rows.append(self._row(np.zeros(3), self._turn_to(segment.frames[-1]), gripper))
        for before, frame in itertools.pairwise(segment.frames):
            move = self._move_to(frame) if self._moves(before, frame) else np.zeros(3)
            rows.append(self._row(move, np.zeros(3) if self._turns_first else self._turn_to(frame), gripper))
        rows = [part for row in rows if np.any(row[:6]) for part in _within_limits(row)]
        if segment.acts:
            if rows and segment.interval.pauses:
                rows.append(self._row(np.zeros(3), np.zeros(3), gripper))
            rows.append(self._row(np.zeros(3), np.zeros(3), 1.0 - gripper))
        return rows

    def _moves(self, start: int, stop: int) -> bool:
        """Whether the path moves by more than its noise; a smaller move is said with the one after it."""
        positions = self._path.positions
        return bool(np.linalg.norm(positions[stop] - positions[start]) >= 3 * self._path.noise)

    def _move_to(self, frame: int) -> np.ndarray:
        steps = self._steps[:3]
        move = np.round((self._path.aims[frame] - self._position) / steps) * steps
        self._position += move
        return move

    def _turn_to(self, frame: int) -> np.ndarray:
        steps = self._steps[3:]
        wanted = self._said.get(frame, self._path.rotations[frame])
        turn = np.round(matrix_to_rotvec(wanted @ self._rotation.T) / steps) * steps
        self._rotation = rotvec_to_matrix(turn) @ self._rotation
        return turn

    def _row(self, move: np.ndarray, turn: np.ndarray, gripper: float) -> np.ndarray:
        return np.concatenate([move, turn, [gripper]])


def _within_limits(row: np.ndarray) -> list[np.ndarray]:
    """`row`, divided into equal rows where it exceeds the format's limits."""
    limits = np.array([column.limit * column.si for column in COLUMNS])
    count = int(np.ceil(np.max(np.abs(row[:6]) / limits) - 1e-9))
    if count <= 1:
        return [row]
    return [np.concatenate([row[:6] / count, row[6:]]) for _ in range(count)]
