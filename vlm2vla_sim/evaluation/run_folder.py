"""The folder in which a run leaves its settings, results, summary and videos; nothing in it is ever overwritten.

Results are appended and flushed episode by episode. Were they written at the end, a crash, a full disk or Ctrl-C after
hours would leave nothing; and were a folder reused silently, the episodes of two policies would be counted as one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.store import Store
from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.results import RunSummary, read_results
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.language.translations import ENGLISH, translate
from vlm2vla_sim.types import EpisodeResult

Option = str | int | float | bool
SETTINGS, RESULTS, SUMMARY = "settings.json", "results.jsonl", "summary.json"


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the results of a run. How fast and where it runs is not part of it."""

    policy: str = "scripted"
    tasks: tuple[str, ...] = ("spoon_on_towel", "carrot_on_plate", "stack_cube", "eggplant_in_basket")
    episodes: int = 24
    """Of every task: the episodes 0 .. episodes - 1."""
    backend: str = "mujoco"
    action_format: str = "vlm2vla"
    layouts: str = "grid"
    """"grid" for SIMPLER's 24 episodes, "random" for layouts drawn from the seed."""
    seed: int = 0
    language: str = "en"
    """What the instruction is said in, of `language.translations`."""
    instruction: str = ""
    """What is said in place of a task's own instruction; only with a single task."""
    noise_cm: float = 0.0
    image_size: tuple[int, int] | None = (480, 640)
    """(height, width) [px]; None draws nothing, for policies that do not look."""
    quality: str = "fast"
    backend_options: dict[str, Option] = field(default_factory=dict)
    """What only this backend takes, such as {"profile": "maniskill3"} for "simpler"."""
    policy_options: dict[str, Option] = field(default_factory=dict)
    """What only this policy takes, such as {"model": "google/gemma-3-12b-it"} for "vlm"."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        object.__setattr__(self, "image_size", self.image_size and tuple(self.image_size))
        object.__setattr__(self, "backend_options", dict(self.backend_options))
        object.__setattr__(self, "policy_options", dict(self.policy_options))
        if self.episodes < 1:
            raise SettingError(f"{self.episodes} episodes were asked for; expected 1 or more.")
        if not self.tasks:
            raise SettingError("No task was asked for; name at least one.")
        if len(set(self.tasks)) != len(self.tasks):
            raise SettingError(f"A task was asked for twice: {', '.join(self.tasks)}.")
        if self.instruction and (len(self.tasks) > 1 or self.language != ENGLISH):
            raise SettingError(
                "An instruction of your own is for one task, in the language you say it in: name one task with it, and "
                "leave the language out."
            )
        if self.seed < 0:
            raise SettingError(f"The seed is {self.seed}; expected a whole number from 0 up.")
        if not (math.isfinite(self.noise_cm) and self.noise_cm >= 0):
            raise SettingError(f"The noise is {self.noise_cm} cm; expected 0 or more.")

    def said(self, instruction: str) -> str:
        """What the policy is told for a task with this `instruction`."""
        return self.instruction or translate(instruction, self.language)

    def with_tasks(self, tasks: Iterable[str]) -> RunSettings:
        """The same settings for other tasks."""
        return dataclasses.replace(self, tasks=tuple(tasks))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSettings:
        """The settings in a `settings.json`; keys of other versions are left out."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})


def default_folder(settings: RunSettings) -> Path:
    """runs/<date>_<time>-<policy>-<backend>, below the current folder."""
    now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return Path("runs") / re.sub(r"[^\w.-]+", "_", f"{now}-{settings.policy}-{settings.backend}")


class RunFolder:
    """One run on disk. Only one process at a time may hold it open."""

    def __init__(self, path: Path, settings: RunSettings, *, resume: bool) -> None:
        """Create the folder, or with `resume` continue the run in it, which must have the same settings.

        RunFolderError if another process writes to the folder, or if it cannot be used or written.
        """
        self.path = path
        self.videos, self.logs = path / "videos", path / "logs"
        recorded = {
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": collect_versions(prompts=prompts_hash()),
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
        self.earlier = self.read()
        """The episodes that earlier sessions of this run left."""

    def append(self, result: EpisodeResult) -> None:
        """Write one line and flush it to the disk."""
        what = f"The result of {result.task} episode {result.episode_id}"
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
