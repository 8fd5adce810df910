"""The folder in which a run leaves its settings, results, summary and videos; nothing in it is ever overwritten.

Results are appended and flushed episode by episode. Were they written at the end, a crash, a full disk or Ctrl-C after
hours would leave nothing; and were a folder reused silently, the episodes of two policies would be counted as one.
"""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.evaluation.results import RunSummary, read_results, split_torn
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.language.translations import ENGLISH, translate
from vlm2vla_sim.types import EpisodeResult

Option = str | int | float | bool
SETTINGS, RESULTS, SUMMARY, TORN = "settings.json", "results.jsonl", "summary.json", "results.torn"


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
        """Make the folder, or with `resume` take up the run in it, which must have the same settings."""
        self.path = path
        self.videos, self.logs = path / "videos", path / "logs"
        try:
            path.mkdir(parents=True, exist_ok=True)
            used = any(path.iterdir())
            if used and not resume:
                raise RunFolderError(
                    f"The folder {path} is not empty. Continue the run in it with --resume, or choose another folder "
                    "(--out DIR)."
                )
            if used:
                self._check_settings(settings)
            else:
                started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                saved = {
                    **dataclasses.asdict(settings),
                    "started": started,
                    "versions": collect_versions(prompts=prompts_hash()),
                }
                _write_whole(path / SETTINGS, json.dumps(saved, indent=2, ensure_ascii=False) + "\n")
            self._file = (path / RESULTS).open("ab", buffering=0)
        except OSError as error:
            if isinstance(error, RunFolderError):
                raise
            raise _unwritable(path, error) from error
        self._lock()
        self._put_torn_aside()
        self.earlier = self.read()
        """What earlier sessions of this run left."""

    def append(self, result: EpisodeResult) -> None:
        """Write one line and see it to the disk."""
        try:
            # Half a surrogate pair, which a model can say, is no UTF-8; written as an escape it is JSON.
            line = memoryview(result.to_json().encode("utf-8", errors="backslashreplace") + b"\n")
            while line:  # A nearly full disk takes a part, and says so at the next write.
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunFolderError(
                f"The result of {result.task} episode {result.episode_id} could not be written to "
                f"{self.path / RESULTS}: {error.strerror}. Make room, and continue with --resume."
            ) from error

    def read(self) -> list[EpisodeResult]:
        """All episodes that are on the disk, in the order they ended."""
        return read_results(self.path / RESULTS)

    def write_summary(self, summary: RunSummary) -> None:
        """Replace `summary.json` by that of all episodes so far."""
        try:
            _write_whole(self.path / SUMMARY, json.dumps(summary.to_json(), indent=2) + "\n")
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()

    def _check_settings(self, settings: RunSettings) -> None:
        file = self.path / SETTINGS
        if not file.exists():
            raise RunFolderError(
                f"The folder {self.path} holds no {SETTINGS}, so there is no run in it to continue. "
                "Choose another folder (--out DIR)."
            )
        try:
            saved = RunSettings.from_json(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError) as error:
            raise RunFolderError(f"{file} cannot be read: {error}.") from error
        for setting in dataclasses.fields(RunSettings):
            before, now = getattr(saved, setting.name), getattr(settings, setting.name)
            if before != now:
                raise RunFolderError(
                    f"The run in {self.path} was made with {setting.name} {_plain(before)}, and now {_plain(now)} was "
                    "asked for. A run is continued with its own settings; for others choose another folder (--out DIR)."
                )

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise RunFolderError(
                f"Another process is writing to {self.path}. Wait for it, or choose another folder (--out DIR)."
            ) from error
        except OSError:
            # Some network file systems cannot lock. The lock guards against a mistake, not against a fault.
            return

    def _put_torn_aside(self) -> None:
        """Move what a crash left of a last line to `results.torn`, so that the next line starts on its own."""
        _, torn = split_torn(self.path / RESULTS)
        if not torn:
            return
        try:
            with (self.path / TORN).open("ab") as file:
                file.write(torn + b"\n")
            self._file.truncate(self._file.tell() - len(torn))
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _write_whole(path: Path, text: str) -> None:
    """Write all of `text` or leave `path` as it was."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _unwritable(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"The run folder {path} cannot be written: {error.strerror or error}. "
        "Choose a folder that you may write to and that has room (--out DIR)."
    )
