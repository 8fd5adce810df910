"""Merges the shards of a run into one run folder, as if one process had made it.

Everything is checked before anything is written. What is merged has the same settings, versions and weights, and each
episode is in one run only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.folder_kind import RUN, folder_kind, wrong_folder
from vlm2vla_sim.core.settings_diff import differences
from vlm2vla_sim.core.store import read_settings
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation import provenance
from vlm2vla_sim.evaluation.results import RunSummary, read_results, sort_results, summarize
from vlm2vla_sim.evaluation.run_folder import LOGS, RERUN, RESULTS, SETTINGS, VIDEOS, RunFolder
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.stop_record import KEY as STOPPING
from vlm2vla_sim.evaluation.stop_record import Episode
from vlm2vla_sim.types import EpisodeResult

MERGED = "merged"
"""In `settings.json` of a merged run: the run folders it was made from."""
NAMED = 5
"""How many episodes an error message names."""


@dataclass(frozen=True)
class MergedRun:
    """A merged run."""

    folder: Path
    results: tuple[EpisodeResult, ...]
    summary: RunSummary
    missing: int
    """Episodes of the run that are in none of the folders."""


@dataclass(frozen=True)
class _Part:
    path: Path
    saved: dict[str, Any]
    settings: RunSettings
    results: list[EpisodeResult]


def merge_runs(folders: Sequence[Path], out: Path, *, partial: bool = False) -> MergedRun:
    """Write the episodes of `folders`, runs or shards with the same settings, to the new folder `out`.

    partial: merge although episodes are missing; `run_suite` with `resume` runs them in `out`.

    RunFolderError for runs with other settings, versions or weights, an episode that is in two of them, episodes that
    are missing, and a folder `out` that is not empty. Nothing is written then.
    """
    check_path(out, RunFolderError, beside=".new")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"The folder {out} is not empty. Choose another folder (--out DIR).")
    parts = [_read(path) for path in folders]
    if not parts:
        raise RunFolderError("No run was given; name the run folders to merge.")
    for part in parts:
        if part.saved.get(STOPPING) is not None:
            raise RunFolderError(
                f"{part.path} may have stopped early, at an episode that depends on its results: it is not part of "
                "another run. Leave it out."
            )
    first = parts[0]
    for other in parts[1:]:
        _check_settings(first, other)
        _check_provenance(first, other)
    versions = _same_versions(parts)
    _check_overlap(parts)
    missing = _missing(first.settings, parts)
    if missing and not partial:
        raise RunFolderError(
            f"{len(missing)} episodes are in none of the runs: {_named(missing)}. Continue the shards that are not "
            "complete (--resume), or merge what is there (--partial)."
        )
    try:
        return _write(parts, out, versions, len(missing))
    except RunFolderError:
        raise
    except OSError as problem:
        raise RunFolderError(
            f"The runs cannot be merged into {out}: {problem.strerror or problem} ({problem.filename})."
        ) from problem


def _read(path: Path) -> _Part:
    if folder_kind(path) is not RUN:
        raise RunFolderError(wrong_folder(path, RUN.name))
    saved = read_settings(path / SETTINGS, RunFolderError)
    try:
        settings = RunSettings.from_json(saved)
    except (TypeError, KeyError) as problem:
        raise RunFolderError(f"{path / SETTINGS} holds no settings of a run ({problem}).") from problem
    return _Part(path, saved, settings, read_results(path / RESULTS))


def _check_settings(first: _Part, other: _Part) -> None:
    different = "; ".join(map(str, differences(first.saved, other.settings)))
    if different:
        raise RunFolderError(
            f"{first.path} and {other.path} are different runs: {first.path} was made with {different}. Merge shards "
            "of one run."
        )


def _check_provenance(first: _Part, other: _Part) -> None:
    one, two = first.saved.get(provenance.KEY), other.saved.get(provenance.KEY)
    if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
        return  # one of them has no completed episode
    different = "; ".join(provenance.differences(one, two))
    if different:
        raise RunFolderError(
            f"{first.path} and {other.path} were run with other weights or another server: {different}. Merge runs of "
            "the same weights."
        )


def _same_versions(parts: Iterable[_Part]) -> dict[str, str]:
    """Name -> version, of all runs and episodes; RunFolderError if two differ.

    Only packages that were loaded have one, and a worker process loads fewer than a process that holds the model.
    """
    found: dict[str, tuple[str, Path]] = {}
    for part in parts:
        for versions in (part.saved.get("versions") or {}, *(result.versions for result in part.results)):
            for name, version in versions.items():
                known, where = found.setdefault(name, (version, part.path))
                if known != version:
                    raise RunFolderError(
                        f"The episodes were run with two versions of {name}: {known} in {where} and {version} in "
                        f"{part.path}. Results of two versions are not results of one run; run one of them again."
                    )
    return {name: version for name, (version, _) in found.items()}


def _check_overlap(parts: Iterable[_Part]) -> None:
    found: dict[Episode, Path] = {}
    for part in parts:
        for result in part.results:
            if result.key in found:
                where = f"{result.condition} {result.task}".strip()
                raise RunFolderError(
                    f"{where} episode {result.episode_id} is in {found[result.key]} and in {part.path}. Leave one of "
                    "them out: an episode that is counted twice changes the rates."
                )
            found[result.key] = part.path


def _missing(settings: RunSettings, parts: Iterable[_Part]) -> list[Episode]:
    names = {task: find_task(task, settings.backend).name for task in settings.tasks}
    done = {result.key for part in parts for result in part.results}
    planned = [(names[task], condition, k) for task, condition, k in settings.plan]
    return [episode for episode in planned if episode not in done]


def _named(episodes: Sequence[Episode]) -> str:
    named = ", ".join(f"{condition} {task} {k}".strip() for task, condition, k in episodes[:NAMED])
    return named + (", ..." if len(episodes) > NAMED else "")


def _write(parts: Sequence[_Part], out: Path, versions: dict[str, str], missing: int) -> MergedRun:
    results = sort_results(result for part in parts for result in part.results)
    recorded = {
        "started": min(str(part.saved.get("started", "")) for part in parts),
        "versions": versions,
        MERGED: [str(part.path) for part in parts],
    }
    summary = summarize(results)
    with creating_folder(out) as draft:
        with closing(RunFolder(draft, parts[0].settings, resume=False, recorded=recorded)) as folder:
            for result in results:
                folder.append(result)
            folder.write_summary(summary)
        for part in parts:
            for name in (VIDEOS, LOGS, RERUN):
                if (part.path / name).is_dir():
                    shutil.copytree(part.path / name, draft / name, dirs_exist_ok=True)
    return MergedRun(out, tuple(results), summary, missing)
