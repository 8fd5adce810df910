"""The operator's page in headless Chromium, on a phone and on a desktop: what it shows, and what its buttons do."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane import cannot_run, need
from PIL import Image
from test_session import BLINDFOLDED, settings

need("robot", "starlette", "uvicorn", "segno")

from browser import ENTER, ESCAPE, RIGHT, Browser  # noqa: E402

from vlm2vla_sim.evaluation.operator.buttons import ButtonAnswers  # noqa: E402
from vlm2vla_sim.evaluation.operator.episode_log import PolicySpec  # noqa: E402
from vlm2vla_sim.evaluation.operator.live_view import FRAME, WANTED, LiveView  # noqa: E402
from vlm2vla_sim.evaluation.operator.prompts import Operator  # noqa: E402
from vlm2vla_sim.evaluation.operator.session import run_session  # noqa: E402
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile  # noqa: E402
from vlm2vla_sim.serving.watch.server import WatchServer  # noqa: E402

PHONE, DESKTOP = (390, 844), (1280, 800)
PICTURE = np.full((480, 640, 3), (150, 100, 80), np.uint8)
EPISODE = {"episode": 2, "episodes": 12, "who": "policy B", "instruction": "put carrot on plate"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        cannot_run("robot", "needs Chromium and its driver: apt-get install chromium chromium-driver")
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


class Shown:
    """A session that shows what a test tells it to, its page, and what the page sends."""

    def __init__(self, run: Path, browser: Browser) -> None:
        self.run, self.browser = run, browser
        self.view = LiveView(run)
        self.view.show(PICTURE)
        self.view.show(PICTURE[:, ::-1], WANTED)
        self._stops = StopFile(run / "live" / StopFile.NAME)

    def says(self, **changes: Any) -> None:
        """Change the state, and wait until the page has it."""
        self.view.update(**EPISODE | changes)
        self.browser.wait(f"state.time === {json.loads((self.run / 'live' / 'state.json').read_text())['time']}")

    def text(self, element_id: str) -> str:
        return self.browser.run(f"return document.getElementById('{element_id}').innerText")

    def sent(self) -> list[tuple[Any, ...]]:
        """(button, episode[, value]) of every press so far; the stops are in the file of stops."""
        path = self.run / "live" / "buttons.jsonl"
        presses = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [tuple(press[key] for key in ("button", "episode", "value") if key in press) for press in presses]

    def wait_for(self, *sent: tuple[Any, ...]) -> None:
        until(lambda: self.sent() == list(sent))

    def wait_for_stop(self, stop: Stop) -> None:
        found: list[Stop] = []
        until(lambda: found.extend(self._stops.take()) or found)
        assert found == [stop]


def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.02)


@pytest.fixture
def shown(browser, tmp_path) -> Iterator[Shown]:
    made = Shown(tmp_path, browser)
    with WatchServer(tmp_path) as server:
        browser.resize(*DESKTOP)
        browser.open(server.url)
        browser.wait("state.phase")
        yield made
        browser.open("about:blank")


def test_the_token_does_not_stay_in_the_address_and_without_it_a_person_is_told_what_to_do(browser, tmp_path):
    with WatchServer(tmp_path) as server:
        bare = server.url.partition("?")[0]
        browser.open(bare)
        assert "open the address that the server printed" in browser.run("return document.body.innerText")
        browser.open(server.url)
        browser.wait(f"location.href === '{bare}' && state.now")
        assert browser.run("return document.cookie") == "", "no script can read it"
        browser.open(bare)
        browser.wait("state.now")
        with WatchServer(tmp_path) as other:  # the cookie is that of a port
            browser.open(f"http://localhost:{other.port}/")
            assert "open the address" in browser.run("return document.body.innerText")
            browser.run(f"location.href = '{other.url}'")  # a link of another site
            browser.wait("typeof state === 'object' && state.now && location.search === ''")
            browser.open(bare)
            browser.wait("state.now")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_picture_keeps_its_shape_the_page_its_width_and_stop_stays_in_sight(shown, browser, size):
    width, height = size
    browser.resize(width, height, phone=size == PHONE)
    shapes = {FRAME: (640, 480), WANTED: (640, 480)}
    for phase in ("scene", "running", "thinking", "judge"):
        if phase == "thinking":  # another camera
            shown.view.show(np.full((480, 300, 3), 90, np.uint8))
            shapes[FRAME] = (300, 480)
        shown.says(phase=phase, question="Arrange the scene." * 3, plan="word " * 90, action="x" * 200, stop="Stopped.")
        pictures = ["frame", "wanted"] if phase == "scene" else ["frame"]
        for name in pictures:
            wide, high = shapes[f"{name}.jpg"]
            browser.wait(f"by('{name}').naturalWidth === {wide} && !by('{name}').hidden")
            box = browser.run(f"const p = by('{name}'); return [p.offsetWidth, p.offsetHeight]")
            assert box[1] / box[0] == pytest.approx(high / wide, abs=0.02), (phase, name)
            assert box[0] > 200
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth") is True, phase
        for place in ("0", "document.body.scrollHeight"):
            browser.run(f"window.scrollTo(0, {place})")
            for button in ("stop_episode", "stop"):
                box = browser.run(f"return by('{button}').getBoundingClientRect().toJSON()")
                assert 0 <= box["left"] < box["right"] <= width
                assert 0 <= box["top"] < box["bottom"] <= height
                centre = ((box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2)
                assert browser.run(f"return document.elementFromPoint{centre}.closest('button').id") == button
        browser.run("window.scrollTo(0, 0)")
        if phase == "scene":
            assert browser.run("return by('start').getBoundingClientRect().bottom") < height - 70, "no need to scroll"
        small = browser.run(
            "return [...document.querySelectorAll('button, input')].filter(b => b.offsetHeight && b.offsetHeight < 44)"
            ".map(b => b.id)"
        )
        assert small == [], "large enough for a finger"


BY_CLICK = [("scene", "start"), ("judge", "success"), ("judge", "failure"), ("judge", "redo")]
BY_KEY = [("scene", ENTER, "start"), ("judge", "y", "success"), ("judge", "N", "failure"), ("judge", "r", "redo")]


def test_each_button_and_each_key_reaches_the_session_where_it_has_a_meaning(shown, browser):
    sent = []
    for phase, button in BY_CLICK:
        shown.says(phase=phase)
        browser.click(button)
        sent.append((button, 2))
        shown.wait_for(*sent)
        browser.wait("by('said').textContent.endsWith(': sent')")
    for phase, key, button in BY_KEY:
        shown.says(phase=phase)
        browser.keys(key)
        sent.append((button, 2))
        shown.wait_for(*sent)
    shown.says(phase="running")
    for key in (ENTER, "y", "n", "r", "p"):
        browser.keys(key)
    for button in ("start", "success", "failure", "redo", "progress"):
        assert browser.run(f"return by('{button}').disabled && by('{button}').offsetHeight === 0")
    time.sleep(0.3)
    assert shown.sent() == sent, "nothing that has no meaning now"


def test_a_stop_is_sent_by_button_and_key_in_every_phase_and_shown_until_it_has_taken_effect(shown, browser):
    for phase in ("starting", "resetting", "scene", "thinking", "running", "judge"):
        shown.says(phase=phase, stop="")
        for way, stop in ((browser.click, Stop.EPISODE), (browser.keys, Stop.SESSION)):
            way({browser.click: "stop_episode", browser.keys: "a"}[way])
            button, what = ("stop_episode", "episode") if stop is Stop.EPISODE else ("stop", "session")
            if stop is Stop.EPISODE or phase == "starting":  # that of a session is taken once
                shown.wait_for_stop(stop)
            browser.wait(f"by('stopped').textContent === 'Stop of the {what} sent.'")
            assert browser.run(f"return by('{button}').ariaPressed") == "true"
            shown.says(stop=f"Stop of the {what} received.")
            assert shown.text("stopped") == f"Stop of the {what} received."
            assert browser.run(f"return by('{button}').ariaPressed") == "true"
            shown.says(stop="Stopped. The arm holds.")
            assert shown.text("stopped") == "Stopped. The arm holds."
            assert browser.run(f"return by('{button}').ariaPressed") == "false"
    for key in ("s", ESCAPE):
        browser.keys(key)
        shown.wait_for_stop(Stop.EPISODE)
    browser.click("text")
    browser.keys("as")
    browser.keys(ESCAPE)  # while a note is written, too; letters are the note's then
    shown.wait_for_stop(Stop.EPISODE)
    assert browser.run("return by('text').value") == "as"


def test_before_the_first_episode_a_stop_is_a_stop_too(browser, tmp_path):
    LiveView(tmp_path)
    with WatchServer(tmp_path) as server:
        browser.open(server.url)
        browser.wait("state.phase === 'starting' && state.episode === '' && !by('stop').disabled")
        browser.click("stop")
        until(lambda: StopFile(tmp_path / "live" / StopFile.NAME).take() == [Stop.SESSION])
        browser.open("about:blank")


def test_the_slider_gives_the_progress_once_it_was_moved_and_the_note_is_sent_with_its_episode(shown, browser):
    shown.says(phase="judge")
    assert browser.run("return by('progress').disabled"), "50 % that nobody chose is not recorded"
    browser.keys(f"p{3 * RIGHT}")
    assert shown.text("progress") == "Record 53 %"
    browser.keys(ENTER)
    shown.wait_for(("progress", 2, 53))
    browser.run("by('score').value = 0; by('score').dispatchEvent(new Event('input'))")
    browser.click("progress")
    shown.wait_for(("progress", 2, 53), ("progress", 2, 0))
    shown.says(phase="judge", episode=3)
    assert browser.run("return by('progress').disabled"), "another episode, another progress"
    shown.says(phase="thinking", episode=3)
    browser.keys("t")
    browser.keys(f"It slipped, ÄÖ 木{ENTER}", "text")
    note = ("note", 3, "It slipped, ÄÖ 木")
    shown.wait_for(("progress", 2, 53), ("progress", 2, 0), note)
    browser.wait("by('text').value === '' && by('said').textContent === 'Note: sent'")
    browser.keys("b", "text")
    browser.click("note")
    until(lambda: shown.sent()[-1] == ("note", 3, "b"))


def test_a_picture_ages_without_alarm_while_a_model_thinks_and_with_one_while_the_arm_moves(shown, browser):
    old = time.time() - 60
    shown.says(phase="thinking", begun=old, thought=12.5)
    browser.wait("by('age').textContent")
    os.utime(shown.run / "live" / FRAME, (old, old))
    browser.wait("by('age').textContent.startsWith('taken before this thought, 1:0')")
    assert browser.run("return by('alarm').hidden") is True
    assert shown.text("elapsed").startswith("1:0")
    assert 12.5 <= float(shown.text("thinking").split()[0]) < 40
    shown.says(phase="running")
    browser.wait("!by('alarm').hidden && by('alarm').textContent.startsWith('The arm moves, but the picture is 1:0')")
    for phase in ("judge", "scene", "resetting"):
        shown.says(phase=phase)
        assert browser.run("return by('alarm').hidden") is True, phase
    shown.says(phase="running")
    shown.view.show(PICTURE)
    browser.wait("by('alarm').hidden")


def test_pictures_are_fetched_when_they_change_and_not_otherwise(shown, browser):
    fetched = "performance.getEntriesByType('resource').filter(e => e.name.includes('frame.jpg')).length"
    browser.wait(f"{fetched} === 1")
    for step in range(5):
        shown.says(step=step)
    time.sleep(0.3)
    assert browser.run(f"return {fetched}") == 1
    shown.view.show(PICTURE // 2)
    browser.wait(f"{fetched} === 2")


def test_a_session_that_is_over_or_dead_says_so_and_has_no_buttons(shown, browser):
    shown.says(phase="over", question="All episodes are recorded.")
    assert (shown.text("phase"), shown.text("question")) == ("Session over", "All episodes are recorded.")
    assert browser.run("return [...document.querySelectorAll('button')].every(b => b.disabled && !b.offsetHeight)")
    browser.keys(ESCAPE + "ay")
    shown.says(phase="running", question="")
    assert browser.run("return by('stop').disabled") is False
    written = json.loads((shown.run / "live" / "state.json").read_text())
    gone = 2**22 - 1  # above the largest process number that Linux gives by default
    (shown.run / "live" / "state.json").write_text(json.dumps(written | {"pid": gone}))
    browser.wait("by('phase').textContent === 'Session over'")
    assert "ended without a word" in shown.text("question")
    assert shown.sent() == []


def test_a_dead_server_is_seen_a_stop_is_not_said_to_be_sent_and_a_new_server_is_found(browser, tmp_path):
    made = Shown(tmp_path, browser)
    with WatchServer(tmp_path) as server:
        browser.resize(*PHONE, phone=True)
        browser.open(server.url)
        made.says(phase="running")
    browser.click("stop_episode")
    browser.wait("by('stopped').textContent.includes('was NOT sent')")
    browser.wait("!by('alarm').hidden && by('alarm').textContent.startsWith('No connection to the server')", 15)
    assert browser.run("return document.body.classList.contains('dead')") is True
    with WatchServer(tmp_path, server.port):
        made.view.update(phase="judge")
        browser.wait("state.phase === 'judge' && by('alarm').hidden && document.body.className === 'judge'", 15)
        browser.click("stop_episode")
        made.wait_for_stop(Stop.EPISODE)
    (tmp_path / "live" / "token").unlink()
    with WatchServer(tmp_path, server.port):
        browser.wait("by('alarm').textContent.includes('token is no longer valid')", 15)
        browser.open("about:blank")


def test_the_operator_judges_trials_with_the_buttons_of_the_page(browser, tmp_path):
    run = tmp_path / "session"
    chosen = settings(policies=(PolicySpec("random"),), tasks=("carrot_on_plate",), episodes=3, backend=BLINDFOLDED)
    asked = Operator([ButtonAnswers(run / "live" / "buttons.jsonl")], say=lambda words: None)
    options = {"image_size": (240, 320), "max_episode_steps": 10}
    ends: list[Any] = []
    work = threading.Thread(
        target=lambda: ends.append(run_session(chosen, run, asked, video=False, env_options=options)), daemon=True
    )
    work.start()
    until((run / "live" / FRAME).exists)
    with WatchServer(run) as server:
        browser.resize(*DESKTOP)
        browser.open(server.url)
        browser.wait("state.phase === 'judge' && state.episode === 0 && !by('success').disabled")
        assert browser.run("return by('instruction').textContent") == "put carrot on plate"
        assert browser.run("return by('start').disabled") is True
        browser.wait("by('frame').naturalWidth === 320")
        picture = browser.screenshot()
        browser.click("success")
        browser.wait("state.episode === 1 && state.phase === 'judge'")
        browser.click("redo")
        browser.wait("by('said').textContent === 'Redo: sent'")
        time.sleep(0.5)
        browser.wait("state.episode === 1 && state.phase === 'judge'")
        browser.click("failure")
        browser.wait("state.episode === 2 && state.phase === 'judge'")
        browser.click("stop")
        work.join(20)
        browser.wait("by('phase').textContent === 'Session over'")
        assert "stopped the session" in browser.run("return by('question').textContent")
        browser.open("about:blank")
    assert not work.is_alive()
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    assert [(r["episode"]["number"], r["label"]["word"], r["attempts"]) for r in lines] == [
        (0, "success", 1),
        (1, "failure", 2),
    ]
    assert ends[0].done == 2
    _look_at(picture)


def _look_at(picture: np.ndarray) -> None:
    """What a person sees: the scene's table and carrot in the picture, green, red and grey buttons."""
    if os.environ.get("VLM2VLA_SCREENSHOT"):
        Image.fromarray(picture).save(os.environ["VLM2VLA_SCREENSHOT"])

    def share(colour: tuple[int, int, int]) -> float:
        return float((np.abs(picture.astype(int) - colour).max(axis=-1) < 12).mean())

    assert share((150, 100, 80)) > 0.10  # the point robot's table
    assert share((240, 130, 30)) > 0.0005  # its carrot
    assert share((0x1A, 0x7F, 0x37)) > 0.003  # Success
    assert share((0xB9, 0x1C, 0x1C)) > 0.002  # Stop
