"""Which trial comes next, and what is known of those before: the plan and the log of a session with a person in it.

A comparison on a real robot takes days and is interrupted. The order is drawn once, from the seed, so that a resumed
session goes on where it was and neither policy gets the better light; each trial is on disk before the next begins.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.operator.prompts import Label
from vlm2vla_sim.evaluation.results import split_torn, summarize
from vlm2vla_sim.types import EpisodeResult, Outcome

PLAN, TRIALS, EVENTS = "plan.json", "trials.jsonl", "events.jsonl"
RESULTS, SUMMARY = "results.jsonl", "summary.json"
LOCK_PATIENCE = 2.0
"""[s]"""


@dataclass(frozen=True)
class Contender:
    """A policy that takes part."""

    policy: str
    action_format: str = "vlm2vla"


@dataclass(frozen=True)
class Trial:
    """One trial of the plan."""

    number: int
    task: str
    """A task's name, or an instruction."""
    episode_id: int
    contender: int
    """Index into the session's contenders."""


@dataclass(frozen=True)
class SessionSettings:
    """Everything that decides a session's trials and their order."""

    contenders: tuple[Contender, ...]
    tasks: tuple[str, ...]
    episodes: int
    backend: str = "bridge"
    seed: int = 0
    blind: bool = False
    """Whether the person sees letters instead of the policies' names."""
    shuffle: bool = True

    def __post_init__(self) -> None:
        if not self.contenders or not self.tasks or self.episodes < 1:
            raise SettingError("A session needs at least one policy, one task and one episode.")
        if len(self.contenders) > 26:
            raise SettingError(f"{len(self.contenders)} policies take part; at most 26 have a letter each.")

    def plan(self) -> tuple[Trial, ...]:
        """All trials in order: scenes in random order, and on each scene every contender in random order."""
        rng = np.random.default_rng([self.seed, 2026])
        scenes = [(task, episode) for task in self.tasks for episode in range(self.episodes)]
        if self.shuffle:
            scenes = [scenes[int(k)] for k in rng.permutation(len(scenes))]
        trials: list[Trial] = []
        for task, episode in scenes:
            order = range(len(self.contenders))
            for contender in rng.permutation(len(order)) if self.shuffle else order:
                trials.append(Trial(len(trials), task, episode, int(contender)))
        return tuple(trials)

    def letters(self) -> tuple[str, ...]:
        """The contenders' letters, dealt from the seed: A says nothing about which was named first."""
        rng = np.random.default_rng([self.seed, 1926])
        return tuple(chr(ord("A") + int(k)) for k in rng.permutation(len(self.contenders)))

    def title(self, trial: Trial) -> str:
        """What the person is told about who is next."""
        return self.letters()[trial.contender] if self.blind else self.contenders[trial.contender].policy


@dataclass(frozen=True)
class Record:
    """A trial that counts: what was said and what was measured."""

    trial: Trial
    label: Label
    result: EpisodeResult
    attempts: int

    def to_json(self) -> str:
        """One line of `trials.jsonl`, without its end."""
        values = {
            "trial": dataclasses.asdict(self.trial),
            "label": dataclasses.asdict(self.label),
            "attempts": self.attempts,
            "result": json.loads(self.result.to_json()),
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The inverse of `to_json`."""
        values = json.loads(line)
        label = values["label"]
        return cls(
            Trial(**values["trial"]),
            Label(label["word"], label["score"], tuple(label["notes"]), label["automatic"]),
            EpisodeResult.from_json(json.dumps(values["result"])),
            values["attempts"],
        )


class TrialLog:
    """A session's folder. A trial is in it, whole and on the disk, or not at all."""

    def __init__(self, path: Path, settings: SessionSettings, *, resume: bool) -> None:
        """Start a session in the new or empty folder `path`, or go on with the one that is there."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        plan = json.dumps(dataclasses.asdict(settings), indent=2) + "\n"
        if (path / PLAN).exists():
            if not resume:
                raise RunFolderError(
                    f"There is a session in {path}. Go on with it (--resume), or choose another folder."
                )
            if (path / PLAN).read_text(encoding="utf-8") != plan:
                raise RunFolderError(
                    f"The session in {path} has other settings (see {PLAN}). A session is continued as it was begun."
                )
        else:
            if any(path.iterdir()):
                raise RunFolderError(f"The folder {path} is not empty and holds no session. Choose another folder.")
            _write_whole(path / PLAN, plan)
        self._file = (path / TRIALS).open("ab", buffering=0)
        self._lock()
        whole, torn = split_torn(path / TRIALS)
        if torn:  # A crash cut the last line off: that trial does not exist.
            self._file.truncate((path / TRIALS).stat().st_size - len(torn))
        self.records = [Record.from_json(line) for line in whole]
        if self.records:
            # Killed between a trial's line and the files made from it, a session would leave those one trial short.
            self._write_results()

    def _lock(self) -> None:
        # A process that was killed may leave, for a moment, a child that still holds its files.
        end = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > end:
                    self._file.close()
                    raise RunFolderError(
                        f"Another session is writing to {self.path}. End it, or choose another folder."
                    ) from error
                time.sleep(0.05)

    def done(self) -> set[int]:
        """Numbers of the trials that count."""
        return {record.trial.number for record in self.records}

    def add(self, record: Record) -> None:
        """Write one trial and see it to the disk, before anybody is told that it is recorded."""
        line = memoryview(record.to_json().encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]
        os.fsync(self._file.fileno())
        self.records.append(record)
        self._write_results()

    def note(self, event: str, trial: Trial, reason: str = "") -> None:
        """Write down what happened to an attempt that does not count: "fault", "redo", "abort"."""
        line = json.dumps({"event": event, "trial": trial.number, "reason": reason}, ensure_ascii=False)
        with (self.path / EVENTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()

    def _write_results(self) -> None:
        """The files that every run has, made anew from the trials."""
        results = [record.result for record in self.records]
        _write_whole(self.path / RESULTS, "".join(result.to_json() + "\n" for result in results))
        by_policy = {
            policy: summarize([r for r in results if r.policy == policy]).to_json()
            for policy in dict.fromkeys(result.policy for result in results)
        }
        summary = {**summarize(results).to_json(), "policies": by_policy}
        _write_whole(self.path / SUMMARY, json.dumps(summary, indent=2) + "\n")


def labelled(result: EpisodeResult, label: Label, *, known: bool) -> EpisodeResult:
    """The result with the person's word in place of what the backend could not know."""
    if label.automatic and known:
        return result
    outcome = Outcome.SUCCESS if label.word == "success" else Outcome.FAILURE
    success = outcome is Outcome.SUCCESS
    words = "; ".join([f"operator: {label.word} {label.score:g}", *label.notes])
    return dataclasses.replace(
        result, outcome=outcome, success_at_end=success, success_once=success or result.success_once, reason=words
    )


def tally(records: Sequence[Record], settings: SessionSettings) -> str:
    """Successes by contender, names shown: only for the end of a session."""
    lines = []
    for index, contender in enumerate(settings.contenders):
        mine = [r for r in records if r.trial.contender == index]
        good = sum(r.result.outcome is Outcome.SUCCESS for r in mine)
        letter = f"{settings.letters()[index]} = " if settings.blind else ""
        faults = sum(r.attempts - 1 for r in mine)
        again = f", {faults} attempts run again" if faults else ""
        lines.append(f"{letter}{contender.policy} ({contender.action_format}): {good} of {len(mine)}{again}")
    return "\n".join(lines)


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
