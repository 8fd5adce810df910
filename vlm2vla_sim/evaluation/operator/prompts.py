"""The operator beside the robot, who arranges the scene, labels episodes and may stop; or a file of their answers.

Every command asks through this module, so that an answer means the same everywhere. Answers to "Did it succeed?": y, n,
0 to 100 (progress), r (redo: this episode does not count), a (abort: stop the session), "note ..." (kept with the
episode; the question is asked again). The end of the input is an abort.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from vlm2vla_sim.errors import EpisodeAbortedError

BUTTONS = {"success": "y", "failure": "n", "redo": "r", "stop": "a", "start": ""}
"""Button of the live view -> the answer it stands for."""
HELP = "y success, n failure, 0-100 progress, r redo, a abort, note TEXT"


@dataclass(frozen=True)
class Label:
    """The operator's label of an episode."""

    word: str
    """"success", "failure", "partial", "redo" or "abort"."""
    score: float = 0.0
    """0 .. 100."""
    notes: tuple[str, ...] = ()
    automatic: bool = False
    """The backend knew the outcome, and the operator was not asked."""


class Answers(Protocol):
    """A source of answers."""

    ends_no_line: bool
    """Whether the prompt's line is still open after an answer: Enter was not pressed at the terminal."""

    def read(self, episode: int, timeout: float) -> str | None:
        """The next answer for `episode`, without line end; None if there is none yet; EOFError at the end of input."""
        ...

    def drain(self) -> None:
        """Discard answers that came before the question."""
        ...


class StreamAnswers:
    """Lines of a text stream: the terminal, a pipe, or a file.

    A line "7: y" answers episode 7 only and waits for it; other lines answer whatever is asked next.
    """

    def __init__(self, stream: TextIO, *, interactive: bool | None = None) -> None:
        self._interactive = stream.isatty() if interactive is None else interactive
        self.ends_no_line = not self._interactive
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._kept: dict[int, list[str]] = {}
        self._ended = False
        # A thread, because a terminal cannot be polled portably; a daemon, because its read may never return.
        threading.Thread(target=self._pump, args=(stream,), daemon=True).start()

    def read(self, episode: int, timeout: float) -> str | None:
        """See `Answers`."""
        end = time.monotonic() + timeout
        while not self._kept.get(episode):
            if self._ended:
                raise EOFError
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return None
            if line is None:
                self._ended = True
                continue
            number, colon, rest = line.partition(":")
            if colon and number.strip().isdigit():
                self._kept.setdefault(int(number), []).append(rest.strip())
            else:
                return line.strip()
        return self._kept[episode].pop(0)

    def drain(self) -> None:
        """Discard what was typed at a terminal while the arm moved; the lines of a file all count."""
        while self._interactive and not self._lines.empty():
            self._ended |= self._lines.get_nowait() is None

    def _pump(self, stream: TextIO) -> None:
        for line in stream:
            self._lines.put(line)
        self._lines.put(None)


class ButtonAnswers:
    """The buttons of the live view, through the file that its server appends to; see `web`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0
        self.ends_no_line = True

    def read(self, episode: int, timeout: float) -> str | None:
        """See `Answers`. A button pressed for another episode is ignored."""
        end = time.monotonic() + timeout
        while True:
            for line in self._new_lines():
                press = json.loads(line)
                if press.get("episode") == episode and press.get("button") in BUTTONS:
                    return BUTTONS[press["button"]]
            if time.monotonic() >= end:
                return None
            time.sleep(min(0.05, max(0.0, end - time.monotonic())))

    def drain(self) -> None:
        """Discard presses from before the question."""
        self._at = self._path.stat().st_size if self._path.exists() else 0

    def _new_lines(self) -> Iterable[str]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.decode("utf-8").splitlines()


class Operator:
    """Asks the operator, and reads the answers."""

    def __init__(self, sources: Iterable[Answers], *, say: Callable[[str], None], always_ask: bool = False) -> None:
        """say: prints text for the operator. always_ask: ask even where the backend knows the outcome."""
        self._sources = list(sources)
        self._say = say
        self._always_ask = always_ask
        self._notes: list[str] = []

    def wait_for_scene(self, episode: int, request: str) -> None:
        """Wait until the operator has arranged the scene; EpisodeAbortedError when they stop the session."""
        self._notes = []
        self._drain()
        self._say(f"{request} [Enter start, a abort, note TEXT] ")
        while True:
            answer = self._next(episode)
            if answer in ("", "y", "yes", "start"):
                return
            if self._is_note(answer):
                continue
            if answer in ("a", "abort", "q", "quit"):
                raise EpisodeAbortedError("The operator stopped the session before the episode.")
            self._say("Enter to start, a to abort: ")

    def judge(self, episode: int, known: bool | None) -> Label:
        """How the episode went. known: the outcome the backend saw, None where it cannot know."""
        if known is not None and not self._always_ask:
            return Label("success" if known else "failure", 100.0 * known, tuple(self._notes), automatic=True)
        self._drain()
        self._say(f"Episode {episode}: did it succeed? [{HELP}] ")
        while True:
            answer = self._next(episode)
            if self._is_note(answer):
                continue
            label = self._parse(answer)
            if label is not None:
                return label
            self._say(f"{answer!r} is none of: {HELP}. ")

    def asked_to_stop(self, episode: int) -> bool:
        """Whether the operator has answered "abort" while the arm moves; other answers are discarded."""
        try:
            return any(
                source.read(episode, 0.0) in ("a", "abort") for source in self._sources if _can_interrupt(source)
            )
        except EOFError:
            return False

    def _parse(self, answer: str) -> Label | None:
        notes = tuple(self._notes)
        if answer in ("y", "yes"):
            return Label("success", 100.0, notes)
        if answer in ("n", "no"):
            return Label("failure", 0.0, notes)
        if answer in ("r", "redo"):
            return Label("redo", notes=notes)
        if answer in ("a", "abort", "q", "quit"):
            return Label("abort", notes=notes)
        if not re.fullmatch(r"\d{1,3}([.,]\d*)?%?", answer):
            return None
        score = float(answer.rstrip("%").replace(",", "."))
        if score in (0, 100):  # how far a failure and a success got
            return Label("success" if score else "failure", score, notes)
        return Label("partial", score, notes) if score < 100 else None

    def _next(self, episode: int) -> str:
        while True:
            for source in self._sources:
                try:
                    answer = source.read(episode, 0.05)
                except EOFError:
                    return "abort"  # The end of the input is never a success.
                if answer is not None:
                    if source.ends_no_line:
                        self._say("\n")
                    return answer if answer.lower().startswith("note") else answer.lower()

    def _is_note(self, answer: str) -> bool:
        if not answer.lower().startswith("note "):
            return False
        self._notes.append(answer[5:].strip())
        self._say("Noted. ")
        return True

    def _drain(self) -> None:
        for source in self._sources:
            source.drain()


def _can_interrupt(source: Answers) -> bool:
    """Buttons can, at once. A terminal has Ctrl-C, and the lines of a file belong to questions."""
    return isinstance(source, ButtonAnswers)
