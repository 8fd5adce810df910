"""docs/real_robot.md promises nothing that is not tested, and its commands work as written."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lane import need
from scenario_table import Measured, scenario

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.cli.result import STOPPED
from vlm2vla_sim.errors import SettingError

need("robot", "zmq", "lz4", "cv2")

from robot_bench import Bench, bench  # noqa: E402
from session_bench import describe  # noqa: E402

from vlm2vla_sim.envs.robot_link.mock.fault_proxy import KINDS, Fault, random_faults, read_script  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "real_robot.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 25
    assert {name for name in named if f"def {name}(" not in written} == set()


def test_the_pages_table_of_faults_has_every_kind():
    for kind in KINDS:
        assert f"| {kind} |" in PAGE, kind


def test_random_faults_are_the_same_for_the_same_seed_and_of_every_kind():
    faults = random_faults(3, requests=2000, rate=0.2, seconds=2.0)
    assert faults == random_faults(3, requests=2000, rate=0.2, seconds=2.0)
    assert faults != random_faults(4, requests=2000, rate=0.2, seconds=2.0)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert len(faults) == pytest.approx(400, abs=80)


def test_a_script_of_faults_is_read_and_a_wrong_one_is_a_sentence(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text('[{"at": 12, "kind": "drop_answer"}, {"at": 30, "kind": "delay", "seconds": 2}]')
    assert read_script(path) == (Fault(12, "drop_answer"), Fault(30, "delay", seconds=2))
    path.write_text('{"at": 1}')
    with pytest.raises(SettingError, match="Expected a list"):
        read_script(path)


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A `vlm2vla` command in a process of its own, which does not outlive the test."""
    command = [sys.executable, "-m", "vlm2vla_sim", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_rehearsal_by_command_line_on_a_stand_in(tmp_path, capsys, monkeypatch):
    options = ("--port", "0", "--truth-port", "0", "--clock", "lockstep")
    with running("robot", "stand-in", *options) as server:
        assert server.stderr is not None
        assert server.stderr.readline() == "vlm2vla robot stand-in is called `vlm2vla robot mock-server` now.\n"
        said = server.stderr.readline()
        found = re.search(r"127\.0\.0\.1:(\d+), state channel (\S+?)\. Ctrl-C", said)
        assert found, said
        answers = tmp_path / "answers.txt"
        answers.write_text("\n")  # the scene is arranged; success the state channel knows
        words = ["robot", "session", "--out", str(tmp_path / "s"), "--policies", "scripted", "--episodes", "1"]
        words += ["--port", found[1], "--truth", found[2], "--answers", str(answers), "--park"]
        assert main(words) == 0
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
    assert "scripted (vlm2vla): 1 of 1" in capsys.readouterr().out
    [line] = (tmp_path / "s" / "episodes.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["label"] == {"word": "success", "score": 100.0, "notes": [], "automatic": True}
    assert (tmp_path / "s" / record["result"]["video"]).stat().st_size > 10_000
    assert (tmp_path / "s" / "live" / "scene.jpg").exists()


@pytest.mark.parametrize(
    ("number", "status", "phase"),
    [
        scenario(f"signal-{number.name}-{phase}", number, status, phase)
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129))
        for phase in ("resetting", "scene", "running")
    ],
)
def test_a_signal_ends_a_session_in_order_in_every_phase(stage, tmp_path, read_video, outcome, number, status, phase):
    """The arm is parked, the event written and the video complete, although the terminal is gone."""
    out = tmp_path / "s"
    words = ["robot", "session", "--out", str(out), "--policies", "hold", "--episodes", "1", "--park", "--answers"]
    answers = tmp_path / "answers"
    answers.write_text("" if phase == "scene" else "\n")
    words += [
        str(answers),
        "--port",
        str(stage.server.port),
        "--tasks",
        "push the cup",
        "--backend-options",
        "period=0.1",
    ]
    if phase == "scene":
        words.remove("--answers")
        words.remove(str(answers))
    command = [sys.executable, "-m", "vlm2vla_sim", *words]
    acts = len(stage.server.robot.acts)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            state = out / "live" / "state.json"
            _until(lambda: state.exists() and json.loads(state.read_text())["phase"] == phase)
            if phase == "running":
                _until(lambda: json.loads(state.read_text())["step"] >= 3)
            assert process.stderr is not None
            process.stderr.close()
            process.send_signal(number)
            assert process.wait(30) == status
        finally:
            process.kill()
    made = stage.server.robot.acts[acts:]
    if phase != "resetting":  # then the link is lost, and the arm is where its server brings it
        assert [act.key for act in made[-2:]] == ["move", "move"], "parked"
    [event] = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert (event["event"], event["reason"]) == (
        "interrupt",
        "Ctrl-C" if status == 130 else signal.Signals(number).name,
    )
    assert json.loads(state.read_text())["phase"] == "over"
    videos = [*out.glob("videos/*/*.mp4")]
    if phase == "running":
        [video] = videos
        assert video.name == "ep0000_push_the_cup_aborted.mp4"
        assert len(read_video(video)) >= 3
    else:
        assert videos == []
    outcome(Measured(str(process.returncode), *describe(out)))


def test_nohup_keeps_a_session_from_the_end_of_its_terminal():
    code = """
import os, signal
from vlm2vla_sim.cli.signals import end_like_ctrl_c
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with end_like_ctrl_c():
    os.kill(os.getpid(), signal.SIGHUP)
    print("still here")
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        print("once:", stop)
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert made.stdout.splitlines() == ["still here", "once: SIGTERM", "True"]


def _until(holds: Callable[[], object], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stage() -> Iterator[Bench]:
    with bench(clock="wall", speed=10.0) as made:
        yield made


def test_the_watch_command_serves_until_ctrl_c(tmp_path):
    import urllib.request

    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with running("watch", str(tmp_path), "--port", "0") as server:
        assert server.stderr is not None
        url = re.search(r"http://\S+", server.stderr.readline())
        assert url
        with browser.open(url[0], timeout=10) as welcome:
            assert b"url=/" in welcome.read()
        with browser.open(url[0].partition("?")[0], timeout=10) as page:
            assert b"vlm2vla: watch" in page.read()
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130


def test_a_session_that_the_robot_stops_is_an_error_and_one_that_the_operator_stops_has_its_own_status(
    tmp_path, capsys
):
    words = ["robot", "session", "--policies", "hold", "--episodes", "1", "--no-video", "--answers"]
    (tmp_path / "answers").write_text("a\n")
    words.append(str(tmp_path / "answers"))
    assert main([*words, "--out", str(tmp_path / "1"), "--port", "1"]) == 1
    assert "Stopped: Nothing replies at 127.0.0.1:1" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "2"), "--backend", "point", "--always-ask"]) == STOPPED
    assert "Stopped: The operator stopped" in capsys.readouterr().out
