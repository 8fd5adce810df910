"""How a session ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SessionEnd:
    """The result of a session."""

    folder: Path
    done: int
    planned: int
    stopped: str
    """Why it ended early; empty when all episodes are done."""
    table: str
    """Successes by policy; empty while a blind session is unfinished."""
    fault: bool = False
    """Whether the robot, the simulator or a policy stopped it, rather than the operator."""


class InterruptedSessionError(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP during a session: what is recorded is on disk, and the session can be resumed."""
