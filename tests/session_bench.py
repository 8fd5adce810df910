"""Real sessions on the mock robot: the command itself, a person at its buttons, and what is left of it afterwards."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from robot_bench import Bench
from scenario_table import Measured

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.envs.bridge.backend import BridgeBackend
from vlm2vla_sim.envs.robot_link.server_identity import Timeouts
from vlm2vla_sim.evaluation.operator.live_files import LiveFiles
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile
from vlm2vla_sim.types import ActionChunk, Decision

PATIENT = Timeouts(hash=1.0, obs=1.0, step=1.0, move=1.5, reset=5.0, init=8.0, resync=8.0)
"""For a mock server in lockstep, on a machine that may be busy."""
LATE = 1.4
"""[s] after which an answer is too late for `PATIENT`."""
MAX_SECONDS = 60.0
"""[s] after which a session is stopped, because the person does not know what it waits for."""
TASK = "push the cup"
STEPS = 4
"""Of each of the two chunks of the policy."""
THINKS = 0.3
"""[s]"""
DRIVES = 0.3
"""[s] of a reset, besides what the mock robot computes."""
PRESSES_AFTER = 0.05
"""[s] after something is seen; a person is not quicker."""


class QuickBridge(BridgeBackend):
    """The backend, with the time limits of a mock server that answers within milliseconds."""

    def __init__(self, task: Any, *, image_size: Any = (480, 640), quality: str = "fast", **options: Any) -> None:
        settings = {"timeouts": PATIENT, "period": 0.0, "max_frame_age": 0.5, "frame_timeout": 1.0} | options
        super().__init__(task, image_size=image_size, quality=quality, **settings)


class Steps:
    """A policy of two chunks of steps, up and down; `closing` closes the gripper, `how` crashes instead."""

    def __init__(self, thinks: float, steps: int, *, closing: bool, how: str) -> None:
        self._thinks, self._steps, self._closing, self._how = thinks, steps, closing, how

    def reset(self, instruction: str, seed: int = 0) -> None:
        if self._how == "reset":
            raise KeyError("weights")
        self._left = 2

    def act(self, observation: dict[str, Any]) -> Any:
        time.sleep(self._thinks)
        if self._how in CRASHES:
            return CRASHES[self._how]()
        self._left -= 1
        if self._left < 0:
            return None
        delta = np.array([0, 0, 0.01 if self._left else -0.01, 0, 0, 0, not self._closing], float)
        return Decision("", "", "", ActionChunk(np.tile(delta, (self._steps, 1)), "up and down", stepwise=True))

    def close(self) -> None:
        if self._how == "close":
            raise RuntimeError("it does not let go")


def _crash(error: BaseException) -> Any:
    raise error


CRASHES: dict[str, Callable[[], Any]] = {
    "MemoryError": lambda: _crash(MemoryError("out of memory")),
    "SystemExit": lambda: _crash(SystemExit(3)),
    "zero-rows": lambda: Decision("", "", "", ActionChunk(np.zeros((0, 7)), "")),
    "not-finite": lambda: Decision("", "", "", ActionChunk(np.full((1, 7), np.nan), "")),
    "no-decision": lambda: "move up",
}


def steps(context: Any) -> Steps:
    """The policy, by its options."""
    options = {"thinks": 0.0, "steps": STEPS, "closing": False, "how": ""} | dict(context.options)
    assert options["how"] in (*CRASHES, "reset", "close", "make", ""), options
    if options["how"] == "make":
        raise SystemExit("the weights do not fit")
    values = float(options["thinks"]), int(options["steps"])
    return Steps(*values, closing=str(options["closing"]) == "True", how=str(options["how"]))


@dataclass
class Motions:
    """What the robot of a mock server was told to do, with the time at which it began."""

    made: list[tuple[float, str]] = field(default_factory=list)
    drives: float = 0.0
    """[s] that a drive to the start takes, besides what the mock robot computes."""
    driving: threading.Event = field(default_factory=threading.Event)
    """Set once such a drive has begun."""

    def watch(self, stage: Bench) -> None:
        """Note every action from now on, and take `drives` seconds for a reset."""
        act = stage.server.robot.act

        def noted(key: str, payload: Any, raw: bytes) -> Any:
            self.made.append((time.monotonic(), key))
            if key == "reset" or (key == "init" and stage.server.robot.initialised):  # an equal init is a reset
                self.driving.set()
                time.sleep(self.drives)
            return act(key, payload, raw)

        stage.server.robot.act = noted  # type: ignore[method-assign]

    def press_in_reset(self, button: str) -> Callable[[Person, int], None]:
        """An entry of a plan: press `button` while the robot carries out a reset."""

        def entry(person: Person, episode: int) -> None:
            assert self.driving.wait(30)
            person.press(button, episode)

        return entry

    def after(self, moment: float) -> list[str]:
        """Those that began after `moment`."""
        return [key for at, key in self.made if at > moment]


@dataclass
class Ended:
    """What one session left."""

    status: int
    out: Path
    printed: str
    said: str
    pressed: float = 0.0
    """[s] when the last stop was pressed."""
    states: list[dict[str, Any]] = field(default_factory=list)
    """What the page showed."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """Of `episodes.jsonl`."""
        return read(self.out / "episodes.jsonl")

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of `events.jsonl`."""
        return read(self.out / "events.jsonl")

    def measured(self, status: str = "") -> Measured:
        """For the table."""
        return Measured(status or str(self.status), *describe(self.out))


def describe(out: Path) -> tuple[str, str]:
    """The labels and the events of a session's folder, in words."""
    labels = []
    for record in read(out / "episodes.jsonl"):
        label, word = record["label"], record["label"]["word"]
        words = [word if word != "partial" else f"progress {label['score']:g}"]
        words += [f"after {record['attempts']} attempts"] if record["attempts"] > 1 else []
        words += [f"note: {note}" for note in label["notes"]]
        labels.append(", ".join(words))
    events = [event["event"] for event in read(out / "events.jsonl")]
    return "; ".join(labels) or "none", ", ".join(events) or "none"


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; none where there is no file."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


class Person(threading.Thread):
    """Looks at the session's state and does what `plan` says of a phase, one entry each time that the phase begins.

    An entry is a button, "keys: " and what is typed at the terminal, raw text for the file of buttons, something to
    call with this person and the episode's number, or nothing.
    """

    def __init__(self, out: Path, plan: dict[str, list[Any]], keys: Callable[[str], Any]) -> None:
        super().__init__(daemon=True)
        self._keys = keys
        self._live, self._plan = out / "live", {phase: list(entries) for phase, entries in plan.items()}
        self.states: list[dict[str, Any]] = []
        self.pressed = 0.0
        self.over = threading.Event()
        self.problem: Exception | None = None

    def run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # given to the test by `play`, which would wait for this person for ever
            self.problem = error
            StopFile(self._live / StopFile.NAME).press(Stop.SESSION)

    def _follow(self) -> None:
        last: Any = None
        end = time.monotonic() + MAX_SECONDS
        while not self.over.is_set():
            state = self._look()
            if state is not None:
                self.states.append(state | {"at": time.monotonic()})
                now = (state["phase"], state.get("question"), state.get("stop"))
                if now != last and "received" not in str(state.get("stop")):
                    last = now
                    self._do(state)
            time.sleep(0.005)
            if time.monotonic() > end:
                raise TimeoutError(f"The session has not ended; last it showed {self.states[-1:]}.")

    def _look(self) -> dict[str, Any] | None:
        try:
            return json.loads((self._live / "state.json").read_bytes())
        except (OSError, ValueError):
            return None

    def _do(self, state: dict[str, Any]) -> None:
        entry = (self._plan.get(state["phase"]) or [""]).pop(0)
        if not entry:
            return
        time.sleep(PRESSES_AFTER)
        if callable(entry):
            entry(self, state["episode"])
        else:
            self.press(entry, state["episode"])

    def press(self, button: str, episode: int) -> None:
        """A button, as the page's server writes it; keys; or a line of the file of buttons as it is."""
        if button.startswith("keys: "):
            self._keys(button.removeprefix("keys: ") + "\n")
            self.pressed = time.monotonic()
            return
        if button.isidentifier():
            LiveFiles(self._live.parent).press(button, episode)
        else:
            with (self._live / "buttons.jsonl").open("a") as file:
                file.write(button)
        if button.startswith(("stop", "{")):
            self.pressed = time.monotonic()


@contextmanager
def terminal(answers: str | None) -> Iterator[Callable[[str], Any]]:
    """Standard input for a block: a file of answers, or with None a real terminal; what presses its keys."""
    before = sys.stdin
    if answers is not None:
        sys.stdin = io.StringIO(answers)
        try:
            yield lambda words: None
        finally:
            sys.stdin = before
        return
    keys, screen = os.openpty()
    sys.stdin = os.fdopen(screen, encoding="utf-8")
    try:
        yield lambda words: os.write(keys, words.encode())
    finally:
        end, sys.stdin = sys.stdin, before
        os.close(keys)
        time.sleep(0.05)  # the thread that reads sees that the terminal is gone
        with contextlib.suppress(OSError):
            end.close()


def play(
    out: Path,
    port: int,
    *,
    answers: str | None = None,
    plan: dict[str, list[Any]] | None = None,
    policy: dict[str, Any] | None = None,
    words: tuple[str, ...] = (),
    backend: dict[str, Any] | None = None,
) -> Ended:
    """A session of one episode by the command line.

    answers: a file of answers as standard input; without it a terminal, at which the entries of `plan` that are keys
    are typed ("keys: a").
    """
    policy = policy or {}
    backend = {"max_episode_steps": 2 * policy.get("steps", STEPS)} | (backend or {})
    options = [f"{name}={value}" for name, value in policy.items()]
    given = [f"{name}={value}" for name, value in {"port": port, **backend}.items()]
    line = ["robot", "session", "--out", str(out), "--episodes", "1", "--no-video"]
    line += [] if "--policies" in words else ["--policies", f"{__name__}:steps"]
    line += ["--tasks", TASK, "--backend", f"{__name__}:QuickBridge", "--backend-options", *given]
    line += (["--policy-options", *options] if options else []) + list(words)
    printed, said = io.StringIO(), io.StringIO()
    with terminal(answers) as keys:
        person = Person(out, plan or {}, keys)
        person.start()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
                status = main(line)
        finally:
            person.over.set()
            person.join(5)
    if person.problem is not None:
        raise person.problem
    states = [*person.states, *filter(None, [person._look()])]
    return Ended(status, out, printed.getvalue(), said.getvalue(), person.pressed, states)
