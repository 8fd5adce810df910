"""`vlm2vla watch`: the live view of a session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.folder_kind import SESSION, folder_kind, wrong_folder
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.operator.live_view import FOLDER as LIVE
from vlm2vla_sim.evaluation.operator.web import WatchServer


def watch(run: Annotated[Path, tyro.conf.Positional], /, port: int = 8030) -> CommandResult:
    """Show a running session in a browser on this machine, with the operator's buttons, until Ctrl-C.

    Args:
        run: Folder of the session.
        port: On 127.0.0.1.
    """
    kind = folder_kind(run)
    if kind not in (None, SESSION) and not (run / LIVE).is_dir():
        raise RunFolderError(wrong_folder(run, "the folder of a session"))
    with WatchServer(run, port) as server:
        print(f"Watching {run} at {server.url} (Ctrl-C ends it; the session goes on)", file=sys.stderr)  # noqa: T201
        server.serve_forever()
    return CommandResult("", {})
