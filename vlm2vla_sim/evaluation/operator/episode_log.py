"""Which trial comes next, and what is known of those before: the plan and the log of a session with a person in it.

A comparison on a real robot takes days and is interrupted. The order is drawn once, from the seed, so that a resumed
session goes on where it was and neither policy gets the better light; each trial is on disk before the next begins.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.store import Store
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.operator.prompts import Label
from vlm2vla_sim.evaluation.results import summarize
from vlm2vla_sim.types import EpisodeResult, Outcome

PLAN, TRIALS, EVENTS = "plan.json", "trials.jsonl", "events.jsonl"
RESULTS, SUMMARY = "results.jsonl", "summary.json"


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
    """A session's folder. A trial is in it complete and on the disk, or not at all."""

    def __init__(self, path: Path, settings: SessionSettings, *, resume: bool) -> None:
        """Start a session in the new or empty folder `path`, or with `resume` continue the one that is there.

        RunFolderError if another process writes to the folder, or if it cannot be used or written.
        """
        self.path = path
        self._store = Store(
            path,
            settings,
            resume=resume,
            kind="session",
            error=RunFolderError,
            settings_file=PLAN,
            files=(TRIALS, EVENTS),
        )
        self.records = [Record.from_json(line) for line in self._store.lines(TRIALS)]
        if self.records:
            # Killed between a trial's line and the files made from it, a session would leave those one trial short.
            self._write_results()

    def done(self) -> set[int]:
        """Numbers of the trials that count."""
        return {record.trial.number for record in self.records}

    def add(self, record: Record) -> None:
        """Write one trial and flush it to the disk, before the operator is told that it is recorded."""
        self._store.append(TRIALS, record.to_json(), what=f"Trial {record.trial.number}")
        self.records.append(record)
        self._write_results()

    def note(self, event: str, trial: Trial, reason: str = "") -> None:
        """Record what happened to an attempt that does not count: "fault", "redo", "abort"."""
        line = json.dumps({"event": event, "trial": trial.number, "reason": reason}, ensure_ascii=False)
        self._store.append(EVENTS, line, what=f"The event {event!r} of trial {trial.number}")

    def close(self) -> None:
        """Release the folder."""
        self._store.close()

    def _write_results(self) -> None:
        """Write the files that every run has, made from the trials."""
        results = [record.result for record in self.records]
        self._store.write(RESULTS, "".join(result.to_json() + "\n" for result in results))
        by_policy = {
            policy: summarize([r for r in results if r.policy == policy]).to_json()
            for policy in dict.fromkeys(result.policy for result in results)
        }
        summary = {**summarize(results).to_json(), "policies": by_policy}
        self._store.write(SUMMARY, json.dumps(summary, indent=2) + "\n")


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
