"""The buttons of the operator's page: what each means, and how a session reads the presses from the page's files."""

from __future__ import annotations

import json
import time
from pathlib import Path

from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile

BUTTONS: dict[str, str | Stop] = {
    "success": "y",
    "failure": "n",
    "redo": "r",
    "start": "",
    "stop_episode": Stop.EPISODE,
    "stop": Stop.SESSION,
}
"""Button of the page -> the answer or the stop it stands for."""
PROGRESS, NOTE = "progress", "note"
"""Buttons that come with a value: 0 .. 100 [%], and a text of at most `MAX_NOTE` characters."""
MAX_NOTE = 500
TORN_SECONDS = 0.3
"""[s] after which a line of the buttons' file that has no end will get none."""


class Note(str):
    """The text of a note, which answers no question."""


def meaning_of(button: object, value: object = None) -> str | Stop | Note:
    """The answer, stop or note that a press stands for; ValueError where there is no such button or value."""
    if isinstance(button, str) and button in BUTTONS and value is None:
        return BUTTONS[button]
    if button == PROGRESS and type(value) is int and 0 <= value <= 100:
        return str(value)
    if button == NOTE and isinstance(value, str) and 0 < len(value.strip()) <= MAX_NOTE and value.isprintable():
        return Note(value.strip())
    raise ValueError(f"There is no button {str(button)[:40]!r} with the value {str(value)[:40]!r}.")


class ButtonAnswers:
    """The buttons of the page, through the files that its server writes to; see `live_files`."""

    def __init__(self, path: Path) -> None:
        """path: the file of button presses. Those that are in it already are of an earlier session."""
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._tail = (b"", 0.0)
        self._stop_file = StopFile(path.with_name(StopFile.NAME))
        self._presses: list[tuple[object, str]] = []
        self._notes: list[tuple[object, Note]] = []
        self._stops: list[Stop] = []
        self.ends_no_line = True

    def stops(self) -> list[Stop]:
        """See `Answers`. A stop counts whatever episode the page showed when it was pressed."""
        self._stops += self._stop_file.take()
        for line in self._new_lines():
            self._take(line)
        found, self._stops = self._stops, []
        return found

    def notes(self, episode: int) -> list[str]:
        """See `Answers`."""
        self._stops = self.stops()
        found = [note for number, note in self._notes if number == episode]
        self._notes = [(number, note) for number, note in self._notes if number != episode]
        return [str(note) for note in found]

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
            button, number, value = press["button"], press["episode"], press.get("value")
        except (ValueError, KeyError, TypeError, AttributeError):
            # A line that was torn by a full disk or a crash. It may have been a stop, so it is one.
            self._stops.append(Stop.SESSION if b'"stop"' in line else Stop.EPISODE)
            return
        try:
            meaning = meaning_of(button, value)
        except ValueError:  # no button that this version's page has
            return
        if isinstance(meaning, Stop):
            self._stops.append(meaning)
        elif isinstance(meaning, Note):
            self._notes.append((number, meaning))
        else:
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
