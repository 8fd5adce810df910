"""The files of a live view, as the server of the operator's page reads and writes them.

The session runs with or without a viewer: it writes `live_view.LiveView`, and reads the presses with
`buttons.ButtonAnswers`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.operator.buttons import Note, meaning_of
from vlm2vla_sim.evaluation.operator.live_view import BUTTONS, FOLDER, FRAME, STATE, WANTED
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile

PICTURES = (FRAME, WANTED)
TOKEN = "token"


class LiveFiles:
    """The live view of the session in a folder. Its methods may be called from any thread."""

    def __init__(self, run: Path) -> None:
        """The session may start later; its folder must exist."""
        if not run.is_dir():
            raise RunFolderError(f"There is no folder {run}. Start the session first, or name its folder (--out).")
        self.live = run / FOLDER
        self._lock = threading.Lock()

    def state(self) -> dict[str, Any]:
        """`state.json`, and what its age is computed from.

        "now" is this machine's time [s since 1970]; "pictures" has the version of each picture ("" where there is
        none) and the time of the camera's [s]; "alive" is whether the session's process runs, None where that is not
        known.
        """
        try:
            state = json.loads((self.live / STATE).read_bytes())
        except (OSError, ValueError):
            state = None
        if not isinstance(state, dict):
            state = {"phase": ""}
        frame, wanted = self._changed(FRAME), self._changed(WANTED)
        pictures = {"frame": str(frame or ""), "wanted": str(wanted or ""), "time": frame and frame / 1e9}
        return state | {"now": time.time(), "pictures": pictures, "alive": _is_alive(state)}

    def picture(self, name: str) -> bytes | None:
        """The JPEG file `name`, one of `PICTURES`; None if there is none yet."""
        try:
            return (self.live / name).read_bytes()
        except OSError:
            return None

    def press(self, button: str, episode: int, value: object = None) -> None:
        """Hand a button press to the session; OSError if it could not be written, ValueError if it is none.

        A stop sets a byte of a file that the session has made. All else, and a stop where there is no such file, is
        appended as one line, or not at all.
        """
        meaning = meaning_of(button, value)
        press = {"button": button, "episode": episode, "time": time.time()}
        if value is not None:
            press["value"] = str(meaning) if isinstance(meaning, Note) else value
        line = (json.dumps(press) + "\n").encode()
        with self._lock:
            if isinstance(meaning, Stop):
                with contextlib.suppress(FileNotFoundError):
                    StopFile(self.live / StopFile.NAME).press(meaning)
                    return
            self.live.mkdir(exist_ok=True)
            with (self.live / BUTTONS).open("ab", buffering=0) as file:
                before = file.tell()
                if file.write(line) < len(line):
                    file.truncate(before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def token(self) -> str:
        """The secret of the page's address, 256 random bits as text.

        It is kept in the folder, readable by its owner only, so that an open page finds a server that was started
        again. Where it cannot be kept, every server has its own.
        """
        path, made = self.live / TOKEN, secrets.token_urlsafe(32)
        try:
            if not path.stat().st_mode & 0o077:
                kept = path.read_text("ascii", errors="replace")
                if re.fullmatch(r"[A-Za-z0-9_-]{43}", kept):
                    return kept
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            return made
        try:
            self.live.mkdir(exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(made)
        except OSError:
            return made
        return made

    def _changed(self, name: str) -> int | None:
        try:
            return (self.live / name).stat().st_mtime_ns
        except OSError:
            return None


def _is_alive(state: dict[str, Any]) -> bool | None:
    """Whether the process that wrote `state` runs; None on another machine, or where there is no way to ask."""
    pid = state.get("pid")
    if type(pid) is not int or pid < 1 or state.get("host") != socket.gethostname() or os.name != "posix":
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
