"""A Stop is a Stop: in every phase of a session it is latched, acknowledged, and nothing moves after it."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_session import operator, read, settings

from vlm2vla_sim.errors import EpisodeAbortedError
from vlm2vla_sim.evaluation.operator.answers import StreamAnswers
from vlm2vla_sim.evaluation.operator.buttons import TORN_SECONDS, ButtonAnswers
from vlm2vla_sim.evaluation.operator.live_view import LiveView
from vlm2vla_sim.evaluation.operator.prompts import Operator
from vlm2vla_sim.evaluation.operator.session import run_session
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile, StopLatch
from vlm2vla_sim.policies.spec import PolicySpec

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


def _until(holds: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


# What is optional, and what is the policy's.


def test_a_live_view_that_cannot_be_written_is_said_once(tmp_path):
    (tmp_path / "live").write_text("a file, not a folder")
    said: list[str] = []
    view = LiveView(tmp_path, say=said.append)
    view.show(np.zeros((8, 8, 3), np.uint8))
    view.update(phase="running")
    assert len(said) == 1


def crashing(context: Any) -> Any:
    class Crashing:
        def reset(self, instruction: str, seed: int = 0) -> None:
            pass

        def act(self, observation: dict[str, Any]) -> Any:
            raise SystemExit(3)

    return Crashing()


def test_where_the_simulator_knows_a_crash_is_an_error_that_nobody_is_asked_about(tmp_path):
    crash = PolicySpec(f"{__name__}:crashing")
    chosen = settings(policies=(crash, PolicySpec("hold")), tasks=("stack_cube",), backend="point")
    end = run_session(chosen, tmp_path / "s", operator("")[0], video=False, live=False)
    assert (end.done, end.stopped) == (4, "")
    records = [record for record in read(tmp_path / "s") if record["label"]["word"] == "crash"]
    assert [(r["attempts"], r["result"]["outcome"]) for r in records] == [(1, "error"), (1, "error")]
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert summary["overall"]["n_error"] == 2
    assert summary["overall"]["n"] == 2


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
