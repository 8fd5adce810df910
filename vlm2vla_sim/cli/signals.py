"""SIGTERM and SIGHUP end a command as Ctrl-C does: a robot is released in order when an ssh connection drops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def exit_status(stop: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 128 plus its number after another signal, as shells count."""
    found: BaseException | None = stop
    while found is not None:
        if isinstance(found, TerminatedError):
            return 128 + found.number
        found = found.__cause__
    return INTERRUPTED


@contextmanager
def end_like_ctrl_c() -> Iterator[None]:
    """While the block runs, the first SIGTERM or SIGHUP raises `TerminatedError`, and further ones are ignored.

    A dropped connection sends several; the arm may be on its way to its sleep pose when the second comes. Ctrl-C still
    interrupts. A signal that was ignored before, as by nohup, stays ignored. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if not received:
            received.append(number)
            raise TerminatedError(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
