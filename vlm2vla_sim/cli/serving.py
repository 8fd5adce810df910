"""What commands that serve do once their server is made: say where it is, wait, and stop it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Protocol

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.errors import SettingError


class Server(Protocol):
    """A server of `vlm2vla_sim.serving`."""

    url: str

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def wait(self, told: threading.Event) -> bool:
        """Wait until `told` is set or the server is idle; whether `told` was set."""
        ...

    def stop(self) -> bool:
        """Stop; whether all requests ended in time."""
        ...


def check_key(key: str, *, no_key: bool, expose: bool) -> None:
    """SettingError for a server that the network reaches and that nobody has said who may use."""
    if key and no_key:
        raise SettingError("--key and --no-key were both given. Leave one out.")
    if expose and not (key or no_key):
        raise SettingError(
            "--expose lets other machines use this server. Give --key KEY, which each client then has to bring, or "
            "--no-key to let everybody on the network use it."
        )


def serve_until_stopped(server: Server, text: str, values: dict[str, Any], *, idle: float, json: bool) -> CommandResult:
    """Serve until Ctrl-C, SIGTERM, or no request for `idle` seconds. Prints `text`, or `values`, with the address."""
    stop_requested = _stop_signals()
    with server as offered:
        _say(CommandResult(f"{text} at {offered.url}", values | {"url": offered.url}, json))
        why = "by a signal" if offered.wait(stop_requested) else f"no request for {idle:g} s"
        if not offered.stop():
            _say(CommandResult(f"Stopped: {why}, in the middle of an answer.", {"stopped": why}, json))
            os._exit(0)  # a running model cannot be interrupted, and its thread would keep the process alive
    return CommandResult(f"Stopped: {why}.", {"stopped": why}, json)


def _stop_signals() -> threading.Event:
    """An event that is set at Ctrl-C and on SIGTERM."""
    requested = threading.Event()

    def request_stop(number: int, frame: Any) -> None:
        requested.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    return requested


def _say(answer: CommandResult) -> None:
    sys.stdout.write(f"{answer.printed()}\n")
    sys.stdout.flush()
