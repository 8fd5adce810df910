"""The folder of labels: words for a data set that stays where it is, and what was passed over, with reasons.

The pictures are a thousand times larger than their words, so they are not copied. Every line names its trajectory and
holds a hash of its numbers: words that are laid on other motion than they were made for would teach that motion.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.data.datasets.open import SourceOptions, open_source
from vlm2vla_sim.data.datasets.source import Skipped, Source
from vlm2vla_sim.data.episode import Labelled, Phase, Trajectory
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.types import ActionChunk

SETTINGS, LABELS, SKIPPED, SUMMARY = "settings.json", "labels.jsonl", "skipped.jsonl", "summary.json"


@dataclass(frozen=True)
class LabelSettings:
    """What labels were made of, and how: everything that decides them."""

    data: str
    """The data set's folder."""
    source: SourceOptions
    labeler: str
    """"rules", or the name of a model."""
    options: dict[str, Any]
    """Of the labeler, plain values."""
    limit: int = 0
    """Trajectories at most; 0 for all."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def digest(trajectory: Trajectory) -> str:
    """A hash (hexadecimal) of a trajectory's numbers and instruction; of its pictures only how many there are."""
    content = hashlib.sha256(f"{trajectory.instruction}\0{trajectory.fps}\0{len(trajectory)}\0".encode())
    content.update(trajectory.states.tobytes())
    content.update(trajectory.actions.tobytes())
    return content.hexdigest()[:32]


class LabelFolder:
    """A folder of labels that is being written. Lines are appended; none is ever changed."""

    def __init__(self, path: Path, settings: LabelSettings, *, resume: bool) -> None:
        """Make the folder, or with `resume` go on with one that was made with the same settings."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        used = any(path.iterdir())
        if used and not resume:
            raise DataError(f"The folder {path} is not empty. Continue in it with --resume, or choose another (--out).")
        saved = json.loads(json.dumps(settings.to_json()))
        if used:
            before = read_settings(path)
            changed = [key for key in saved if before.get(key) != saved[key]]
            if changed:
                raise DataError(
                    f"The labels in {path} were made with another {changed[0]}: {before.get(changed[0])}, and now "
                    f"{saved[changed[0]]} was asked for. For other settings choose another folder (--out)."
                )
        else:
            (path / SETTINGS).write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        self._labels, self._skipped = (_open_lines(path / name) for name in (LABELS, SKIPPED))
        self.done = {line["name"] for name in (LABELS, SKIPPED) for line in _lines(path / name)}
        """Names of the trajectories that were dealt with."""

    def add(self, labelled: Labelled) -> None:
        """Append the words of a trajectory."""
        _append(self._labels, to_json(labelled))
        self.done.add(labelled.trajectory.name)

    def skip(self, skipped: Skipped) -> None:
        """Note a trajectory that cannot be used."""
        _append(self._skipped, dataclasses.asdict(skipped))
        self.done.add(skipped.name)

    def close(self) -> LabelSummary:
        """Count what is there, and let go of the folder."""
        self._labels.close()
        self._skipped.close()
        summary = summarize(self.path)
        draft = self.path / f"{SUMMARY}.new"
        draft.write_text(json.dumps(dataclasses.asdict(summary), indent=2) + "\n", encoding="utf-8")
        draft.replace(self.path / SUMMARY)
        return summary


@dataclass(frozen=True)
class LabelSummary:
    """What a folder of labels amounts to."""

    labelled: int
    skipped: int
    reasons: dict[str, int]
    """Why trajectories were passed over -> how many, the most frequent first."""
    phases: int
    rows: int
    subtasks: int
    """Different ones."""


def summarize(path: Path) -> LabelSummary:
    """Count the lines in the folder `path`."""
    labelled = phases = rows = 0
    subtasks: set[str] = set()
    for line in _lines(path / LABELS):
        labelled += 1
        phases += len(line["phases"])
        rows += sum(len(phase["deltas"]) for phase in line["phases"])
        subtasks.update(line["subtasks"])
    reasons = Counter(line["reason"] for line in _lines(path / SKIPPED))
    return LabelSummary(labelled, reasons.total(), dict(reasons.most_common()), phases, rows, len(subtasks))


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a folder of labels; DataError when it is none."""
    try:
        return json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is no folder of labels: {SETTINGS} cannot be read ({error}).") from error


def read_labels(path: Path, source: Source | None = None) -> Iterator[Labelled]:
    """The labelled trajectories of a folder, one after the other, in the order of their data set.

    source: the data set, where it is no longer in the folder that it was labelled in. DataError for words that were
    made for other motion.
    """
    if source is None:
        settings = read_settings(path)
        source = open_source(Path(settings["data"]), SourceOptions(**settings["source"]))
    lines = {line["name"]: line for line in _lines(path / LABELS)}
    for found in source:
        if isinstance(found, Skipped) or found.name not in lines:
            continue
        yield from_json(lines.pop(found.name), found)
    if lines:
        raise DataError(f"{len(lines)} labelled trajectories are not in the data set, such as {next(iter(lines))!r}.")


def to_json(labelled: Labelled) -> dict[str, Any]:
    """One line of labels.jsonl."""
    trajectory = labelled.trajectory
    return {
        "name": trajectory.name,
        "digest": digest(trajectory),
        "instruction": trajectory.instruction,
        "frames": len(trajectory),
        "subtasks": list(labelled.subtasks),
        "phases": [
            {
                "start": phase.start,
                "stop": phase.stop,
                "subtask": phase.subtask,
                "plan": phase.plan,
                "text": phase.chunk.text,
                "deltas": np.round(phase.chunk.deltas.astype(np.float64), 6).tolist(),
            }
            for phase in labelled.phases
        ],
    }


def from_json(line: dict[str, Any], trajectory: Trajectory) -> Labelled:
    """The inverse of `to_json`; DataError when `trajectory` is not the one that the words were made for."""
    if line["digest"] != digest(trajectory):
        raise DataError(f"{trajectory.name} has changed since it was labelled; label it again.")
    phases = tuple(
        Phase(
            start=phase["start"],
            stop=phase["stop"],
            subtask=phase["subtask"],
            plan=phase["plan"],
            chunk=ActionChunk(np.array(phase["deltas"]), phase["text"]),
        )
        for phase in line["phases"]
    )
    return Labelled(trajectory, tuple(line["subtasks"]), phases)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file, one at a time; what a crash cut off is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"Line {number} of {path} is no JSON ({error}). Was the file edited?") from error


def _open_lines(path: Path) -> Any:
    """`path`, opened for more lines, without what a crash left of a last one; no one else may write to it."""
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise DataError(
            f"Another process is writing to {path.parent}. Wait for it, or choose another folder."
        ) from error
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    return file


def _append(file: Any, values: dict[str, Any]) -> None:
    file.write(json.dumps(values, ensure_ascii=False).encode("utf-8", errors="backslashreplace") + b"\n")
    file.flush()
    os.fsync(file.fileno())
