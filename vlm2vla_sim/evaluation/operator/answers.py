"""Where the operator's answers and stops come from: a terminal, a file, or the buttons of the live view."""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import Protocol, TextIO

from vlm2vla_sim.evaluation.operator.stop import WORDS, Stop, StopFile

BUTTONS: dict[str, str | Stop] = {
    "success": "y",
    "failure": "n",
    "redo": "r",
    "start": "",
    "stop_episode": Stop.EPISODE,
    "stop": Stop.SESSION,
}
"""Button of the live view -> the answer or the stop it stands for."""
TORN_SECONDS = 0.3
"""[s] after which a line of the buttons' file that has no end will get none."""


class Answers(Protocol):
    """A source of answers. It is used from one thread at a time."""

    ends_no_line: bool
    """Whether the prompt's line is still open after an answer: Enter was not pressed at the terminal."""

    def stops(self) -> list[Stop]:
        """The stops given since the last call, whether or not anything was asked. It does not wait."""
        ...

    def read(self, episode: int, timeout: float) -> str | None:
        """The next answer for `episode`, without line end; None if there is none yet; EOFError at the end of input."""
        ...

    def drain(self) -> None:
        """Discard answers that came before the question. Stops are kept."""
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


class ButtonAnswers:
    """The buttons of the live view, through the files that its server writes to; see `web`."""

    def __init__(self, path: Path) -> None:
        """path: the file of button presses. Those that are in it already are of an earlier session."""
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._tail = (b"", 0.0)
        self._stop_file = StopFile(path.with_name(StopFile.NAME))
        self._presses: list[tuple[object, str]] = []
        self._stops: list[Stop] = []
        self.ends_no_line = True

    def stops(self) -> list[Stop]:
        """See `Answers`. A stop counts whatever episode the page showed when it was pressed."""
        self._stops += self._stop_file.take()
        for line in self._new_lines():
            self._take(line)
        found, self._stops = self._stops, []
        return found

    def read(self, episode: int, timeout: float) -> str | None:
        """See `Answers`. A button pressed for another episode is ignored."""
        end = time.monotonic() + timeout
        while True:
            self._stops = self.stops()
            while self._presses:
                number, answer = self._presses.pop(0)
                if number == episode:
                    return answer
            if time.monotonic() >= end:
                return None
            time.sleep(min(0.05, max(0.0, end - time.monotonic())))

    def drain(self) -> None:
        """Discard presses from before the question."""
        self._stops = self.stops()
        self._presses.clear()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            press = json.loads(line)
            meaning, number = BUTTONS.get(press["button"]), press["episode"]
        except (ValueError, KeyError, TypeError):
            # A line that was torn by a full disk or a crash. It may have been a stop, so it is one.
            self._stops.append(Stop.SESSION if b'"stop"' in line else Stop.EPISODE)
            return
        if isinstance(meaning, Stop):
            self._stops.append(meaning)
        elif meaning is not None:
            self._presses.append((number, meaning))

    def _new_lines(self) -> list[bytes]:
        try:
            if self._path.stat().st_size < self._at:  # it was replaced
                self._at = 0
            with self._path.open("rb") as file:
                file.seek(self._at)
                content = file.read()
        except OSError:  # nobody has pressed a button, or the folder cannot be read
            return []
        whole = content[: content.rfind(b"\n") + 1]
        rest = content[len(whole) :]
        if rest and rest == self._tail[0] and time.monotonic() - self._tail[1] > TORN_SECONDS:
            whole, rest = content, b""
        if rest != self._tail[0]:
            self._tail = (rest, time.monotonic())
        self._at += len(whole)
        return whole.splitlines()
