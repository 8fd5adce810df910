"""The plan and the log of a session with an operator: which episode comes next, and the results so far.

The order is drawn once, from the seed, so that a resumed session continues where it was and the time of day favours
no policy. Each episode is on the disk before the next begins.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.store import Store
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.operator.prompts import Label
from vlm2vla_sim.evaluation.provenance import ProvenanceRecord
from vlm2vla_sim.evaluation.results import summarize
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import EpisodeResult, Outcome

PLAN, EPISODES, EVENTS = "plan.json", "episodes.jsonl", "events.jsonl"
RESULTS, SUMMARY = "results.jsonl", "summary.json"


@dataclass(frozen=True)
class PlannedEpisode:
    """One episode of the plan."""

    number: int
    task: str
    """A task's name, or an instruction."""
    episode_id: int
    policy: int
    """Index into the session's policies."""


@dataclass(frozen=True)
class SessionSettings:
    """Everything that decides a session's episodes and their order."""

    policies: tuple[PolicySpec, ...]
    tasks: tuple[str, ...]
    episodes: int
    backend: str = "bridge"
    seed: int = 0
    blind: bool = False
    """Whether the operator sees letters instead of the policies' names."""
    shuffle: bool = True

    def __post_init__(self) -> None:
        if not self.policies or not self.tasks or self.episodes < 1:
            raise SettingError("A session needs at least one policy, one task and one episode.")
        labels = [spec.label for spec in self.policies]
        if len(set(labels)) != len(labels):
            raise SettingError(
                f"Two policies have the same name: {', '.join(labels)}. Give each its own name (`name` in its file)."
            )
        if len(self.policies) > 26:
            raise SettingError(f"{len(self.policies)} policies take part; at most 26 have a letter each.")

    def check_tasks(self) -> None:
        """SettingError if two tasks have one name in results, as two long instructions that begin alike."""
        names = [find_task(task, self.backend).name for task in self.tasks]
        if len(set(names)) != len(names):
            raise SettingError(
                f"Two tasks have the same name in results: {', '.join(names)}. Leave one out, or reword it."
            )

    def plan(self) -> tuple[PlannedEpisode, ...]:
        """All episodes in order: scenes in random order, and on each scene every policy in random order."""
        rng = np.random.default_rng([self.seed, 2026])
        scenes = [(task, episode) for task in self.tasks for episode in range(self.episodes)]
        if self.shuffle:
            scenes = [scenes[int(k)] for k in rng.permutation(len(scenes))]
        episodes: list[PlannedEpisode] = []
        for task, episode in scenes:
            order = range(len(self.policies))
            for policy in rng.permutation(len(order)) if self.shuffle else order:
                episodes.append(PlannedEpisode(len(episodes), task, episode, int(policy)))
        return tuple(episodes)

    def letters(self) -> tuple[str, ...]:
        """The letter of each policy, drawn from the seed, so that A is not always the one named first."""
        rng = np.random.default_rng([self.seed, 1926])
        return tuple(chr(ord("A") + int(k)) for k in rng.permutation(len(self.policies)))

    def title(self, episode: PlannedEpisode) -> str:
        """What the operator sees as the policy of `episode`: its letter in a blind session, else its label."""
        return self.letters()[episode.policy] if self.blind else self.policies[episode.policy].label


@dataclass(frozen=True)
class EpisodeRecord:
    """An episode that counts: the operator's label and what was measured."""

    episode: PlannedEpisode
    label: Label
    result: EpisodeResult
    attempts: int

    def to_json(self) -> str:
        """One line of `episodes.jsonl`, without its end."""
        values = {
            "episode": dataclasses.asdict(self.episode),
            "label": dataclasses.asdict(self.label),
            "attempts": self.attempts,
            "result": json.loads(self.result.to_json()),
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> EpisodeRecord:
        """The inverse of `to_json`."""
        values = json.loads(line)
        label = values["label"]
        return cls(
            PlannedEpisode(**values["episode"]),
            Label(label["word"], label["score"], tuple(label["notes"]), label["automatic"]),
            EpisodeResult.from_json(json.dumps(values["result"])),
            values["attempts"],
        )


class EpisodeLog:
    """A session's folder. An episode is in it complete and on the disk, or not at all."""

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
            files=(EPISODES, EVENTS),
        )
        self._provenance = ProvenanceRecord(self._store, by_policy=True)
        self.records = [EpisodeRecord.from_json(line) for line in self._store.lines(EPISODES)]
        if self.records:
            # A session killed after writing an episode's line may have left these files without that episode.
            self._write_results()

    def done(self) -> set[int]:
        """Numbers of the episodes that count."""
        return {record.episode.number for record in self.records}

    def add(self, record: EpisodeRecord) -> None:
        """Write one episode and flush it to the disk, before the operator is told that it is recorded.

        RunFolderError if its policy used other weights than in earlier episodes.
        """
        self._provenance.check(record.result)
        self._store.append(EPISODES, record.to_json(), what=f"Episode {record.episode.number}")
        self.records.append(record)
        self._write_results()

    def note(self, event: str, episode: PlannedEpisode, reason: str = "") -> None:
        """Record what happened to an attempt: "fault", "redo", "stop", "abort", "interrupt", "policy crash".

        "stop" is that of an episode, "abort" that of the session; "interrupt" is Ctrl-C, SIGTERM or SIGHUP.
        """
        line = json.dumps({"event": event, "episode": episode.number, "reason": reason}, ensure_ascii=False)
        self._store.append(EVENTS, line, what=f"The event {event!r} of episode {episode.number}")

    def close(self) -> None:
        """Release the folder."""
        self._store.close()

    def _write_results(self) -> None:
        """Write the files that every run has, made from the episodes."""
        results = [record.result for record in self.records]
        self._store.write(RESULTS, "".join(result.to_json() + "\n" for result in results))
        by_policy = {
            policy: summarize([r for r in results if r.policy == policy]).to_json()
            for policy in dict.fromkeys(result.policy for result in results)
        }
        summary = {**summarize(results).to_json(), "policies": by_policy}
        self._store.write(SUMMARY, json.dumps(summary, indent=2) + "\n")


def apply_label(result: EpisodeResult, label: Label, *, known: bool) -> EpisodeResult:
    """The result with the operator's label in place of what the backend does not know.

    What neither knows stays None. Whether a failed episode had succeeded in between is such a thing, and then it is
    None for successes as well: a rate over the successes alone would be 100 %.
    """
    if label.automatic and known:
        return result
    success = label.word == "success"
    reason = "; ".join([f"operator: {label.word} {label.score:g}", *label.notes])
    return dataclasses.replace(
        result,
        outcome=Outcome.SUCCESS if success else Outcome.FAILURE,
        success_at_end=success,
        success_once=None if result.success_once is None else success or result.success_once,
        success_released=_under(success, result, result.success_released),
        success_settled=_under(success, result, result.success_settled),
        progress=label.score,
        reason=reason,
    )


def _under(success: bool, result: EpisodeResult, measured: bool | None) -> bool | None:
    """What is left of a stricter rule of success, once a person has said whether it was one at all."""
    if measured is None or success == result.success_at_end:
        return measured
    return None if success else False


def tally(records: Sequence[EpisodeRecord], settings: SessionSettings) -> str:
    """Successes and progress by policy, with their 95 % Wilson intervals, names shown: only for a session's end."""
    lines = []
    for index, policy in enumerate(settings.policies):
        mine = [r for r in records if r.episode.policy == index]
        summary = summarize([r.result for r in mine]).overall
        letter = f"{settings.letters()[index]} = " if settings.blind else ""
        faults = sum(r.attempts - 1 for r in mine)
        rate = summary.success_at_end
        parts = [f"{letter}{policy.label} ({policy.action_format}): {rate.k} of {rate.n}"]
        if rate.n:
            parts[0] += f", {rate.percent()}"
        if summary.progress.n:
            parts.append(f"progress {summary.progress}")
        if faults:
            parts.append(f"{faults} attempts run again")
        lines.append(", ".join(parts))
    return "\n".join(lines)
