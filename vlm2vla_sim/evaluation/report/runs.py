"""The runs of a report: their episodes as they are on the disk, and what else their folders tell."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.core.json_lines import read_lines
from vlm2vla_sim.core.store import read_settings
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.comparison.sides import parts_of
from vlm2vla_sim.evaluation.results import read_results, sort_results
from vlm2vla_sim.evaluation.run_folder import RESULTS, SETTINGS, SHARD
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.types import EpisodeResult

PLAN = "plan.json"
"""The settings of a session with a person, in place of `SETTINGS`."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of a report."""

    result: EpisodeResult
    line: Mapping[str, Any]
    """Its line of results.jsonl as it is, with keys that only some versions write."""
    folder: Path
    """The run folder."""

    @functools.cached_property
    def video(self) -> Path | None:
        """The file of its video; None without one, and for a path that leads out of the run folder."""
        if not self.result.video:
            return None
        path = self.folder / self.result.video
        inside = path.resolve().is_relative_to(self.folder.resolve())
        return path if inside and path.is_file() else None


@dataclass(frozen=True, eq=False)
class ReportRun:
    """One policy's episodes, from one or several folders."""

    given: str
    """As `evaluation.comparison.sides.read_side` reads it: FOLDER, FOLDER#POLICY, or several with commas."""
    label: str
    """What the page calls it; no other run of the report has the same."""
    policy: str
    episodes: tuple[Episode, ...]
    """By task, then by episode."""
    settings: tuple[Mapping[str, Any], ...]
    """Of each folder: `settings.json`, or `plan.json` of a session; empty where it has neither."""
    folders: tuple[Path, ...]
    planned: int | None
    """Episodes that the settings ask for; None where that is unknown."""

    @property
    def results(self) -> list[EpisodeResult]:
        """The results of the episodes."""
        return [episode.result for episode in self.episodes]

    @property
    def is_session(self) -> bool:
        """Whether a person was asked about the episodes."""
        return any((folder / PLAN).is_file() for folder in self.folders)


def read_runs(given: Sequence[str]) -> list[ReportRun]:
    """The runs named in `given`; a session of several policies becomes one run for each.

    RunFolderError for a folder without results or without an episode, and for a policy that it does not have.
    """
    names = [name for one in given for name in _by_policy(one)]
    if len(set(names)) != len(names):
        raise SettingError("A run was named twice; leave one out.")
    labels = _labels(names)
    return [_read_run(name, label) for name, label in zip(names, labels, strict=True)]


def _by_policy(given: str) -> list[str]:
    parts = parts_of(given)
    if len(parts) > 1 or parts[0][2]:
        return [given]
    policies = list(dict.fromkeys(episode.result.policy for episode in _read_folder(parts[0][1])))
    return [given] if len(policies) == 1 else [f"{given}#{policy}" for policy in policies]


def _labels(names: Sequence[str]) -> list[str]:
    """The last part of each path, or the whole path where two end alike."""
    short = [", ".join(_short(folder, policy) for _, folder, policy in parts_of(name)) for name in names]
    return [label if short.count(label) == 1 else name for label, name in zip(short, names, strict=True)]


def _short(folder: Path, policy: str) -> str:
    return f"{folder.resolve().name}#{policy}" if policy else folder.resolve().name


def _read_run(given: str, label: str) -> ReportRun:
    episodes: list[Episode] = []
    for _, folder, policy in parts_of(given):
        found = _read_folder(folder)
        kept = [episode for episode in found if policy in ("", episode.result.policy)]
        if not kept:
            has = ", ".join(dict.fromkeys(episode.result.policy for episode in found))
            raise RunFolderError(f"{folder} has no episode of the policy {policy!r}; it has: {has}.")
        episodes += kept
    policies = list(dict.fromkeys(episode.result.policy for episode in episodes))
    if len(policies) > 1:
        raise RunFolderError(
            f"{given} holds several policies: {', '.join(policies)}. Name one, as FOLDER#{policies[0]}."
        )
    folders = tuple(dict.fromkeys(episode.folder for episode in episodes))
    settings = tuple(_settings(folder) for folder in folders)
    planned = [_planned(values) for values in settings]
    place = {id(episode.result): episode for episode in episodes}
    ordered = tuple(place[id(result)] for result in sort_results(episode.result for episode in episodes))
    return ReportRun(
        given,
        label,
        policies[0],
        ordered,
        settings,
        folders,
        None if None in planned else sum(count for count in planned if count is not None),
    )


def _read_folder(folder: Path) -> list[Episode]:
    path = folder / RESULTS
    if not path.is_file():
        raise RunFolderError(
            wrong_folder(folder, f"a run of `vlm2vla evaluate` or a session, which contains {RESULTS}")
        )
    results = read_results(path)
    if not results:
        raise RunFolderError(f"There is no finished episode in {folder} yet.")
    # A run that goes on may have added lines in between: those are left out.
    lines = zip(results, read_lines(path), strict=False)
    return [Episode(result, json.loads(line), folder) for result, line in lines]


def _settings(folder: Path) -> dict[str, Any]:
    for name in (SETTINGS, PLAN):
        if (folder / name).is_file():
            return read_settings(folder / name, RunFolderError)
    return {}


def _planned(settings: Mapping[str, Any]) -> int | None:
    tasks, episodes = settings.get("tasks"), settings.get("episodes")
    if not isinstance(tasks, list) or not isinstance(episodes, int):
        return None
    conditions = settings.get("conditions") or ()
    count = episodes * (sum(len(condition["tasks"]) for condition in conditions) or len(tasks))
    shard = settings.get(SHARD)
    return count if not shard else len(Shard.parse(str(shard)).of(range(count)))
