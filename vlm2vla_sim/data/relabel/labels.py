"""A label set: a folder with the labels of a data set, which is not copied, and the skipped trajectories with reasons.

Images are a thousand times larger than labels, so the folder refers to the data set. Every line names its trajectory
and contains a hash of its states and actions, so that labels are never applied to a trajectory that has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.core.json_lines import read_lines
from vlm2vla_sim.core.store import Store
from vlm2vla_sim.core.store import read_settings as read_settings_file
from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.data.datasets.open import DatasetOptions, open_dataset
from vlm2vla_sim.data.episode import Agreement, LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.language.steps import steps_of
from vlm2vla_sim.types import ActionChunk

LEAST = 5
"""How many of the trajectories that agree the least with the rules a summary names."""
SETTINGS, LABELS, SKIPPED, SUMMARY = "settings.json", "labels.jsonl", "skipped.jsonl", "summary.json"


@dataclass(frozen=True)
class LabelSettings:
    """Everything that determines the labels."""

    data: str
    """The folder of the data set."""
    source: DatasetOptions
    labeler: str
    """"rules", or the name of a model."""
    options: Any
    """The labeler's options: a dataclass, so that a new field has a default, or a dict of plain values."""
    limit: int = 0
    """Maximum number of trajectories; 0 for all."""


def digest(trajectory: Trajectory) -> str:
    """A hash (hexadecimal) of a trajectory's states, actions, instructions and number of images."""
    content = hashlib.sha256(f"{trajectory.instruction}\0{trajectory.fps}\0{len(trajectory)}\0".encode())
    if trajectory.instruction_en:
        content.update(f"{trajectory.instruction_en}\0".encode())
    content.update(trajectory.states.tobytes())
    content.update(trajectory.actions.tobytes())
    return content.hexdigest()[:32]


class LabelFolder:
    """A label set that is being written. Lines are only appended."""

    def __init__(self, path: Path, settings: LabelSettings, *, resume: bool) -> None:
        """Create the folder, or with `resume` continue one that was made with the same settings.

        DataError if another process writes to the folder, or if it cannot be used or written.
        """
        self.path = path
        self._store = Store(path, settings, resume=resume, kind="label set", error=DataError, files=(LABELS, SKIPPED))
        self.done = names_in(path)
        """Names of the trajectories that are labelled or skipped."""

    def add(self, labelled: LabelledTrajectory) -> None:
        """Append the labels of a trajectory."""
        name = labelled.trajectory.name
        self._append(LABELS, name, to_json(labelled))

    def skip(self, skipped: Skipped) -> None:
        """Record a trajectory that cannot be used."""
        self._append(SKIPPED, skipped.name, dataclasses.asdict(skipped))

    def _append(self, file: str, name: str, values: dict[str, Any]) -> None:
        self._store.append(file, json.dumps(values, ensure_ascii=False), what=f"The label of {name}")
        self.done.add(name)

    def discard(self) -> None:
        """Remove the folder; for work that could not start. Folders not made here are kept."""
        self._store.discard(SUMMARY)

    def close(self) -> LabelSummary:
        """Count the lines, write the summary and release the folder."""
        try:
            summary = summarize(self.path)
            self._store.write(SUMMARY, json.dumps(dataclasses.asdict(summary), indent=2) + "\n")
        finally:
            self._store.close()
        return summary


@dataclass(frozen=True)
class LabelSummary:
    """Counts over a label set. Those of phases, rows and subtasks leave out demonstrations that failed."""

    labelled: int
    """Trajectories whose subtasks, plans and actions are used."""
    failed: int
    """Demonstrations that are known to have failed; training uses them for the verifier."""
    unnamed: int
    """Trajectories of `labelled` whose instruction does not name an object that the rules find."""
    skipped: int
    reasons: dict[str, int]
    """Reason for skipping -> number of trajectories, most frequent first."""
    phases: int
    rows: int
    subtasks: int
    """Number of distinct subtasks."""
    agreement: float | None = None
    """Mean agreement of a model's labels with the rules', 0 .. 1; None for labels that are made by rules."""
    least_agreement: tuple[tuple[str, float], ...] = ()
    """The trajectories that agree the least, at most `LEAST` and none of 1: name and agreement."""


def summarize(path: Path) -> LabelSummary:
    """The counts over the label set `path`."""
    labelled = failed = unnamed = phases = rows = 0
    subtasks: set[str] = set()
    agreed: list[tuple[str, float]] = []
    for line in _lines(path / LABELS):
        if line.get("success") is False:
            failed += 1
            continue
        labelled += 1
        unnamed += not steps_of(line["instruction"], line.get("instruction_en", "")).object_name
        phases += len(line["phases"])
        rows += sum(len(phase["deltas"]) for phase in line["phases"])
        subtasks.update(line["subtasks"])
        if (found := _agreement(line)) and found.score is not None:
            agreed.append((line["name"], found.score))
    reasons = Counter(line["reason"] for line in _lines(path / SKIPPED))
    return LabelSummary(
        labelled,
        failed,
        unnamed,
        reasons.total(),
        dict(reasons.most_common()),
        phases,
        rows,
        len(subtasks),
        agreement=sum(score for _, score in agreed) / len(agreed) if agreed else None,
        least_agreement=tuple(sorted((one for one in agreed if one[1] < 1), key=lambda one: one[1])[:LEAST]),
    )


def _agreement(line: dict[str, Any]) -> Agreement | None:
    stored = line.get("agreement")
    return Agreement(**{**stored, "differences": tuple(stored["differences"])}) if stored else None


def names_in(path: Path) -> set[str]:
    """The names of the trajectories that are labelled or skipped in the folder `path`; none if there is no folder."""
    return {line["name"] for name in (LABELS, SKIPPED) for line in _lines(path / name)}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of the label set `path`, plain values; DataError if the folder is not a label set."""
    if not (path / LABELS).is_file():
        raise DataError(wrong_folder(path, "a label set of `vlm2vla relabel`"))
    return read_settings_file(path / SETTINGS, DataError)


def read_labels(path: Path, dataset: TrajectoryDataset | None = None) -> Iterator[LabelledTrajectory]:
    """The labelled trajectories of the label set `path`, in the order of the data set.

    dataset: the data set, if it is no longer in the folder recorded in the settings. DataError if the folder is not a
    label set, or if a trajectory has changed or disappeared since it was labelled.
    """
    settings = read_settings(path)
    if dataset is None:
        known = {field.name for field in dataclasses.fields(DatasetOptions)}
        options = {name: value for name, value in settings["source"].items() if name in known}
        dataset = open_dataset(Path(settings["data"]), DatasetOptions(**options))
    lines = {line["name"]: line for line in _lines(path / LABELS)}
    for found in dataset:
        if found.name not in lines:
            continue
        if isinstance(found, Skipped):
            raise DataError(f"The trajectory {found.name} was labelled, and cannot be used any more: {found.reason}")
        yield from_json(lines.pop(found.name), found)
    if lines:
        raise DataError(
            f"{len(lines)} trajectories in {path / LABELS} are not in the data set, such as {next(iter(lines))!r}."
        )


def to_json(labelled: LabelledTrajectory) -> dict[str, Any]:
    """One line of labels.jsonl."""
    trajectory = labelled.trajectory
    return {
        "name": trajectory.name,
        "digest": digest(trajectory),
        "instruction": trajectory.instruction,
        "instruction_en": trajectory.instruction_en,
        "success": trajectory.success,
        "frames": len(trajectory),
        "subtasks": list(labelled.subtasks),
        "phases": [
            {
                "start": phase.start,
                "stop": phase.stop,
                "subtask": phase.subtask,
                "plan": phase.plan,
                "kind": phase.kind,
                "text": phase.chunk.text,
                "deltas": np.round(phase.chunk.deltas.astype(np.float64), 6).tolist(),
            }
            for phase in labelled.phases
        ],
        **({"agreement": dataclasses.asdict(labelled.agreement)} if labelled.agreement else {}),
    }


def from_json(line: dict[str, Any], trajectory: Trajectory) -> LabelledTrajectory:
    """The inverse of `to_json`; DataError if `trajectory` is not the one that was labelled."""
    if line["digest"] != digest(trajectory):
        raise DataError(f"The trajectory {trajectory.name} has changed since it was labelled. Relabel the data set.")
    phases = tuple(
        Phase(
            start=phase["start"],
            stop=phase["stop"],
            subtask=phase["subtask"],
            plan=phase["plan"],
            chunk=ActionChunk(np.array(phase["deltas"]), phase["text"]),
            kind=phase.get("kind", ""),
        )
        for phase in line["phases"]
    )
    return LabelledTrajectory(trajectory, tuple(line["subtasks"]), phases, _agreement(line))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a file, one at a time; none if there is no such file."""
    if not path.exists():
        return
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"Line {number} of {path} is not JSON ({error}). Was the file edited?") from error
