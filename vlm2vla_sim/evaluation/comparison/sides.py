"""The sides of a comparison: the episodes of one policy, from one or several run folders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.store import read_settings
from vlm2vla_sim.errors import NotComparableError, RunFolderError
from vlm2vla_sim.evaluation.comparison.lerobot import NOT_RECORDED, find_eval_info, read_eval_info
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.run_folder import RESULTS, SETTINGS
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.stop_record import KEY, StopRecord
from vlm2vla_sim.types import EpisodeResult, Outcome

POLICY_SETTINGS = frozenset({"policy", "action_format", "noise_cm", "language", "policy_options", "policy_name"})
"""Settings that describe the policy: what is compared."""
PLAN_SETTINGS = frozenset({"tasks", "episodes", "seed", "metrics", "conditions", "left_out"})
"""Settings that decide which episodes there are, or nothing of an episode's result."""
_SETTINGS = frozenset(field.name for field in dataclasses.fields(RunSettings))
MAX_STEPS = "max_steps"
"""The limit of an episode, where a run has one that is not the task's own."""
SIMULATOR = ("vlm2vla_sim", "mujoco", "sapien", "mani_skill", "mani_skill2_real2sim")
"""Versions that decide what the environment does: results of two of them may differ for the same policy."""
_OURS = f"version of {SIMULATOR[0]}"
"""Recorded wherever any version is."""


@dataclass(frozen=True)
class Side:
    """One policy's episodes."""

    name: str
    """As it was given: folders, and the policy where a folder has several."""
    policy: str
    episodes: tuple[EpisodeResult, ...]
    conditions: Mapping[str, str]
    """What has to be the same on both sides: setting or version -> value, as text."""
    stopping: StopRecord | None = None
    """The rule by which the run may have stopped early."""
    seeded: bool = True
    """Whether the seeds of its episodes are known; if not, they have no partners."""


def read_side(given: str) -> Side:
    """The side `given` as "FOLDER", "FOLDER#POLICY" or several of them with commas.

    A folder with LeRobot's `eval_info.json`, or the file, is one too; "FILE#seed=N" names the seed of its evaluation.

    Raises:
        RunFolderError: a folder that has no results, or does not have the policy.
        NotComparableError: folders whose episodes cannot be merged.
    """
    parts = [_read_part(part, folder, policy) for part, folder, policy in parts_of(given)]
    stopping = [part.name for part in parts if part.stopping is not None]
    if stopping and len(parts) > 1:
        raise NotComparableError(
            f"{stopping[0]} may have stopped early, and cannot be merged with other runs: name it alone."
        )
    if len(parts) > 1 and any(part.policy == NOT_RECORDED for part in parts):
        raise NotComparableError(f"{given}: LeRobot's files do not name their policy, and are not merged: name one.")
    for part in parts[1:]:
        different = differences(parts[0].conditions, part.conditions)
        if different:
            raise NotComparableError(f"{parts[0].name} and {part.name} cannot be merged: {'; '.join(different)}.")
        if part.policy != parts[0].policy:
            raise NotComparableError(
                f"{parts[0].name} and {part.name} cannot be merged: their policies are {parts[0].policy} and "
                f"{part.policy}."
            )
    episodes = [episode for part in parts for episode in part.episodes]
    keys = [(*episode.key, episode.seed) for episode in episodes]
    if len(set(keys)) != len(keys):
        raise NotComparableError(f"{given} holds the same episode (task, number, seed) more than once.")
    return dataclasses.replace(parts[0], name=given, episodes=tuple(episodes))


def parts_of(given: str) -> list[tuple[str, Path, str]]:
    """The parts of `given`, each with its folder and its policy (empty: the only one). RunFolderError without one.

    A folder that exists is one, whatever signs its name has.
    """
    names = [given] if _has_results(given) else [part.strip() for part in given.split(",") if part.strip()]
    if not names:
        raise RunFolderError(f"{given!r} names no run folder.")
    return [(name, *_folder_and_policy(name)) for name in names]


def _folder_and_policy(part: str) -> tuple[Path, str]:
    if _has_results(part):
        return Path(part), ""
    last, first = part.rpartition("#"), part.partition("#")
    folder, _, policy = last if _has_results(last[0]) else first
    return Path(folder), policy


def _has_results(folder: str) -> bool:
    return bool(folder) and ((Path(folder) / RESULTS).is_file() or find_eval_info(Path(folder)) is not None)


def policies_in(folder: str | Path) -> list[str]:
    """The policies that have episodes in a folder, in the order of their first one."""
    return list(dict.fromkeys(episode.policy for episode in _read(Path(folder))))


def differences(first: Mapping[str, str], second: Mapping[str, str], allow: Sequence[str] = ()) -> list[str]:
    """What differs between two sides' conditions, as "backend: mujoco, simpler", without the names in `allow`."""
    found = []
    for name in dict.fromkeys([*first, *second]):
        if name in allow or ("versions" in allow and name.startswith("version of ")):
            continue
        # A value that only one side has recorded is unknown on the other. Not so of a package: a process records those
        # that it has loaded, ours always, and what is not loaded decides nothing.
        unused = name.startswith("version of ") and (name not in first or name not in second)
        if unused and _OURS in first and _OURS in second:
            continue
        unknown = "the task's own" if name == MAX_STEPS else "not recorded"
        before, after = first.get(name, unknown), second.get(name, unknown)
        if before != after:
            found.append(f"{name}: {before}, {after}")
    return found


def setting_conditions(values: Mapping[str, Any]) -> dict[str, str]:
    """The conditions among the settings of a run, as plain values, without a suite or a limit that it does not have."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in values.items()
        if name not in POLICY_SETTINGS | PLAN_SETTINGS and (name, value) not in (("suite", ""), (MAX_STEPS, None))
    }


def _read_part(given: str, folder: Path, policy: str) -> Side:
    if (file := find_eval_info(folder)) is not None:
        info = read_eval_info(file, policy)
        return Side(given, NOT_RECORDED, info.episodes, episode_conditions(info.episodes), seeded=info.seeded)
    episodes = _read(folder)
    found = list(dict.fromkeys(episode.policy for episode in episodes))
    if policy and policy not in found:
        raise RunFolderError(f"{folder} has no episode of the policy {policy!r}; it has: {', '.join(found)}.")
    if not policy and len(found) > 1:
        raise RunFolderError(
            f"{folder} has episodes of several policies: {', '.join(found)}. Name one, as {folder}#{found[0]}."
        )
    policy = policy or found[0]
    kept = tuple(episode for episode in episodes if episode.policy == policy)
    return Side(given, policy, kept, _conditions(folder, kept), _stopping(folder))


def _read(folder: Path) -> list[EpisodeResult]:
    if not (folder / RESULTS).exists():
        raise RunFolderError(f"There is no {RESULTS} in {folder}: it is no folder of `vlm2vla evaluate` or a session.")
    episodes = read_results(folder / RESULTS)
    if not episodes:
        raise RunFolderError(f"There is no finished episode in {folder}.")
    return episodes


def _stopping(folder: Path) -> StopRecord | None:
    settings = folder / SETTINGS
    saved = read_settings(settings, RunFolderError).get(KEY) if settings.exists() else None
    return None if saved is None else StopRecord.from_json(saved, settings)


def _conditions(folder: Path, episodes: Sequence[EpisodeResult]) -> dict[str, str]:
    conditions: dict[str, str] = {}
    settings = folder / SETTINGS
    if settings.exists():
        values = read_settings(settings, RunFolderError)
        conditions |= setting_conditions({name: value for name, value in values.items() if name in _SETTINGS})
    return {**conditions, **episode_conditions(episodes)}


def episode_conditions(episodes: Sequence[EpisodeResult]) -> dict[str, str]:
    """The conditions that the results of episodes name."""
    # An episode whose process died has no profile and no versions.
    episodes = [episode for episode in episodes if episode.outcome is not Outcome.ERROR] or episodes
    conditions: dict[str, str] = {}
    # With a suite, its conditions decide the layouts of their episodes, and their options may the profile: see below.
    own = () if any(episode.suite for episode in episodes) else ("profile", "layouts")
    for field in ("backend", *own):
        conditions[field] = ", ".join(sorted({str(getattr(episode, field)) for episode in episodes}))
    for package in SIMULATOR:
        versions = sorted({episode.versions[package] for episode in episodes if package in episode.versions})
        if versions:
            conditions[f"version of {package}"] = ", ".join(versions)
    return conditions


def other_profile(pairs: Iterable[tuple[EpisodeResult, EpisodeResult]]) -> str:
    """Which pair of a suite's episodes has two profiles, as `differences` says it; empty for none."""
    for first, second in pairs:
        if first.suite and first.profile != second.profile:
            return f"profile (condition {first.condition}): {first.profile}, {second.profile}"
    return ""


def other_limit(pairs: Iterable[tuple[EpisodeResult, EpisodeResult]]) -> str:
    """Which pair of episodes had limits of two lengths, as `differences` says it; empty for none, or none known."""
    for first, second in pairs:
        if first.max_steps and second.max_steps and first.max_steps != second.max_steps:
            return f"{MAX_STEPS} ({first.task} episode {first.episode_id}): {first.max_steps}, {second.max_steps}"
    return ""
