"""The server of the operator's page: what it answers, and that nobody else's page or person can press a button."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lane import need
from PIL import Image
from test_session import BLINDFOLDED, operator, read, settings

need("robot", "starlette", "uvicorn", "segno")

from vlm2vla_sim.cli.commands.watch import qr_code  # noqa: E402
from vlm2vla_sim.errors import RunFolderError, SettingError  # noqa: E402
from vlm2vla_sim.evaluation.operator.buttons import ButtonAnswers  # noqa: E402
from vlm2vla_sim.evaluation.operator.episode_log import PolicySpec  # noqa: E402
from vlm2vla_sim.evaluation.operator.live_files import LiveFiles  # noqa: E402
from vlm2vla_sim.evaluation.operator.live_view import LiveView  # noqa: E402
from vlm2vla_sim.evaluation.operator.prompts import Operator  # noqa: E402
from vlm2vla_sim.evaluation.operator.session import run_session  # noqa: E402
from vlm2vla_sim.evaluation.operator.stop import Stop, StopFile  # noqa: E402
from vlm2vla_sim.serving.watch import app  # noqa: E402
from vlm2vla_sim.serving.watch.app import PAGE  # noqa: E402
from vlm2vla_sim.serving.watch.server import LIMITS, WatchServer  # noqa: E402


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[WatchServer, Path]]:
    with WatchServer(tmp_path) as server:
        yield server, tmp_path


def key_of(server: WatchServer) -> dict[str, str]:
    """The header of a browser that has opened the printed address."""
    return {"Cookie": f"vlm2vla_{server.port}={server.url.partition('=')[2]}"}


def ask(server: WatchServer, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
    """Status and body of the response to the page, with its token, unless a header says otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    sent = key_of(server) | ({"Content-Type": "application/json"} if body else {})
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def first_event(server: WatchServer) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        cookie = key_of(server)["Cookie"]
        link.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
        got = b""
        while not (found := re.search(rb"data: (\{.*\})\n\n", got)):
            part = link.recv(4096)
            assert part, got
            got += part
        return json.loads(found[1])


PATHS = [*PAGE, "/events", "/frame.jpg", "/wanted.jpg"]


def test_the_page_is_for_this_machine_and_its_token_only(served):
    server, run = served
    LiveView(run).show(np.zeros((8, 8, 3), np.uint8))
    good = json.dumps({"button": "stop", "episode": 3})
    assert ask(server, "GET", "/")[0] == 200
    for path in PATHS:
        assert ask(server, "GET", path, Host="evil.example:80")[0] == 403, path
        assert ask(server, "GET", path, Origin="http://evil.example")[0] == 403, path
        assert ask(server, "GET", path, Cookie="")[0] == 401, path
        assert ask(server, "GET", path, Cookie=key_of(server)["Cookie"][:-1])[0] == 401, path
    assert ask(server, "POST", "/press", good, Cookie="")[0] == 401
    assert StopFile(run / "live" / StopFile.NAME).take() == []


def test_it_listens_to_loopback_unless_it_is_exposed(tmp_path):
    def reached(host: str, port: int) -> bool:
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            return False
        return True

    other = "127.0.0.2"  # loopback too, and not the address that is listened on
    with WatchServer(tmp_path) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert not reached(other, server.port)
    with WatchServer(tmp_path, expose=True) as server:
        assert reached(other, server.port)
        assert ask(server, "GET", "/", Cookie="")[0] == 401
        assert ask(server, "GET", "/", Host="192.168.1.7:8030")[0] == 200
        assert ask(server, "GET", "/", Host="evil.example")[0] == 403


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_but_its_scripts(served):
    server, _ = served
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/", headers=key_of(server))
    answer = connection.getresponse()
    page = answer.read().decode()
    policy = dict(part.split(" ", 1) for part in (answer.getheader("Content-Security-Policy") or "").split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    assert not re.search(r"<script>|<style|\bon\w+=|style=|https?:", page)
    connection.close()


def test_nothing_but_the_page_its_state_and_two_pictures_can_be_fetched(served):
    server, run = served
    (run / "secret.txt").write_text("secret")
    paths = ["/secret.txt", "/../secret.txt", "/live/state.json", "/state.json", "/frame.jpg/../../secret.txt"]
    for path in [*paths, "/token", "/live/token", "/page.css/../app.py", "//secret.txt", "/docs", "/openapi.json"]:
        assert ask(server, "GET", path)[0] == 404, path
    assert ask(server, "GET", "/frame.jpg")[0] == 404
    LiveView(run).show(np.full((48, 64, 3), (200, 90, 20), np.uint8))
    picture = np.asarray(Image.open(io.BytesIO(ask(server, "GET", "/frame.jpg?1")[1])))
    np.testing.assert_allclose(picture[24, 32], [200, 90, 20], atol=6)


def test_only_the_pages_own_buttons_are_pressed(served):
    server, run = served
    good = json.dumps({"button": "success", "episode": 3})
    assert ask(server, "POST", "/press", good, Host="evil.example")[0] == 403
    assert ask(server, "POST", "/press", good, Origin="http://evil.example")[0] == 403
    assert ask(server, "POST", "/press", good, Origin=f"http://127.0.0.1:{server.port + 1}")[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(server, "POST", "/press", good, Content_Type=kind)[0] == 415
    assert ask(server, "POST", "/press", " " * (LIMITS.body + 1))[0] == 413
    assert ask(server, "GET", "/press")[0] == 405
    bad = ["x", "[]", "null", "[" * 4000, '{"button": "explode", "episode": 1}', '{"button": "stop", "episode": "1"}']
    bad += ['{"button": "stop", "episode": true}', '{"button": "stop"}', '{"button": "stop", "episode": 1, "x": 1}']
    bad += ['{"button": ["stop"], "episode": 1}', '{"button": "stop", "episode": 1, "value": 3}']
    for value in ("101", "-1", "true", "1.5", '"50"', "null"):
        bad.append(f'{{"button": "progress", "episode": 1, "value": {value}}}')
    for value in ('""', '"  "', '"a\\nb"', json.dumps("x" * 501), "7", "null"):
        bad.append(f'{{"button": "note", "episode": 1, "value": {value}}}')
    for press in bad:
        assert ask(server, "POST", "/press", press)[0] == 400, press
    source = ButtonAnswers(run / "live" / "buttons.jsonl")
    assert not (run / "live" / "buttons.jsonl").exists()
    assert ask(server, "POST", "/press", good)[0] == 200
    assert source.read(3, 1.0) == "y"


def test_a_progress_is_an_answer_and_a_note_is_none(served):
    server, run = served
    source = ButtonAnswers(run / "live" / "buttons.jsonl")
    note = "it slipped: \"stop\" said ä ß 木 {'x'}"
    for episode, button, value in [(3, "note", note), (4, "note", "later"), (3, "progress", 35), (3, "progress", 100)]:
        body = json.dumps({"button": button, "episode": episode, "value": value})
        assert ask(server, "POST", "/press", body)[0] == 200
    assert source.read(3, 1.0) == "35"
    assert source.read(3, 1.0) == "100"
    assert source.read(3, 0.0) is None
    assert source.stops() == []
    assert (source.notes(3), source.notes(3), source.notes(4)) == ([note], [], ["later"])


def test_notes_of_the_page_are_kept_with_the_episode_that_they_are_on_whenever_they_are_written(tmp_path):
    run = tmp_path / "s"
    chosen = settings(policies=(PolicySpec(f"{__name__}:writing"),), tasks=("stack_cube",), episodes=2)
    asked = Operator(
        [operator("y\nr\nn\n")[0]._sources[0], ButtonAnswers(run / "live" / "buttons.jsonl")], say=lambda words: None
    )
    PRESS[:] = [lambda n=n, e=e: LiveFiles(run).press("note", e, f"note {n}") for n, e in [(3, 1), (2, 1), (1, 0)]]
    options = {"image_size": (32, 32), "max_episode_steps": 3}
    end = run_session(chosen, run, asked, video=False, env_options=options)
    assert end.done == 2
    assert [record["label"]["notes"] for record in read(run)] == [["note 1"], ["note 3"]]
    [redo] = read(run, "events.jsonl")
    assert (redo["event"], redo["reason"]) == ("redo", "note 2")
    LiveFiles(run).press("note", 5, "of an episode that nobody is asked about")
    assert asked.judge(5, True).notes == ("of an episode that nobody is asked about",)


def test_the_buttons_of_a_question_are_gone_before_the_number_of_the_next_episode_comes(tmp_path, monkeypatch):
    """Otherwise a press on them is one for an episode that has not begun."""
    shown, update = [], LiveView.update

    def record(view, **changes):
        update(view, **changes)
        shown.append((view._state["phase"], view._state["episode"]))

    monkeypatch.setattr(LiveView, "update", record)
    chosen = settings(policies=(PolicySpec("random"),), tasks=("stack_cube",), episodes=2, backend=BLINDFOLDED)
    options = {"image_size": (32, 32), "max_episode_steps": 3}
    end = run_session(chosen, tmp_path / "s", operator("y\nn\n")[0], video=False, env_options=options)
    assert end.done == 2
    for episode in (0, 1):
        assert next(phase for phase, number in shown if number == episode) == "starting"


def test_a_stop_needs_no_room_and_one_that_cannot_be_written_is_not_said_to_be(served):
    server, run = served
    LiveView(run)
    (run / "live" / "buttons.jsonl").symlink_to("/dev/full")
    assert ask(server, "POST", "/press", json.dumps({"button": "stop_episode", "episode": 7}))[0] == 200
    assert StopFile(run / "live" / StopFile.NAME).take() == [Stop.EPISODE]
    code, said = ask(server, "POST", "/press", json.dumps({"button": "success", "episode": 3}))
    assert (code, said) == (507, b"The press could not be written (No space left on device).")
    (run / "live" / StopFile.NAME).unlink()
    assert ask(server, "POST", "/press", json.dumps({"button": "stop", "episode": 3}))[0] == 507


def test_without_a_file_of_stops_a_stop_goes_through_the_file_of_presses(served):
    server, run = served
    source = ButtonAnswers(run / "live" / "buttons.jsonl")
    body = json.dumps({"button": "stop", "episode": 3})
    assert ask(server, "POST", "/press", body)[0] == 200
    assert source.stops() == [Stop.SESSION]


def test_a_page_that_is_closed_while_it_is_answered_is_nothing_to_speak_of(served, capfd):
    server, run = served
    LiveView(run).show(np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8))
    cookie = key_of(server)["Cookie"]
    for path in ["/frame.jpg", "/events"] * 10:  # more streams than there may be at a time
        with socket.create_connection(("127.0.0.1", server.port)) as page:
            page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            page.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: {cookie}\r\n\r\n".encode())
    time.sleep(0.5)
    assert ask(server, "GET", "/")[0] == 200
    assert first_event(server)["phase"] == "starting"
    assert capfd.readouterr().err == ""


def test_pages_that_vanished_without_a_word_do_not_keep_another_from_its_state(served, monkeypatch):
    server, run = served
    monkeypatch.setattr(app, "LIFE", 0.3)
    monkeypatch.setattr(app, "STUCK", 0.3)
    LiveView(run).update(plan="x" * 4_000_000)
    with contextlib.ExitStack() as links:
        for _ in range(LIMITS.streams):
            link = links.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            link.sendall(
                f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {key_of(server)['Cookie']}\r\n\r\n".encode()
            )
            assert link.recv(12) == b"HTTP/1.1 200"
        deadline = time.monotonic() + 20
        while (code := ask(server, "GET", "/events")[0]) == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert code == 200


def test_a_server_ends_at_once_whatever_pages_are_open(tmp_path):
    server = WatchServer(tmp_path)
    with server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        cookie = key_of(server)["Cookie"]
        link.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
        assert b"200 OK" in link.recv(4096)
        started = time.monotonic()
        server.__exit__()
        assert time.monotonic() - started < 3


def test_the_state_says_how_old_its_picture_is_how_long_the_model_thinks_and_whether_the_session_lives(served):
    server, run = served
    assert first_event(server) == {
        "phase": "",
        "now": pytest.approx(time.time(), abs=5),
        "pictures": {"frame": "", "wanted": "", "time": None},
        "alive": None,
    }
    view = LiveView(run)
    view.update(phase="thinking")
    view.update(begun=time.time(), thought=0.0)
    time.sleep(0.2)
    view.update(phase="running")
    view.update(step=1)
    view.show(np.zeros((8, 8, 3), np.uint8))
    state = first_event(server)
    assert 0.15 < state["thought"] < 2
    assert state["begun"] < state["since"] <= state["time"] <= state["pictures"]["time"] + 0.1 <= state["now"] + 0.1
    assert state["alive"] is True
    version = state["pictures"]["frame"]
    view.update(step=2)
    assert first_event(server)["pictures"]["frame"] == version, "the picture is the same"
    view.show(np.zeros((8, 8, 3), np.uint8))
    assert first_event(server)["pictures"]["frame"] != version
    code = "from pathlib import Path; from vlm2vla_sim.evaluation.operator.live_view import LiveView; import sys"
    subprocess.run([sys.executable, "-c", f"{code}; LiveView(Path(sys.argv[1]))", str(run)], check=True)
    assert first_event(server)["alive"] is False, "its process is gone"
    written = json.loads((run / "live" / "state.json").read_text())
    (run / "live" / "state.json").write_text(json.dumps(written | {"host": "another"}))
    assert first_event(server)["alive"] is None
    (run / "live" / "state.json").write_text("[]")
    assert first_event(server)["phase"] == ""


def test_the_token_stays_when_the_server_is_started_again_and_only_its_owner_can_read_it(tmp_path):
    def made() -> str:
        with WatchServer(tmp_path) as server:
            return server.url.partition("token=")[2]

    token = made()
    path = tmp_path / "live" / "token"
    assert len(token) == 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert made() == token
    path.write_text("short")
    assert len(made()) == 43, "a token that was torn is made again"
    token = path.read_text()
    path.chmod(0o644)
    assert made() != token, "others may have read it"
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    (tmp_path / "live").rmdir()
    (tmp_path / "live").write_text("no folder")
    assert made() != made(), "where it cannot be kept, every server has its own"


def test_a_folder_that_is_not_there_and_a_port_that_is_taken_are_sentences(tmp_path):
    with pytest.raises(RunFolderError, match="no folder"):
        WatchServer(tmp_path / "nowhere")
    with WatchServer(tmp_path) as server, pytest.raises(SettingError, match="cannot listen on"):
        WatchServer(tmp_path, server.port)


def test_the_qr_code_of_the_address_can_be_read_on_any_terminal():
    cv2 = pytest.importorskip("cv2")
    url = f"http://192.168.100.100:8030/?token={'aB3_-' * 8}abc"
    lines = [re.fullmatch(r"\x1b\[97;40m([ ▀▄█]+)\x1b\[0m", line) for line in qr_code(url).splitlines()]
    rows: list[list[bool]] = []
    for line in lines:
        assert line, "white on black, and nothing else"
        rows += [[c in "▀█" for c in line[1]], [c in "▄█" for c in line[1]]]
    assert len(rows[0]) <= 80
    picture = np.kron(np.array(rows, np.uint8) * 255, np.ones((8, 8), np.uint8))
    picture = np.pad(picture, 40, constant_values=255)
    assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == url


def test_stop_pressed_while_the_arm_moves_ends_the_session_and_the_trial_does_not_count(tmp_path):
    buttons = tmp_path / "s" / "live" / "buttons.jsonl"
    source = ButtonAnswers(buttons)
    asked = Operator([source], say=lambda words: None)
    chosen = settings(policies=(PolicySpec(f"{__name__}:writing"),), tasks=("stack_cube",), episodes=1)
    PRESS[:] = [lambda: buttons.write_text(json.dumps({"button": "stop", "episode": 0}) + "\n")]
    end = run_session(chosen, tmp_path / "s", asked, video=False)
    assert end.done == 0
    assert "pressed stop" in end.stopped


PRESS: list[Callable[[], Any]] = []


def writing(context: Any) -> Any:
    """A policy that presses a button itself at the first decision of an episode."""
    from vlm2vla_sim.policies.baselines import HOLD

    policy = HOLD(context)

    class Pressing:
        def reset(self, instruction: str, seed: int = 0) -> None:
            policy.reset(instruction, seed)
            self.first = True

        def act(self, observation: dict[str, Any]) -> Any:
            if PRESS and self.first:
                PRESS.pop()()
            self.first = False
            return policy.act(observation)

    return Pressing()
