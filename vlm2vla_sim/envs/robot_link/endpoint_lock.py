"""One client per robot on this machine: a lock for each address of its server.

Two clients that drive one arm at once add up their steps, and either of them reports the other's motion as its own. The
lock is the operating system's (flock): it ends with the process that holds it, so none is ever stale. A client on
another machine, or through another tunnel, is not seen here; `unexplained_motion` sees what it does to the arm.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vlm2vla_sim.envs.robot_link.endpoint import is_loopback, resolve, show_address
from vlm2vla_sim.errors import RobotInUseError, SettingError

PATIENCE = 1.0
"""[s] A process that was just killed may hold its lock for a moment."""
LONGEST_COMMAND = 160
"""Characters of the holder's command line that are kept."""


def lock_folder() -> Path:
    """Where the locks of this machine are, the same for all its users."""
    shared = Path("/tmp")  # not TMPDIR, which differs between users and sessions
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


class EndpointLock:
    """The right to drive the robot at one host and port."""

    def __init__(self, host: str, port: int, *, folder: Path | None = None) -> None:
        """Nothing is locked yet. host, port: of the robot's server. folder: of the locks; by default `lock_folder`."""
        self._host, self._port = host, port
        self._folder = folder or lock_folder()
        self._held: list[Any] = []

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._held)

    def acquire(self) -> None:
        """Take the lock; nothing when this object holds it already.

        Raises:
            RobotInUseError: another client on this machine holds it; the sentence names its process and command.
            LinkLostError: the host's name is not known.
            SettingError: the lock's file cannot be written.
        """
        if self._held:
            return
        end = time.monotonic() + PATIENCE
        try:
            for path in self._paths():
                self._take(path, end)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others drive the robot. May be called twice."""
        held, self._held = self._held, []
        for lock in held:
            lock.release()

    def _paths(self) -> list[Path]:
        # A host may be known by several addresses, and another client may use one of them.
        addresses = {"localhost" if is_loopback(found) else found for found in resolve(self._host, self._port)}
        names = (f"vlm2vla-robot-{address}-{self._port}.lock" for address in sorted(addresses))
        return [self._folder / "".join(c if c.isalnum() or c in "-." else "_" for c in name) for name in names]

    def _take(self, path: Path, end: float) -> None:
        from filelock import FileLock, Timeout

        # Any user of this machine may be the next to drive the robot, hence the mode.
        lock = FileLock(path, thread_local=False, fallback_to_soft=False, mode=0o666)
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout as problem:
                if time.monotonic() > end:
                    raise self._in_use(path) from problem
                time.sleep(0.05)
            except OSError as problem:
                raise SettingError(
                    f"The lock of the robot at {show_address(self._host, self._port)} cannot be written: {path}: "
                    f"{problem.strerror or problem}. It keeps two clients from moving one arm. "
                    "Remove the file, or make its folder writable."
                ) from problem
        self._held.append(lock)
        _write_note(path)

    def _in_use(self, path: Path) -> RobotInUseError:
        where = show_address(self._host, self._port)
        pid, command = _read_note(path)
        if pid == os.getpid():
            who = "another environment of this process"
        else:
            who = f"process {pid} ({command})" if pid else "another process of this machine"
        return RobotInUseError(
            f"The robot at {where} is in use by {who}. Two clients would move one arm at once: end the other first."
        )


def _write_note(path: Path) -> None:
    """Who holds the lock: for the sentence of another process that wants it."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else ""
    note = {"pid": os.getpid(), "command": command[:LONGEST_COMMAND] or "python"}
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        json.dump(note, file)


def _read_note(path: Path) -> tuple[int, str]:
    """Process and command of the holder; 0 when they are not known, such as in the moment before they are written."""
    try:
        note = json.loads(path.read_bytes()[: 8 * LONGEST_COMMAND])
        pid, command = int(note["pid"]), str(note["command"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0, ""
    if pid <= 0 or not _is_alive(pid):
        return 0, ""
    return pid, "".join(letter if letter.isprintable() else "?" for letter in command)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False  # the note of an earlier holder
    except OSError:
        pass  # of another user
    return True
