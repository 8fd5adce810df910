"""The live view: shows what happens, its buttons are the operator's, and nobody else's page can press them."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane import cannot_run
from PIL import Image
from test_session import BLINDFOLDED, settings

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.operator.episode_log import PolicySpec
from vlm2vla_sim.evaluation.operator.live_view import FRAME, LiveView
from vlm2vla_sim.evaluation.operator.prompts import ButtonAnswers, Operator
from vlm2vla_sim.evaluation.operator.session import run_session
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile
from vlm2vla_sim.evaluation.operator.web import HEADER, WatchServer

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,800",
]


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[WatchServer, Path]]:
    with WatchServer(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server, tmp_path
        server.shutdown()
        thread.join(5)


def ask(server: WatchServer, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_the_page_is_for_this_machine_only(served):
    server, _ = served
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "GET", "/")[0] == 200
    assert ask(server, "GET", "/", Host="evil.example:80")[0] == 403
    assert ask(server, "GET", "/state", Host="evil.example")[0] == 403


def test_nothing_but_the_page_its_state_and_two_pictures_can_be_fetched(served):
    server, run = served
    (run / "secret.txt").write_text("secret")
    for path in ("/secret.txt", "/../secret.txt", "/live/state.json", "/state.json", "/frame.jpg/../../secret.txt"):
        assert ask(server, "GET", path)[0] == 404, path
    assert ask(server, "GET", "/frame.jpg")[0] == 404
    LiveView(run).show(np.full((48, 64, 3), (200, 90, 20), np.uint8))
    picture = np.asarray(Image.open(io.BytesIO(ask(server, "GET", "/frame.jpg?1")[1])))
    np.testing.assert_allclose(picture[24, 32], [200, 90, 20], atol=6)


def test_only_the_pages_own_buttons_are_pressed(served):
    server, run = served
    good = json.dumps({"button": "success", "episode": 3})
    mine = {HEADER.replace("-", "_"): "1"}
    assert ask(server, "POST", "/press", good)[0] == 403
    assert ask(server, "POST", "/press", good, Host="evil.example", **mine)[0] == 403
    assert ask(server, "POST", "/press", " " * 2000, **mine)[0] == 403
    for bad in ("x", "[]", '{"button": "explode", "episode": 1}', '{"button": "stop", "episode": "1"}'):
        assert ask(server, "POST", "/press", bad, **mine)[0] == 400
    source = ButtonAnswers(run / "live" / "buttons.jsonl")
    assert not (run / "live" / "buttons.jsonl").exists()
    assert ask(server, "POST", "/press", good, **mine)[0] == 200
    assert source.read(3, 1.0) == "y"


def test_a_stop_needs_no_room_and_one_that_cannot_be_written_is_not_said_to_be(served):
    server, run = served
    mine = {HEADER.replace("-", "_"): "1"}
    LiveView(run)
    (run / "live" / "buttons.jsonl").symlink_to("/dev/full")
    assert ask(server, "POST", "/press", json.dumps({"button": "stop_episode", "episode": 7}), **mine)[0] == 200
    assert StopFile(run / "live" / StopFile.NAME).take() == [Stop.EPISODE]
    code, said = ask(server, "POST", "/press", json.dumps({"button": "success", "episode": 3}), **mine)
    assert (code, said) == (507, b"The press could not be written (No space left on device).")
    (run / "live" / StopFile.NAME).unlink()
    assert ask(server, "POST", "/press", json.dumps({"button": "stop", "episode": 3}), **mine)[0] == 507


def test_without_a_file_of_stops_a_stop_goes_through_the_file_of_presses(served):
    server, run = served
    source = ButtonAnswers(run / "live" / "buttons.jsonl")
    body = json.dumps({"button": "stop", "episode": 3})
    assert ask(server, "POST", "/press", body, **{HEADER.replace("-", "_"): "1"})[0] == 200
    assert source.stops() == [Stop.SESSION]


def test_a_page_that_is_closed_while_it_is_answered_is_nothing_to_speak_of(served, capfd):
    server, run = served
    LiveView(run).show(np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.server_port)) as page:
            page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            page.sendall(b"GET /frame.jpg HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
    time.sleep(0.2)
    assert ask(server, "GET", "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(RunFolderError, match="no folder"):
        WatchServer(tmp_path / "nowhere")


def test_stop_pressed_while_the_arm_moves_ends_the_session_and_the_trial_does_not_count(tmp_path):
    buttons = tmp_path / "s" / "live" / "buttons.jsonl"
    source = ButtonAnswers(buttons)
    asked = Operator([source], say=lambda words: None)
    chosen = settings(policies=(PolicySpec(f"{__name__}:press_stop"),), tasks=("stack_cube",), episodes=1)
    PRESS[:] = [lambda: buttons.write_text(json.dumps({"button": "stop", "episode": 0}) + "\n")]
    end = run_session(chosen, tmp_path / "s", asked, video=False)
    assert end.done == 0
    assert "pressed stop" in end.stopped


PRESS: list[Callable[[], Any]] = []


def press_stop(context: Any) -> Any:
    """A policy that presses stop itself at its first decision."""
    from vlm2vla_sim.policies.baselines import HOLD

    policy = HOLD(context)

    class Pressing:
        def reset(self, instruction: str, seed: int = 0) -> None:
            policy.reset(instruction, seed)

        def act(self, observation: dict[str, Any]) -> Any:
            while PRESS:
                PRESS.pop()()
            return policy.act(observation)

    return Pressing()


class Browser:
    """Headless Chromium through its driver's own protocol (W3C WebDriver)."""

    def __init__(self, profile: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._session = ""
        options = {"args": [*CHROMIUM, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = f"/session/{self._until(lambda: self._call('POST', '/session', wanted))['sessionId']}"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, self._session + path, None if body is None else json.dumps(body))
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(answer["message"][:300])
        return answer

    def _until(self, attempt: Callable[[], Any], seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                return attempt()
            except (ConnectionError, AssertionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        def attempt() -> None:
            assert self.run(f"return Boolean({condition})"), f"not within {seconds} s: {condition}"

        self._until(attempt, seconds)

    def click(self, element_id: str) -> None:
        found = self._call("POST", "/element", {"using": "css selector", "value": f"#{element_id}"})
        self._call("POST", f"/element/{next(iter(found.values()))}/click", {})

    def screenshot(self) -> np.ndarray:
        picture = Image.open(io.BytesIO(base64.b64decode(self._call("GET", "/screenshot"))))
        return np.asarray(picture.convert("RGB"))

    def close(self) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(10)


@pytest.fixture
def browser(tmp_path) -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        cannot_run("robot", "needs Chromium and its driver: apt-get install chromium chromium-driver")
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


def test_the_operator_judges_trials_with_the_buttons_of_the_page(browser, tmp_path):
    run = tmp_path / "session"
    (run).mkdir()
    run.rmdir()
    chosen = settings(policies=(PolicySpec("random"),), tasks=("carrot_on_plate",), episodes=3, backend=BLINDFOLDED)
    asked = Operator([ButtonAnswers(run / "live" / "buttons.jsonl")], say=lambda words: None)
    options = {"image_size": (240, 320), "max_episode_steps": 10}
    ends: list[Any] = []
    work = threading.Thread(
        target=lambda: ends.append(run_session(chosen, run, asked, video=False, env_options=options)), daemon=True
    )
    work.start()
    while not (run / "live" / FRAME).exists():
        time.sleep(0.02)
    with WatchServer(run) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        browser.open(server.url)
        browser.wait("state.phase === 'judge' && state.episode === 0 && !document.getElementById('success').disabled")
        assert browser.run("return document.getElementById('instruction').textContent") == "put carrot on plate"
        assert browser.run("return document.getElementById('start').disabled") is True
        browser.wait("document.getElementById('frame').naturalWidth === 320")
        picture = browser.screenshot()
        browser.click("success")
        browser.wait("state.episode === 1 && state.phase === 'judge'")
        browser.click("redo")
        browser.wait("document.getElementById('said').textContent === 'sent: redo'")
        time.sleep(0.5)
        browser.wait("state.episode === 1 && state.phase === 'judge'")
        browser.click("failure")
        browser.wait("state.episode === 2 && state.phase === 'judge'")
        browser.click("stop")
        work.join(20)
        server.shutdown()
    assert not work.is_alive()
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    assert [(r["episode"]["number"], r["label"]["word"], r["attempts"]) for r in lines] == [
        (0, "success", 1),
        (1, "failure", 2),
    ]
    assert ends[0].done == 2
    _look_at(picture)


@pytest.mark.parametrize("width", [500, 1280])
def test_the_picture_keeps_its_shape_and_the_page_its_width(browser, served, width):
    server, run = served
    (run / "live").mkdir()
    Image.new("RGB", (640, 480), (200, 120, 60)).save(run / "live" / FRAME, "JPEG")
    state = {"phase": "running", "time": time.time(), "instruction": "put carrot on plate", "episode": 0}
    (run / "live" / "state.json").write_text(json.dumps(state))
    browser._call("POST", "/window/rect", {"width": width, "height": 900})
    browser.open(server.url)
    browser.wait("document.getElementById('frame').naturalWidth === 640")
    frame = browser.run("const f = document.getElementById('frame'); return [f.offsetWidth, f.offsetHeight]")
    assert frame[1] / frame[0] == pytest.approx(480 / 640, abs=0.02)
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth") is True
    for button in ("stop", "stop_episode"):
        box = browser.run(f"return document.getElementById('{button}').getBoundingClientRect().toJSON()")
        assert 0 <= box["left"] < box["right"] <= width
        assert box["bottom"] <= 900, "a Stop is in sight without scrolling"


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
