"""What is measured of every labelled trajectory of a data set, and which trajectories are unusual by it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.inspect_page.words import first_words, instruction_words
from vlm2vla_sim.data.relabel.kinds import WIPE

STRANGEST = 20
"""How many unusual trajectories a page lists."""
UNUSUAL = 3.0
"""Spreads from the median from which a measure is given as a reason."""
STILL = 0.002
"""[m] a step below this is time at rest."""
REVERSAL = 0.02
"""[m] a horizontal move back that is shorter is no correction."""


@dataclass(frozen=True)
class Measure:
    """Something that is measured of every trajectory."""

    name: str
    unit: str
    least: float
    """The smallest spread that is used, so that a difference that nobody would notice is not unusual."""


MEASURES = (
    Measure("duration", "s", 2.0),
    Measure("path", "cm", 5.0),
    Measure("largest step", "cm", 0.5),
    Measure("turning", "degrees", 10.0),
    Measure("time at rest", "%", 10.0),
    Measure("phases", "", 1.0),
    Measure("rows", "", 2.0),
    Measure("rows of the longest plan", "", 1.0),
    Measure("corrections", "", 0.5),
    Measure("end error of the rows", "cm", 0.5),
    Measure("rarity of its verb", "bits", 1.0),
    Measure("rarity of its object", "bits", 1.0),
)
"""What decides how unusual a trajectory is. Rarity is log2 of one over the share of trajectories that name it too."""
MEASURED = len(MEASURES) - 2
"""The measures of one trajectory by itself; the rarities need all."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One trajectory of a survey."""

    name: str
    instruction: str
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    subtask_verbs: tuple[str, ...]
    rows: tuple[int, ...]
    """Of each plan."""
    kinds: tuple[str, ...]
    """Of the phases that have one."""
    agreement: float | None
    """Of a model's labels with the rules', 0 .. 1."""
    differences: tuple[str, ...]
    """Between the two."""
    success: bool | None
    values: tuple[float, ...]
    """The first `MEASURED` of `MEASURES`, in their units."""


@dataclass(frozen=True)
class Strangeness:
    """How unusual a trajectory is."""

    score: float
    """The largest distance of a measure from its median, in spreads (1.4826 MAD, at least `Measure.least`)."""
    reasons: tuple[str, ...]
    """The measures that are `UNUSUAL` or more spreads away, the furthest first."""


@dataclass(frozen=True, eq=False)
class Survey:
    """All trajectories of a data set in numbers."""

    entries: tuple[Entry, ...]
    strangeness: Mapping[str, Strangeness]
    """By the name of a trajectory."""

    def strangest(self) -> list[str]:
        """The names of the most unusual trajectories, at most `STRANGEST`, the most unusual first."""
        unusual = [entry.name for entry in self.entries if self.strangeness[entry.name].reasons]
        return sorted(unusual, key=lambda name: -self.strangeness[name].score)[:STRANGEST]

    def disagreeing(self) -> list[str]:
        """The names of those whose labels differ from the rules', those that differ the most first."""
        found = [(entry.agreement, entry.name) for entry in self.entries if entry.agreement is not None]
        return [name for score, name in sorted(found, key=lambda one: one[0]) if score < 1]

    def values(self, name: str) -> list[float]:
        """One of the first `MEASURED` measures, of every trajectory."""
        column = [measure.name for measure in MEASURES].index(name)
        return [entry.values[column] for entry in self.entries]


def survey(labelled: Iterable[LabelledTrajectory]) -> Survey:
    """Measure every trajectory; their images are not read, and one trajectory is held in memory at a time."""
    entries = tuple(_entry(one) for one in labelled)
    return Survey(entries, dict(zip((entry.name for entry in entries), _strangeness(entries), strict=True)))


def _entry(labelled: LabelledTrajectory) -> Entry:
    trajectory, phases = labelled.trajectory, labelled.phases
    verbs, objects = instruction_words(labelled)
    rows = tuple(len(phase.chunk.deltas) for phase in phases)
    positions = trajectory.states[:, :3].astype(np.float64)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    deltas = np.concatenate([phase.chunk.deltas for phase in phases])
    end = positions[min(phases[-1].stop, len(positions) - 1)]
    values = (
        len(trajectory) / trajectory.fps,
        100 * float(steps.sum()),
        100 * float(steps.max(initial=0.0)),
        float(np.degrees(np.abs(deltas[:, 3:6]).sum())),
        100 * float((steps < STILL).mean()) if len(steps) else 0.0,
        float(len(phases)),
        float(sum(rows)),
        float(max(rows)),
        float(corrections(labelled)),
        100 * float(np.linalg.norm(deltas[:, :3].sum(axis=0) - (end - positions[0]))),
    )
    return Entry(
        name=trajectory.name,
        instruction=trajectory.instruction,
        verbs=verbs,
        objects=objects,
        subtask_verbs=first_words(labelled.subtasks),
        rows=rows,
        kinds=tuple(filter(None, (phase.kind for phase in phases))),
        agreement=labelled.agreement.score if labelled.agreement else None,
        differences=labelled.agreement.differences if labelled.agreement else (),
        success=trajectory.success,
        values=values,
    )


def corrections(labelled: LabelledTrajectory) -> int:
    """How often a subtask is corrected: horizontal moves back by 2 cm or more, and gripper changes after its first.

    The moves of phases that wipe go back and forth and are no corrections.
    """
    count = 0
    opening: float | None = None
    for _, group in itertools.groupby(labelled.phases, key=lambda phase: phase.subtask):
        parts = [(phase.chunk.deltas.astype(np.float64), phase.kind == WIPE) for phase in group]
        rows = np.concatenate([deltas for deltas, _ in parts])
        wipes = np.concatenate([np.full(len(deltas), wiping) for deltas, wiping in parts])
        moves = rows[(np.linalg.norm(rows[:, :2], axis=1) >= REVERSAL) & ~wipes, :2]
        count += int((np.sum(moves[1:] * moves[:-1], axis=1) < 0).sum())
        told = np.round(np.concatenate([rows[:1, 6] if opening is None else [opening], rows[:, 6]]))
        count += max(0, int((np.diff(told) != 0).sum()) - 1)
        opening = float(told[-1])
    return count


def _strangeness(entries: Sequence[Entry]) -> list[Strangeness]:
    if not entries:
        return []
    rarities = [_rarity([entry.verbs for entry in entries]), _rarity([entry.objects for entry in entries])]
    table = np.column_stack([np.array([entry.values for entry in entries]), *rarities])
    middle = np.median(table, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(table - middle), axis=0), [measure.least for measure in MEASURES])
    away = np.abs(table - middle) / spread
    return [_judge(values, distances, middle) for values, distances in zip(table, away, strict=True)]


def _judge(values: np.ndarray, away: np.ndarray, middle: np.ndarray) -> Strangeness:
    order = [int(n) for n in np.argsort(-away, kind="stable") if away[n] >= UNUSUAL]
    reasons = tuple(
        f"{MEASURES[n].name} {values[n]:.3g}{f' {MEASURES[n].unit}'.rstrip()} (median {middle[n]:.3g})" for n in order
    )
    return Strangeness(float(away.max()), reasons)


def _rarity(named: Sequence[Sequence[str]]) -> np.ndarray:
    """(n,) [bits] of the rarest name of each trajectory; `named` holds the names of each."""
    counts = Counter(name for names in named for name in set(names))
    return np.array([max((np.log2(len(named) / counts[name]) for name in names), default=0.0) for names in named])
