"""`vlm2vla relabel` on the command line: a model on a server, its price told first; mistakes end in a sentence."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from trajectory_fakes import PICK_AND_PLACE, write_folder

from vlm2vla_sim.cli import main

FRAMES = sum(steps for steps, *_ in PICK_AND_PLACE)
PHASES = [
    {"start": 0, "stop": 15, "subtask": "take it", "plan": "move forward and down, then close the gripper"},
    {"start": 15, "stop": 31, "subtask": "bring it", "plan": "move up, right and down, then open the gripper"},
    {"start": 31, "stop": FRAMES, "subtask": "bring it", "plan": "move up"},
]


class Server:
    """Offers the model "gemini", which always gives the same phases; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.finishes: list[str] = []
        """Why the next answers end; "stop" once there are none left."""
        self.says: list[str] = []
        """The next answers; PHASES once there are none left."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._send({"data": [{"id": "gemini"}]})

            def do_POST(self):
                server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                finish = server.finishes.pop(0) if server.finishes else "stop"
                said = server.says.pop(0) if server.says else json.dumps(PHASES)
                choice = {"message": {"content": said}, "finish_reason": finish}
                usage = {"completion_tokens": 4096} if finish == "length" else {}
                self._send({"choices": [choice], "usage": usage})

            def _send(self, value):
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def run(capsys, *words: object) -> tuple[int, str, str]:
    status = main.main([str(word) for word in words])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_model_on_a_server_labels_and_its_price_is_told_first(tmp_path, server, capsys):
    write_folder(tmp_path / "set", 2)
    asks = ("--model", "gemini", "--server", server.address, "--price-read", 2, "--price-written", 10)
    status, out, told = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words", *asks, "--json")
    assert status == 0
    assert json.loads(out)["labelled"] == 2
    assert "2 trajectories, about 0." in told.splitlines()[0]
    lines = [json.loads(line) for line in (tmp_path / "words/labels.jsonl").read_text().splitlines()]
    assert lines[0]["subtasks"] == ["take it", "bring it"]
    assert lines[0]["phases"][0]["text"].startswith("[[0, 0, 0, 0, 0, -70, 1], [12, 6, 0")
    parts = server.asked[0]["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url"] * 6 + ["text"]
    assert server.asked[0]["temperature"] == 0.2
    # Under another folder the same questions are asked, but the answers of a folder are kept beside it.
    assert len(server.asked) == 2
    status, *_ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words", *asks, "--resume")
    assert (status, len(server.asked)) == (0, 2)


def test_an_answer_that_was_cut_off_labels_nothing_and_is_asked_again(tmp_path, server, capsys):
    write_folder(tmp_path / "set", 1)
    server.finishes = ["length"] * 4
    asks = ("--model", "gemini", "--server", server.address, "--retries", 1)
    status, out, _ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words", *asks)
    assert status == 0
    assert "0 trajectories labelled" in out
    assert "queried 2 times without a usable answer; the last one: The answer was cut off after 4096 tokens" in out
    assert "Answers of the model that were not used: 2 cut off." in out
    assert list((tmp_path / "words.answers").glob("*.json")) == [], "what was cut off is not kept as an answer"
    status, out, _ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "more", *asks[:-1], 2, "--json")
    assert (json.loads(out)["labelled"], json.loads(out)["unused_answers"]) == (1, {"cut off": 2})
    assert "could not be used: The answer was cut off" in server.asked[-1]["messages"][0]["content"][-1]["text"]


def test_a_contradiction_is_repaired_and_the_agreement_with_the_rules_is_told(tmp_path, server, capsys):
    write_folder(tmp_path / "set", 2)
    wrong = json.dumps([{**PHASES[0], "plan": "move left and up, then close the gripper"}, *PHASES[1:]])
    server.says = [wrong, "Looking at the log [x, y, z], I say:\n" + json.dumps(PHASES) + "\nThat is all."]
    asks = ("--model", "gemini", "--server", server.address, "--workers", 1)
    status, out, _ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words", *asks)
    assert (status, len(server.asked)) == (0, 3)
    sent = server.asked[1]["messages"][0]["content"][-1]["text"]
    assert f"You answered:\n{wrong}" in sent
    assert (
        "Phase 1 (steps 0 to 15): its plan says up, but the gripper moves 12 cm forward, 6 cm left, 10 cm down" in sent
    )
    assert "Answers of the model that were not used: 1 inconsistent." in out
    # "take it" and "bring it" name neither carrot and plate nor spoon and towel; cuts and directions agree.
    assert "Agreement with the rules: 67 % on average. The least:\n   67 %  fake/00000\n   67 %  fake/00001\n" in out
    lines = [json.loads(line) for line in (tmp_path / "words/labels.jsonl").read_text().splitlines()]
    assert lines[0]["agreement"]["differences"] == ["No subtask of the model says 'carrot', 'plate'."]
    assert json.loads((tmp_path / "words/summary.json").read_text())["agreement"] == pytest.approx(2 / 3)
    status, out, _ = run(capsys, "inspect", tmp_path / "words", "--out", tmp_path / "page.html")
    assert (status, out.split(".")[0]) == (0, "2 trajectories, 2 shown, 0 skipped")
    assert "No subtask of the model says" in (tmp_path / "page.html").read_text()


def test_the_estimate_alone_sends_nothing_and_leaves_nothing(tmp_path, server, capsys):
    write_folder(tmp_path / "set", 2)
    asks = ("--model", "gemini", "--server", server.address, "--price-read", 2, "--estimate")
    status, out, _ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words", *asks)
    assert status == 0
    assert "2 trajectories, about 0." in out
    assert "(2 requests, with retries at most 4)" in out
    assert server.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_costs_more_than_the_budget_is_not_begun(tmp_path, server, capsys):
    write_folder(tmp_path / "set", 1)
    asks = ("--model", "gemini", "--server", server.address, "--price-read", 1000, "--budget", 1)
    status, _, told = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words", *asks)
    assert status == 1
    assert "more than the budget of 1; nothing was sent" in told
    assert server.asked == []
    assert not (tmp_path / "words").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("relabel", "nowhere", "--out", "words"), "There is no folder nowhere"),
        (("relabel", ".", "--out", "words"), ". is not a data set: LeRobot v2 or v3"),
        (("relabel", "set", "--out", "set"), "not empty"),
        (("relabel", "set", "--out", "words", "--motion", "guessed"), "No kind of motion named 'guessed'"),
        (
            ("relabel", "set", "--out", "words", "--format", "hdf5"),
            "The data set format is 'hdf5'; expected one of auto, lerobot",
        ),
        (("relabel", "set", "--out", "words", "--workers", "0"), "workers is 0"),
        (("relabel", "set", "--out", "words", "--split", "val"), "only rlds data sets have this option"),
        (("inspect", "set", "--split", "val"), "only rlds data sets have this option"),
        (("relabel", "set", "--out", "words", "--budget", "5"), "--budget was given without --model"),
        (("relabel", "set", "--out", "words", "--pictures", "9"), "--pictures was given without --model"),
        (("relabel", "set", "--out", "words", "--estimate"), "--estimate was given without --model"),
        (("relabel", "set", "--out", "words", "--address", "auto"), "--address was given without --executor ray"),
        (
            ("relabel", "set", "--out", "words", "--model", "gemini", "--executor", "ray"),
            "--executor ray was given with --model: a model labels on its server",
        ),
        (
            ("relabel", "set", "--out", "words", "--executor", "ray", "--address", "127.0.0.1:1"),
            "No Ray cluster answers at 127.0.0.1:1",
        ),
        (("relabel", "set", "--out", "words", "--resolution", "0.3", "5"), "A resolution of 0.003 m"),
        (("inspect", "set", "--episodes", "0"), "episodes is 0"),
        (("inspect", "nowhere"), "There is no folder nowhere"),
    ],
)
def test_every_mistake_ends_in_a_sentence_and_leaves_nothing(tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "set", 1)
    status, _, error = run(capsys, *words)
    assert status == 1
    assert told in error
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_every_skipped_trajectory_is_counted_whatever_the_number_of_reasons(tmp_path, capsys):
    writer = write_folder(tmp_path / "set", 13)
    for number in range(1, 13):  # the name of the file makes each reason another one
        (writer.root / f"videos/observation.images.image_0/chunk-000/file-{number:03d}.mp4").write_bytes(b"no video")
    status, out, _ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words")
    assert status == 0
    assert "Skipped: 12." in out
    assert f"      2  for 2 other reasons, see {tmp_path / 'words' / 'skipped.jsonl'}." in out


def test_a_set_with_broken_parts_is_labelled_with_a_count_of_them(tmp_path, capsys):
    writer = write_folder(tmp_path / "set", 3)
    (writer.root / "videos/observation.images.image_0/chunk-000/file-001.mp4").unlink()
    status, out, _ = run(capsys, "relabel", tmp_path / "set", "--out", tmp_path / "words")
    assert status == 0
    assert "2 trajectories labelled: 12 phases (6.0 each)" in out
    assert "Skipped: 1." in out
    assert "    1  The camera 'observation.images.image_0' is missing" in out
    status, _, _ = run(capsys, "inspect", tmp_path / "set", "--out", tmp_path / "page.html")
    assert status == 0
    assert "Skipped: 1" in (tmp_path / "page.html").read_text()
