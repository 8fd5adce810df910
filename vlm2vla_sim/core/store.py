"""A folder that records work as it is done: its settings, and append-only files of JSON lines.

Runs, sessions, label sets and training runs take hours and are interrupted. Each line is on the disk before the next
piece of work begins. A folder is resumed only with the settings it was made with, and written by one process at a time:
otherwise results of two policies, or of two processes, would be mixed without a trace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.json_lines import JsonLines, read_lines
from vlm2vla_sim.core.settings_diff import differences, to_plain

LOCK = ".lock"
LOCK_PATIENCE = 2.0
"""[s] A process that was just killed can leave a child that holds its lock for a moment."""


class Store:
    """A folder that one process has open for writing."""

    def __init__(
        self,
        path: Path,
        settings: object,
        *,
        resume: bool,
        kind: str,
        error: type[Exception],
        settings_file: str = "settings.json",
        files: Sequence[str] = (),
        recorded: Mapping[str, object] | None = None,
    ) -> None:
        """Create the folder `path`, or with `resume` continue the one that is there.

        Args:
            path: A folder that is new or empty, or with `resume` one that was made with the same settings.
            settings: What decides the content: a dataclass, or a mapping of names to values and dataclasses.
            resume: Continue what is in the folder; a new or empty folder is started.
            kind: What the folder holds, for error messages: "run", "session".
            error: The class of the errors that are raised on purpose.
            settings_file: The file that the settings are kept in.
            files: The names of the append-only files.
            recorded: Further values for `settings_file` that are not compared on resume, such as versions.

        Raises an `error` if the folder is in use by another process, holds something else, was made with other
        settings, or cannot be written.
        """
        check_path(path, error)
        self.path, self._kind, self._error = path, kind, error
        self._settings_file = path / settings_file
        self._lock: Any = None
        self._files: dict[str, JsonLines] = {}
        self._created = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._check(settings, resume=resume)
            self._acquire_lock()
            self._check(settings, resume=resume)  # again: another process may have started and ended meanwhile
            if not self._settings_file.exists():
                plain = {**to_plain(settings), **(recorded or {})}
                write_text(self._settings_file, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
            for name in files:
                self._files[name] = JsonLines(path / name)
        except BaseException as problem:
            self.close()
            if isinstance(problem, OSError) and not isinstance(problem, error):
                raise self._not_writable(problem) from problem
            raise

    def append(self, name: str, line: str, *, what: str = "A line") -> None:
        """Append `line`, JSON without its line end, to the file `name` and flush it to the disk.

        what: What the line holds, for the error message when it cannot be written.
        """
        try:
            self._files[name].append(line)
        except OSError as problem:
            raise self._error(
                f"{what} could not be written to {self.path / name}: {problem.strerror or problem}. "
                "Free some space on the disk, then rerun with --resume."
            ) from problem

    def lines(self, name: str) -> list[str]:
        """The lines of the file `name`, in the order they were appended."""
        return list(read_lines(self.path / name))

    def keep_first(self, name: str, count: int) -> None:
        """Drop all lines of the file `name` after the first `count`."""
        try:
            self._files[name].keep_first(count)
        except OSError as problem:
            raise self._not_writable(problem) from problem

    def write(self, name: str, text: str) -> None:
        """Replace the file `name` by `text`, atomically."""
        try:
            write_text(self.path / name, text)
        except OSError as problem:
            raise self._not_writable(problem) from problem

    def record(self, key: str, value: object) -> None:
        """Add `key` to the settings file, or replace its value, atomically; it is not compared on resume."""
        plain = {**read_settings(self._settings_file, self._error), key: value}
        self.write(self._settings_file.name, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")

    def recorded(self, key: str) -> Any:
        """The value of `key` in the settings file; None if it has none."""
        return read_settings(self._settings_file, self._error).get(key)

    def close(self) -> None:
        """Close the files and release the lock."""
        for file in self._files.values():
            file.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self, *written: str) -> None:
        """Close the folder and remove it, if it holds only the settings, the files `written`, and empty folders.

        Call it for work that could not start. Folders that were there before are kept.
        """
        self.close()
        ours = {LOCK, self._settings_file.name, *self._files, *written}
        entries = [*self.path.iterdir()]
        if any(entry.name not in ours and not _is_empty_folder(entry) for entry in entries):
            return
        for entry in entries:
            if entry.is_dir():
                entry.rmdir()
            else:
                entry.unlink()
        for folder in self._created:
            if _is_empty_folder(folder):
                folder.rmdir()

    def _check(self, settings: object, *, resume: bool) -> None:
        left_by_a_kill = (LOCK, f"{self._settings_file.name}.new")
        if all(entry.name in left_by_a_kill for entry in self.path.iterdir()):
            return
        if not resume:
            raise self._error(
                f"The folder {self.path} is not empty. Continue the {self._kind} in it with --resume, or choose "
                "another folder (--out DIR)."
            )
        if not self._settings_file.exists():
            raise self._error(
                f"The folder {self.path} holds no {self._settings_file.name}, so there is no {self._kind} in it to "
                "continue. Choose another folder (--out DIR)."
            )
        saved = read_settings(self._settings_file, self._error)
        different = "; ".join(map(str, differences(saved, settings)))
        if different:
            raise self._error(
                f"The {self._kind} in {self.path} was made with {different}. Resume it with the settings it was made "
                "with, or choose another folder (--out DIR)."
            )

    def _acquire_lock(self) -> None:
        from filelock import FileLock, Timeout

        # Tried once at a time: within one process filelock answers a second lock at once, whatever its timeout.
        lock = FileLock(self.path / LOCK, thread_local=False, fallback_to_soft=False)
        end = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                lock.acquire(timeout=0)
            except Timeout as problem:
                if time.monotonic() > end:
                    raise self._error(
                        f"Another process is writing to {self.path}. Wait for it to end, or choose another folder "
                        "(--out DIR)."
                    ) from problem
                time.sleep(0.05)
            except OSError:
                # Some network file systems cannot lock. The lock guards against a mistake, not against a fault.
                return
            else:
                self._lock = lock
                return

    def _not_writable(self, problem: OSError) -> Exception:
        return self._error(
            f"The {self._kind} folder {self.path} cannot be written: {problem.strerror or problem}. "
            "Choose a folder that you may write to and that has room (--out DIR)."
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def read_settings(path: Path, error: type[Exception]) -> dict[str, Any]:
    """The settings in the file `path`, plain values; an `error` if it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise error(f"{path} cannot be read ({problem}).") from problem
    if not isinstance(values, dict):
        raise error(f"{path} cannot be read: it holds {type(values).__name__}; expected an object with settings.")
    return values


def check_made_with(file: Path, settings: object, *, kind: str, error: type[Exception]) -> None:
    """Refuse to continue what was made with other settings than `settings`, as the file `file` has recorded them.

    Where there is no such file, as in a folder of an earlier version, it is written. kind: as in `Store`.
    """
    if not file.exists():
        write_text(file, json.dumps(to_plain(settings), indent=2, ensure_ascii=False) + "\n")
        return
    different = "; ".join(map(str, differences(read_settings(file, error), settings)))
    if different:
        raise error(
            f"The {kind} in {file.parent} was made with {different}. Resume it with the settings it was made with, or "
            "choose another folder (--out DIR)."
        )
