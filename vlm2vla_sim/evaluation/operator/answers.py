"""Where the operator's answers, notes and stops come from: a terminal or a file; `buttons` is for the page."""

from __future__ import annotations

import queue
import threading
import time
from typing import Protocol, TextIO

from vlm2vla_sim.evaluation.operator.stop import WORDS, Stop


class Answers(Protocol):
    """A source of answers. It is used from one thread at a time."""

    ends_no_line: bool
    """Whether the prompt's line is still open after an answer: Enter was not pressed at the terminal."""

    def stops(self) -> list[Stop]:
        """The stops given since the last call, whether or not anything was asked. It does not wait."""
        ...

    def notes(self, episode: int) -> list[str]:
        """The notes on `episode` that were given since the last call without a question. It does not wait."""
        ...

    def read(self, episode: int, timeout: float) -> str | None:
        """The next answer for `episode`, without line end; None if there is none yet; EOFError at the end of input."""
        ...

    def drain(self) -> None:
        """Discard answers that came before the question. Stops and notes are kept."""
        ...


class StreamAnswers:
    """Lines of a text stream: the terminal, a pipe, or a file.

    A line "7: y" answers episode 7 only and waits for it; other lines answer whatever is asked next. At a terminal, the
    words of `stop.WORDS` are stops whenever they are typed; the lines of a file belong to questions.
    """

    def __init__(self, stream: TextIO, *, interactive: bool | None = None) -> None:
        self._interactive = stream.isatty() if interactive is None else interactive
        self.ends_no_line = not self._interactive
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._next: list[str] = []
        self._kept: dict[int, list[str]] = {}
        self._stops: list[Stop] = []
        self._ended = False
        # A thread, because a terminal cannot be polled portably; a daemon, because its read may never return.
        threading.Thread(target=self._pump, args=(stream,), daemon=True).start()

    def stops(self) -> list[Stop]:
        """See `Answers`."""
        while not self._lines.empty():
            self._take(self._lines.get_nowait())
        found, self._stops = self._stops, []
        return found

    def notes(self, episode: int) -> list[str]:
        """None: what is typed belongs to a question."""
        return []

    def read(self, episode: int, timeout: float) -> str | None:
        """See `Answers`."""
        end = time.monotonic() + timeout
        while True:
            for lines in (self._kept.get(episode), self._next):
                if lines:
                    return lines.pop(0)
            if self._ended:
                raise EOFError
            try:
                self._take(self._lines.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                return None

    def drain(self) -> None:
        """Discard what was typed at a terminal while the arm moved; the lines of a file all count."""
        if self._interactive:
            self._stops = self.stops()
            self._next.clear()

    def _take(self, line: str | None) -> None:
        if line is None:
            self._ended = True
            return
        number, colon, rest = line.partition(":")
        text = line.strip()
        if colon and number.strip().isdigit():
            self._kept.setdefault(int(number), []).append(rest.strip())
        elif self._interactive and text.lower() in WORDS:
            self._stops.append(WORDS[text.lower()])
        else:
            self._next.append(text)

    def _pump(self, stream: TextIO) -> None:
        try:
            for line in stream:
                self._lines.put(line)
        except (OSError, ValueError):  # the terminal is gone, or the stream is closed: the end of the input
            return
        finally:
            self._lines.put(None)
