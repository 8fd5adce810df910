"""The folder in which a run leaves its settings, results, summary and videos; nothing in it is overwritten.

Results are appended and flushed episode by episode, so that a crash, a full disk or Ctrl-C loses none.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

from vlm2vla_sim.core.file_names import file_name
from vlm2vla_sim.core.settings_diff import to_plain
from vlm2vla_sim.core.store import Store
from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.provenance import ProvenanceRecord
from vlm2vla_sim.evaluation.results import RunSummary, read_results
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.shard import Shard
from vlm2vla_sim.evaluation.stop_record import KEY as STOPPING
from vlm2vla_sim.evaluation.stop_record import StopRecord, StopState
from vlm2vla_sim.evaluation.trackers.base import TrackedRun
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.types import EpisodeResult

SETTINGS, RESULTS, SUMMARY = "settings.json", "results.jsonl", "summary.json"
VIDEOS, LOGS, RERUN = "videos", "logs", "rerun"
"""Folders for what episodes write: videos, tracebacks of errors, recordings for the Rerun viewer."""
SHARD = "shard"
"""In `settings.json` of a shard: which one, as "I/N"."""
TRACKER_ID = "tracker_id"
"""In `settings.json` of a run with a tracker: `TrackedRun.id`."""


def default_folder(settings: RunSettings | None) -> Path:
    """runs/<date>_<time>-<policy>-<backend>, below the current folder; "policies" where there are several."""
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    what = "policies" if settings is None else f"{settings.spec.label}-{settings.backend}"
    return Path("runs") / file_name(f"{now}-{what}")


class RunFolder:
    """One run on disk. Only one process at a time may hold it open."""

    def __init__(
        self,
        path: Path,
        settings: RunSettings,
        *,
        resume: bool,
        shard: Shard | None = None,
        stopping: StopRecord | None = None,
        recorded: Mapping[str, object] | None = None,
    ) -> None:
        """Create the folder, or with `resume` continue the run in it.

        It must have the same settings and shard, and the same rule of stopping with the same baseline.

        recorded: what a new `settings.json` holds besides, in place of the time and the versions.

        RunFolderError if another process writes to the folder, or if it cannot be used or written.
        """
        self.path, self._settings = path, settings
        if recorded is None:
            recorded = {
                "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "versions": collect_versions(prompts=prompts_hash()),
                **({SHARD: str(shard)} if shard is not None else {}),
                **({STOPPING: stopping.to_json()} if stopping is not None else {}),
            }
        self._store = Store(
            path,
            settings,
            resume=resume,
            kind="run",
            error=RunFolderError,
            settings_file=SETTINGS,
            files=(RESULTS,),
            recorded=recorded,
        )
        if (was := self._store.recorded(SHARD)) != (now := shard and str(shard)):
            self.close()
            raise RunFolderError(
                f"The folder {path} holds {_shown(was)}, not {_shown(now)}. Resume it with the shard it was made with, "
                "or choose another folder (--out DIR)."
            )
        self._stopping = stopping
        self._check_stopping()
        self._provenance = ProvenanceRecord(self._store, by_policy=False)
        self.earlier = self.read()
        """The episodes that earlier sessions of this run left."""

    def _check_stopping(self) -> None:
        """RunFolderError where the folder was made with another rule of stopping than this one."""
        saved, now = self._store.recorded(STOPPING), self._stopping
        try:
            was = None if saved is None else StopRecord.from_json(saved, self.path / SETTINGS)
            different = "" if was is None or now is None else now.difference(was)
            if (was is None) != (now is None):
                different = "it may stop early" if now is None else "it does not stop early"
            if different:
                raise RunFolderError(
                    f"The run in {self.path} was made with another rule of stopping: {different}. Resume it with "
                    "the same --baseline, --stop-when, --margin and --confidence, or choose another folder (--out DIR)."
                )
        except RunFolderError:
            self.close()
            raise

    def record_stop(self, state: StopState) -> None:
        """Note in `settings.json` where the run was stopped by its rule."""
        if self._stopping is None:
            raise RunFolderError(f"The run in {self.path} has no rule of stopping.")
        self._store.record(STOPPING, dataclasses.replace(self._stopping, state=state).to_json())

    def tracked_run(self) -> TrackedRun:
        """What a tracker is told of this run; its id is kept in `settings.json`."""
        if self._store.recorded(TRACKER_ID) is None:
            self._store.record(TRACKER_ID, uuid.uuid4().hex[:16])
        return TrackedRun(self.path, self._store.recorded(TRACKER_ID), to_plain(self._settings))

    def append(self, result: EpisodeResult) -> None:
        """Write one line and flush it to the disk.

        The first result leaves its provenance in `settings.json`; RunFolderError for a later one with another.
        """
        self._provenance.check(result)
        what = f"The result of {f'{result.condition} {result.task}'.strip()} episode {result.episode_id}"
        self._store.append(RESULTS, result.to_json(), what=what)

    def read(self) -> list[EpisodeResult]:
        """All episodes on the disk, in the order they ended."""
        return read_results(self.path / RESULTS)

    def write_summary(self, summary: RunSummary) -> None:
        """Replace `summary.json` by that of all episodes so far."""
        self._store.write(SUMMARY, json.dumps(summary.to_json(), indent=2) + "\n")

    def discard_unused(self) -> None:
        """Remove the folder if it holds no episode; for a run that could not start. Folders not made here are kept."""
        if not self.read():
            self._store.discard(SUMMARY)

    def close(self) -> None:
        """Release the folder."""
        self._store.close()


def _shown(shard: str | None) -> str:
    return "a whole run" if shard is None else f"shard {shard}"
