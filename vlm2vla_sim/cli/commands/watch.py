"""`vlm2vla watch`: the operator's page of a session."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.folder_kind import SESSION, folder_kind, wrong_folder
from vlm2vla_sim.errors import RunFolderError, missing_extra
from vlm2vla_sim.evaluation.operator.live_view import FOLDER as LIVE


def watch(run: Annotated[Path, tyro.conf.Positional], /, port: int = 8030, expose: bool = False) -> CommandResult:
    """Show a running session in a browser, with the operator's buttons, until Ctrl-C.

    The address that is printed has a token, without which nothing is shown and no button works.

    Args:
        run: Folder of the session.
        port: Port to listen on, on 127.0.0.1; 0 takes a free one.
        expose: Listen on the network too, for a phone: prints the address as a QR code. The connection is not
            encrypted; use it on a network that you trust.
    """
    kind = folder_kind(run)
    if kind not in (None, SESSION) and not (run / LIVE).is_dir():
        raise RunFolderError(wrong_folder(run, "the folder of a session"))
    try:
        from vlm2vla_sim.serving.watch.server import WatchServer
    except ImportError as error:
        raise missing_extra("The operator's page", error.name or "starlette", "robot") from error
    with WatchServer(run, port, expose=expose) as server:
        print(f"Watching {run} at {server.url} (Ctrl-C ends it; the session goes on)", file=sys.stderr)  # noqa: T201
        if expose and sys.stderr.isatty():
            print(qr_code(server.url), file=sys.stderr)  # noqa: T201
        server.wait()
    return CommandResult("", {})


def qr_code(url: str) -> str:
    """The QR code of an address as lines for a terminal, light on dark whatever the terminal's colours are."""
    try:
        import segno
    except ModuleNotFoundError as error:
        raise missing_extra("The QR code of an address", "segno", "robot") from error
    drawn = io.StringIO()
    segno.make(url, error="l").terminal(drawn, compact=True)
    return "\n".join(f"\x1b[97;40m{line}\x1b[0m" for line in drawn.getvalue().splitlines())
