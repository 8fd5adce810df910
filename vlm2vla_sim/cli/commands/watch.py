"""`vlm2vla watch`: the live view of a session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.evaluation.operator.web import WatchServer


def watch(run: Annotated[Path, tyro.conf.Positional], /, port: int = 8030) -> CommandResult:
    """Show a running session in a browser on this machine, with the operator's buttons, until Ctrl-C.

    Args:
        run: Folder of the session.
        port: On 127.0.0.1.
    """
    with WatchServer(run, port) as server:
        print(f"Watching {run} at {server.url} (Ctrl-C ends it; the session goes on)", file=sys.stderr)  # noqa: T201
        server.serve_forever()
    return CommandResult("", {})
