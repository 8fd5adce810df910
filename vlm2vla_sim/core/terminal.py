"""Text for the person at the terminal, who may have closed it."""

from __future__ import annotations

import os
import sys


def to_stderr(text: str) -> None:
    """Write `text` to standard error at once. Where that is gone, as after SIGHUP, it and all that follows is dropped.

    The arm still has to be released and the video completed, and what matters is in the session's files.
    """
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
