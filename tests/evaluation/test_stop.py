"""A Stop is a Stop: in every phase of a session it is latched, acknowledged, and nothing moves after it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_session import BlindBackend, operator, read, settings

from vlm2vla_sim.core import atomic
from vlm2vla_sim.errors import EpisodeAbortedError
from vlm2vla_sim.evaluation.operator.answers import StreamAnswers
from vlm2vla_sim.evaluation.operator.buttons import TORN_SECONDS, ButtonAnswers
from vlm2vla_sim.evaluation.operator.live_files import LiveFiles
from vlm2vla_sim.evaluation.operator.live_view import LiveView
from vlm2vla_sim.evaluation.operator.prompts import Operator
from vlm2vla_sim.evaluation.operator.session import run_session
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile, StopLatch
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import ActionChunk, Decision

# The latch.


@given(st.lists(st.sampled_from(["episode", "session", "acknowledge"]), max_size=12))
def test_a_stop_stays_until_it_is_acknowledged_and_that_of_a_session_for_ever(events):
    latch, expected = StopLatch(), None
    for event in events:
        if event == "acknowledge":
            assert latch.acknowledge() is expected
            expected = None if expected is Stop.EPISODE else expected
        else:
            stop = Stop[event.upper()]
            latch.press(stop)
            expected = max(stop, expected or stop)
        assert latch.pending is expected
        if expected is None:
            latch.check()
        else:
            with pytest.raises(EpisodeAbortedError, match=expected.name.lower()):
                latch.check()


def test_every_change_of_the_latch_is_told_once():
    latch, told = StopLatch(), []
    latch.on_change = told.append
    for stop in (Stop.EPISODE, Stop.EPISODE, Stop.SESSION, Stop.EPISODE):
        latch.press(stop)
    latch.acknowledge()
    assert told == [Stop.EPISODE, Stop.SESSION]


# Where stops come from.


def test_stops_typed_at_a_terminal_count_at_any_time_and_other_words_only_as_answers():
    end, begin = os.pipe()
    with os.fdopen(end) as stream, os.fdopen(begin, "w", buffering=1) as keys:
        source = StreamAnswers(stream, interactive=True)
        keys.write("y\ns\nnote x\n")
        _until(lambda: source._lines.qsize() == 3)
        source.drain()
        assert source.read(0, 0.0) is None
        assert source.stops() == [Stop.EPISODE], "draining loses no stop"
        keys.write("QUIT\n")
        _until(source._lines.qsize)
        assert source.stops() == [Stop.SESSION]


def test_a_terminal_that_is_gone_is_the_end_of_the_input():
    class Gone:
        def isatty(self) -> bool:
            return True

        def __iter__(self) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    source = StreamAnswers(Gone())  # type: ignore[arg-type]
    with pytest.raises(EOFError):
        source.read(0, 1.0)


@pytest.mark.parametrize(
    ("torn", "stop"),
    [
        ('{"button": "stop", "episode": 3, "ti', Stop.SESSION),
        ('{"button": "stop_epi', Stop.EPISODE),
        ('{"but', Stop.EPISODE),
        ('{"button": "success"}', Stop.EPISODE),
        ("[]", Stop.EPISODE),
        ('{"button": "st{"button": "start", "episode": 3}', Stop.EPISODE),
        ("\x00\xff", Stop.EPISODE),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""], ids=["ended", "cut off"])
def test_a_torn_press_is_a_stop_because_it_may_have_been_one(tmp_path, torn, stop, end):
    source = ButtonAnswers(tmp_path / "buttons.jsonl")
    (tmp_path / "buttons.jsonl").write_bytes(f"{torn}{end}".encode("latin-1"))
    found = source.stops()
    if not end:
        assert found == [], "the rest of the line may still come"
        time.sleep(TORN_SECONDS + 0.1)
        found = source.stops()
    assert found == [stop]
    assert source.stops() == []


def test_a_stop_counts_whatever_episode_the_page_showed_and_after_the_file_was_replaced(tmp_path):
    path = tmp_path / "buttons.jsonl"
    path.write_text('{"button": "stop", "episode": 0}\n')
    source = ButtonAnswers(path)
    assert source.stops() == [], "of an earlier session"
    path.write_text('{"button": "stop", "episode": 9}')
    path.write_text('{"button": "stop"')
    path.write_text('{"button": "stop", "episode": 9}\n'[:20] + "\n")
    assert source.stops() == [Stop.SESSION]


def test_the_file_of_stops_needs_no_room_and_starts_empty(tmp_path):
    file = StopFile(tmp_path / "live" / StopFile.NAME)
    with pytest.raises(FileNotFoundError):
        file.press(Stop.SESSION)
    file.create()
    assert file.take() == []
    file.press(Stop.EPISODE)
    file.press(Stop.EPISODE)
    assert file.take() == [Stop.EPISODE]
    assert file.take() == []
    file.press(Stop.SESSION)
    file.press(Stop.EPISODE)
    assert file.take() == [Stop.EPISODE, Stop.SESSION]
    assert file.take() == []
    assert (tmp_path / "live" / StopFile.NAME).stat().st_size == 2
    file.create()
    assert StopFile(tmp_path / "live" / StopFile.NAME).take() == []


# A session, with a person at the buttons.


class Arm(BlindBackend):
    """A robot whose every motion is noted with its time."""

    real_robot = True
    knows_scene = None
    motions: list[tuple[float, str]] = []  # noqa: RUF012 - of the one arm there is

    def reset(self, layout: Any, rng: np.random.Generator) -> None:
        Arm.motions.append((time.monotonic(), "reset"))
        time.sleep(0.3)
        super().reset(layout, rng)

    def move(self, delta: np.ndarray) -> None:
        time.sleep(0.02)
        Arm.motions.append((time.monotonic(), "move"))
        super().move(delta)


def slow(_: Any) -> Any:
    """A policy that thinks for 0.4 s and moves for ten steps."""

    class Slow:
        def reset(self, instruction: str, seed: int = 0) -> None:
            pass

        def act(self, observation: dict[str, Any]) -> Decision:
            time.sleep(0.4)
            rows = np.tile(np.array([0.0, 0, 0.01, 0, 0, 0, 1]), (10, 1))
            return Decision("", "", "", ActionChunk(rows, "up", stepwise=True))

    return Slow()


class Person(threading.Thread):
    """Looks at the page's state and presses buttons: once what `plan` says of a phase, then what ends an episode."""

    def __init__(self, run: Path, plan: dict[str, list[str]]) -> None:
        super().__init__(daemon=True)
        self.run_folder, self.plan = run, plan
        self.pressed = 0.0
        self.seen: list[dict[str, Any]] = []

    def run(self) -> None:
        live = self.run_folder / "live"
        _until(lambda: (live / StopFile.NAME).exists())
        files = LiveFiles(self.run_folder)
        last: Any = None
        while True:
            state = files.state()
            self.seen.append(state | {"at": time.monotonic()})
            if state["phase"] == "over":
                return
            now = (state["phase"], state.get("question"), state.get("stop"))
            if now != last and "received" not in str(now[2]):
                last = now
                time.sleep(0.05)  # a person is not quicker
                for button in self.plan.get(state["phase"], [])[:1]:
                    self.plan[state["phase"]].pop(0)
                    if button:
                        files.press(button, state["episode"])
                    if button.startswith("stop"):
                        self.pressed = time.monotonic()
            time.sleep(0.005)


def _until(holds: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


def play(tmp_path: Path, plan: dict[str, list[str]], **changes: Any) -> tuple[Any, Person, list[dict[str, Any]]]:
    """A session of one episode on the arm; its end, the person, and its events."""
    Arm.motions.clear()
    chosen = settings(
        policies=(PolicySpec(f"{__name__}:slow"),),
        tasks=("stack_cube",),
        episodes=1,
        backend=f"{__name__}:Arm",
        **changes,
    )
    run = tmp_path / "s"
    asked = Operator([ButtonAnswers(run / "live" / "buttons.jsonl")], say=lambda text: None)
    person = Person(run, {phase: list(buttons) for phase, buttons in plan.items()})
    person.start()
    end = run_session(chosen, run, asked, video=False, env_options={"image_size": (32, 32), "max_episode_steps": 20})
    person.join(10)
    assert not person.is_alive()
    return end, person, read(run, "events.jsonl")


BUSY = 0.5
"""[s] in which the step on its way has been made; the promise is 0.2 s, and the machine has other work to do."""
PHASES = ["resetting", "scene", "thinking", "running", "judge"]
USUAL = {"scene": ["start", "start", "start"], "judge": ["success"]}


def with_stop(phase: str, button: str) -> dict[str, list[str]]:
    second = [""] if phase == "thinking" else []  # the second thought, after ten steps
    return {**USUAL, phase: [*second, button, *USUAL.get(phase, [])]}


@pytest.mark.parametrize("phase", PHASES)
def test_the_sessions_stop_ends_it_in_every_phase_and_nothing_moves_after_it(tmp_path, phase):
    end, person, events = play(tmp_path, with_stop(phase, "stop"))
    assert end.done == 0
    assert "stop" in end.stopped
    assert not end.fault
    after = [(at - person.pressed, what) for at, what in Arm.motions if at > person.pressed]
    assert len(after) <= 1, "one step may have been on its way"
    assert all(what == "move" and seconds < BUSY for seconds, what in after)
    assert [event["event"] for event in events][-1] == "abort"
    received = [state["at"] for state in person.seen if state.get("stop") == "Stop of the session received."]
    assert phase in ("scene", "judge") or received[0] - person.pressed < 1.0, "acknowledged, even while it waits"


@pytest.mark.parametrize("phase", PHASES)
def test_an_episodes_stop_ends_the_episode_in_every_phase_and_waits_for_the_operator(tmp_path, phase):
    plan = with_stop(phase, "stop_episode")
    if phase == "resetting":
        plan["scene"] = ["", "start", "start"]  # the first is pressed below, after a pause
        threading.Thread(target=_start_late, args=(tmp_path / "s",), daemon=True).start()
    end, person, events = play(tmp_path, plan)
    assert (end.done, end.stopped) == (1, "")
    stopped = [state for state in person.seen if state.get("stop") == "Stopped. The arm holds."]
    assert stopped, "it is shown that it took effect"
    [record] = read(tmp_path / "s")
    assert record["label"]["word"] == "success"
    if phase in ("thinking", "running"):
        assert [event["event"] for event in events] == ["stop"]
        after = [at - person.pressed for at, _ in Arm.motions if at > person.pressed]
        assert len(after) <= 1
        assert all(seconds < BUSY for seconds in after)
        assert record["result"]["steps"] < 20
    elif phase == "resetting":
        assert [event["event"] for event in events] == ["stop"]
        first, second = [at for at, what in Arm.motions if what == "reset"][:2]
        assert second - first > 1.0, "nothing drives before the person starts it"
    else:
        assert events == []
        assert record["result"]["steps"] == 20


def test_a_stop_in_the_first_thought_leaves_nothing_to_judge(tmp_path):
    end, _, events = play(tmp_path, {**USUAL, "thinking": ["stop_episode"]})
    assert end.done == 1
    assert [(event["event"], event["reason"]) for event in events] == [("stop", "before its first step")]
    assert [what for _, what in Arm.motions].count("move") == 20


def _start_late(run: Path) -> None:
    """Press Start a second after the arm was stopped."""
    _until(lambda: (run / "events.jsonl").exists() and read(run, "events.jsonl"))
    time.sleep(1.0)
    LiveFiles(run).press("start", 0)


def test_a_stop_typed_while_the_arm_drives_is_not_lost_to_the_question_that_follows(tmp_path):
    Arm.motions.clear()
    end, begin = os.pipe()
    keys = os.fdopen(begin, "w", buffering=1)
    stream = os.fdopen(end)

    def person() -> None:
        _until(lambda: Arm.motions)
        keys.write("a\n")

    threading.Thread(target=person, daemon=True).start()
    source = StreamAnswers(stream, interactive=True)
    asked = Operator([source], say=lambda text: None)
    chosen = settings(policies=(PolicySpec("hold"),), tasks=("stack_cube",), backend=f"{__name__}:Arm")
    ended = run_session(chosen, tmp_path / "s", asked, video=False, live=False, env_options={"image_size": (32, 32)})
    assert ended.done == 0
    assert [what for _, what in Arm.motions] == ["reset"]
    keys.close()
    _until(lambda: not source._lines.empty())  # the end of the input
    stream.close()


# Nothing optional kills a session.


def test_a_full_disk_under_the_live_view_is_said_once_and_the_stop_still_works(tmp_path, monkeypatch):
    room = itertools.count()

    def full(path: Path, content: bytes, *, sync: bool = True) -> None:
        if path.parent.name == "live" and next(room) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, content, sync=sync)

    original = atomic.write_bytes
    monkeypatch.setattr("vlm2vla_sim.evaluation.operator.live_view.write_bytes", full)
    monkeypatch.setattr("vlm2vla_sim.core.atomic.write_bytes", full)
    said: list[str] = []
    asked = Operator([ButtonAnswers(tmp_path / "s" / "live" / "buttons.jsonl")], say=lambda text: None)
    chosen = settings(policies=(PolicySpec(f"{__name__}:slow"),), tasks=("stack_cube",), episodes=1)

    def press() -> None:
        _until(lambda: next(room) > 10)
        LiveFiles(tmp_path / "s").press("stop", 0)

    threading.Thread(target=press, daemon=True).start()
    end = run_session(chosen, tmp_path / "s", asked, video=False, say=said.append)
    assert "pressed stop" in end.stopped
    assert [text for text in said if "live view" in text] == [
        f"The live view {tmp_path / 's' / 'live'} cannot be written: No space left on device. The session goes on."
    ]


def test_a_live_view_that_cannot_be_made_does_not_keep_a_session_from_its_work(tmp_path):
    chosen = settings(policies=(PolicySpec("hold"),), tasks=("stack_cube",), episodes=1)
    run_session(chosen, tmp_path / "s", operator("")[0], video=False, live=False)
    (tmp_path / "s" / "live").write_text("a file, not a folder")
    said: list[str] = []
    end = run_session(chosen, tmp_path / "s", operator("y\n")[0], resume=True, video=False, say=said.append)
    assert end.done == 1
    assert sum("live view" in text for text in said) == 1
    LiveView(tmp_path / "s").show(np.zeros((8, 8, 3), np.uint8))


CRASHES: dict[str, Callable[[], Any]] = {
    "MemoryError": lambda: (_ for _ in ()).throw(MemoryError("out of memory")),
    "SystemExit": lambda: (_ for _ in ()).throw(SystemExit(3)),
    "zero rows": lambda: ActionChunk(np.zeros((0, 7)), ""),
    "NaN": lambda: ActionChunk(np.full((1, 7), np.nan), ""),
    "no decision": lambda: "move up",
}


def crashing(context: Any) -> Any:
    how = context.options["how"]

    class Crashing:
        def reset(self, instruction: str, seed: int = 0) -> None:
            if how == "reset":
                raise KeyError("weights")

        def act(self, observation: dict[str, Any]) -> Any:
            made = CRASHES[how]()
            return made if isinstance(made, str) else Decision("", "", "", made)

        def close(self) -> None:
            raise RuntimeError("close failed too")

    return Crashing()


def unmakeable(context: Any) -> Any:
    raise SystemExit("the weights do not fit")


@pytest.mark.parametrize("how", [*CRASHES, "reset"])
def test_a_policys_crash_is_the_policys_and_the_operator_says_how_it_counts(tmp_path, how):
    chosen = settings(
        policies=(PolicySpec(f"{__name__}:crashing", options={"how": how}),), tasks=("stack_cube",), episodes=2
    )
    asked, said = operator("n\nr\nn\n")
    end = run_session(chosen, tmp_path / "s", asked, video=False, live=False)
    assert (end.done, end.stopped, end.fault) == (2, "", False)
    records = read(tmp_path / "s")
    assert [record["attempts"] for record in records] == [1, 2], "never run again by itself"
    assert {record["result"]["outcome"] for record in records} == {"failure"}
    assert all(record["result"]["policy_crash"] for record in records)
    assert sum("The policy crashed" in text for text in said) == 3
    events = [event["event"] for event in read(tmp_path / "s", "events.jsonl")]
    assert set(events) == {"policy crash", "redo"}


def test_where_the_simulator_knows_a_crash_is_an_error_that_nobody_is_asked_about(tmp_path):
    crash = PolicySpec(f"{__name__}:crashing", options={"how": "SystemExit"})
    chosen = settings(policies=(crash, PolicySpec("hold")), tasks=("stack_cube",), backend="point")
    end = run_session(chosen, tmp_path / "s", operator("")[0], video=False, live=False)
    assert (end.done, end.stopped) == (4, "")
    records = [record for record in read(tmp_path / "s") if record["label"]["word"] == "crash"]
    assert [(r["attempts"], r["result"]["outcome"]) for r in records] == [(1, "error"), (1, "error")]
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert summary["overall"]["n_error"] == 2
    assert summary["overall"]["n"] == 2


def test_a_policy_that_cannot_be_made_is_not_the_robots_fault(tmp_path):
    chosen = settings(policies=(PolicySpec(f"{__name__}:unmakeable"),), tasks=("stack_cube",))
    end = run_session(chosen, tmp_path / "s", operator("")[0], video=False, live=False)
    assert end.fault
    assert end.stopped.startswith("The policy cannot be made (SystemExit: the weights do not fit). Fix it")


def test_a_button_pressed_as_soon_as_the_question_is_seen_counts(tmp_path):
    path = tmp_path / "buttons.jsonl"
    asked = Operator([ButtonAnswers(path)], say=lambda words: None)

    def press(button: str):
        def show() -> None:
            with path.open("a") as file:
                file.write(json.dumps({"button": button, "episode": 3}) + "\n")

        return show

    press("failure")()  # of an earlier question
    assert asked.judge(3, None, show=press("redo")).word == "redo"
    press("redo")()
    asked.wait_for_scene(3, "Arrange the scene.", show=press("start"))
