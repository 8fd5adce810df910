"""The operator beside the robot, who arranges the scene, labels episodes and may stop; or a file of their answers.

Every command asks through this module, so that an answer means the same everywhere. Answers to "Did it succeed?": y, n,
0 to 100 (progress), r (redo: this episode does not count), a (abort: stop the session), "note ..." (kept with the
episode; the question is asked again). The end of the input is an abort. At a terminal, and with the buttons of the
page, a and s (stop this episode) may be given at any time; so may notes, with the page.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vlm2vla_sim.errors import EpisodeAbortedError
from vlm2vla_sim.evaluation.operator.answers import Answers, StreamAnswers
from vlm2vla_sim.evaluation.operator.buttons import ButtonAnswers
from vlm2vla_sim.evaluation.operator.stop import WORDS, Stop, StopLatch

__all__ = ["HELP", "Answers", "ButtonAnswers", "Label", "Operator", "StreamAnswers"]

HELP = "y success, n failure, 0-100 progress, r redo, a abort, note TEXT"
POLL_SECONDS = 0.02
"""[s] between two looks for an answer or a stop."""


@dataclass(frozen=True)
class Label:
    """The operator's label of an episode."""

    word: str
    """"success", "failure", "partial", "crash" (of the policy, where nobody was asked), "redo" or "abort"."""
    score: float = 0.0
    """0 .. 100."""
    notes: tuple[str, ...] = ()
    automatic: bool = False
    """The backend knew the outcome, and the operator was not asked."""


class Operator:
    """Asks the operator, and reads the answers and the stops."""

    def __init__(self, sources: Iterable[Answers], *, say: Callable[[str], None], always_ask: bool = False) -> None:
        """say: prints text for the operator. always_ask: ask even where the backend knows the outcome."""
        self._sources = list(sources)
        self._say = say
        self._always_ask = always_ask
        self._notes: dict[int, list[str]] = {}
        self._lock = threading.Lock()
        self.stop = StopLatch()

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Latch stops as they come while the block runs, even while a model thinks or the arm drives to its start."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(POLL_SECONDS):
                self._latch()

        thread = threading.Thread(target=work, name="stops", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(1)

    def check(self) -> None:
        """At a safe point: EpisodeAbortedError if a stop was given."""
        self._latch()
        self.stop.check()

    def wait_for_scene(self, episode: int, request: str, *, show: Callable[[], None] = lambda: None) -> None:
        """Wait until the operator has arranged the scene; EpisodeAbortedError when they stop the session.

        The stop of an episode is acknowledged: nothing moves until the operator starts it. show: shows the question
        elsewhere, after earlier answers are discarded: whoever sees it answers this one.
        """
        self._drain()
        show()
        self._say(f"{request} [Enter start, a abort, note TEXT] ")
        while True:
            answer = self._next(episode)
            if answer in ("", "y", "yes", "start"):
                return
            if self._is_note(episode, answer):
                continue
            if WORDS.get(answer) is Stop.SESSION:
                self.stop.press(Stop.SESSION)
                raise EpisodeAbortedError("The operator stopped the session before the episode.")
            if WORDS.get(answer) is Stop.EPISODE:
                self._say("Stopped: nothing moves until you start. ")
            self._say("Enter to start, a to abort: ")

    def judge(
        self, episode: int, known: bool | None, *, about: str = "", show: Callable[[], None] = lambda: None
    ) -> Label:
        """How the episode went.

        Args:
            episode: its number.
            known: the outcome that the backend saw; None where it cannot know.
            about: why the episode ended early; the operator is asked then, whatever is known.
            show: shows the question elsewhere; see `wait_for_scene`.
        """
        if known is not None and not self._always_ask and not about:
            return Label("success" if known else "failure", 100.0 * known, self.take_notes(episode), automatic=True)
        self._drain()
        show()
        self._say(f"{about} Episode {episode}: did it succeed? [{HELP}] ".lstrip())
        while True:
            answer = self._next(episode)
            if self._is_note(episode, answer):
                continue
            if WORDS.get(answer) is Stop.EPISODE:
                self._say(f"The episode has ended. [{HELP}] ")
                continue
            label = self._parse(answer)
            if label is not None:
                return replace(label, notes=self.take_notes(episode))
            self._say(f"{answer!r} is none of: {HELP}. ")

    def take_notes(self, episode: int) -> tuple[str, ...]:
        """The notes on `episode` since the last call, for its record or its event."""
        with self._lock:
            given = [note for source in self._sources for note in source.notes(episode)]
        return (*self._notes.pop(episode, ()), *given)

    def _parse(self, answer: str) -> Label | None:
        if answer in ("y", "yes"):
            return Label("success", 100.0)
        if answer in ("n", "no"):
            return Label("failure", 0.0)
        if answer in ("r", "redo"):
            return Label("redo")
        if WORDS.get(answer) is Stop.SESSION:
            self.stop.press(Stop.SESSION)
            return Label("abort")
        if not re.fullmatch(r"\d{1,3}([.,]\d*)? ?%?", answer):
            return None
        score = float(answer.rstrip("% ").replace(",", "."))
        if score in (0, 100):  # how far a failure and a success got
            return Label("success" if score else "failure", score)
        return Label("partial", score) if score < 100 else None

    def _next(self, episode: int) -> str:
        """The next answer; "abort" and "stop" for the stops, which come first."""
        while True:
            self._latch()
            stop = self.stop.acknowledge()
            if stop is not None:
                return "abort" if stop is Stop.SESSION else "stop"
            for source in self._sources:
                try:
                    with self._lock:
                        answer = source.read(episode, 0.0)
                except EOFError:
                    return "abort"  # The end of the input is never a success.
                if answer is not None:
                    if source.ends_no_line:
                        self._say("\n")
                    return answer if answer.lower().startswith("note") else answer.lower()
            time.sleep(POLL_SECONDS)

    def _is_note(self, episode: int, answer: str) -> bool:
        if not answer.lower().startswith("note "):
            return False
        self._notes.setdefault(episode, []).append(answer[5:].strip())
        self._say("Noted. ")
        return True

    def _latch(self) -> None:
        with self._lock:
            found = [stop for source in self._sources for stop in source.stops()]
        for stop in found:
            self.stop.press(stop)

    def _drain(self) -> None:
        self._latch()
        with self._lock:
            for source in self._sources:
                source.drain()
