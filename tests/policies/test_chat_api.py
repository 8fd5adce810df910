"""What servers do wrong ends in a counted retry or in one sentence, never in an answer that nobody gave."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from ports import refusing_port

from vlm2vla_sim.errors import ServerError, SettingError, UnknownNameError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE, PROBE

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
ASK = Question(
    "plan", "How does it move?", (PICTURE,), sampling=Sampling(temperature=0.1, top_p=0.95, max_tokens=12), seed=7
)


def answer_of(text, finish="stop", **more) -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], **more})


GOOD = {"choices": [{"message": {"role": "assistant", "content": "move down"}}], "usage": {"completion_tokens": 2}}


class FaultyServer:
    """Answers questions from a script of (status, body) pairs, or of functions that are given the handler.

    It honours the grammar probe, outside the script, with `structured_outputs`.
    """

    def __init__(self, script) -> None:
        self.script, self.asked, self.keys = list(script), [], []
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._send(200, json.dumps({"data": [{"id": "base"}, {"id": "lora"}]}))

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                grammar = asked.get("structured_outputs") or {}
                if {PROBE.grammar.regex, PROBE.grammar.lark} & set(grammar.values()):
                    return self._send(200, answer_of(NONSENSE[0]))
                faulty.asked.append(asked)
                faulty.keys.append(self.headers.get("Authorization"))
                step = faulty.script.pop(0) if len(faulty.script) > 1 else faulty.script[0]
                return step(self) if callable(step) else self._send(*step)

            def _send(self, status, body):
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@contextlib.contextmanager
def faulty(*script):
    server = FaultyServer(script)
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()


def client(server, **settings) -> ChatModel:
    return ChatModel(ServerSettings(server.url, **({"model": "base", "timeout": 5} | settings)), sleep=lambda _: None)


def cut_short(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def hang_up(handler) -> None:
    handler.close_connection = True


def stall(handler) -> None:
    time.sleep(0.6)


OK = (200, json.dumps(GOOD))


def test_a_question_is_sent_whole_and_its_answer_comes_back():
    with faulty(OK) as server:
        (stage,) = client(server).answer([ASK])
    assert (stage.name, stage.text, stage.tokens, stage.retries) == ("plan", "move down", 2, 0)
    (sent,) = server.asked
    assert {key: sent[key] for key in ("model", "temperature", "top_p", "max_tokens", "seed")} == {
        "model": "base",
        "temperature": 0.1,
        "top_p": 0.95,
        "max_tokens": 12,
        "seed": 7,
    }
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize(
    "fault",
    [
        (500, '{"error": {"message": "CUDA out of memory"}}'),
        (503, "starting"),
        (429, "slow down"),
        (200, '{"choices": [{"message": '),
        (200, '{"choices": []}'),
        (200, '{"choices": [{"message": {"content": null}}]}'),
        (200, "[]"),
        cut_short,
        hang_up,
    ],
)
def test_a_fault_that_passes_costs_one_counted_retry(fault):
    with faulty(fault, OK) as server:
        (stage,) = client(server).answer([ASK])
    assert (stage.text, stage.retries) == ("move down", 1)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((500, '{"error": {"message": "CUDA out of memory"}}'), "status 500: CUDA out of memory"),
        ((200, '{"choices": ['), "broken JSON"),
        ((200, '{"choices": []}'), "no choice with a message"),
        (cut_short, "broke off|broken JSON"),
        (hang_up, "broke off|Remote"),
    ],
)
def test_a_fault_that_stays_is_one_sentence_after_the_allowed_tries(fault, said):
    waits = []
    with faulty(fault) as server:
        model = ChatModel(ServerSettings(server.url, model="base", retries=3, backoff=0.5), sleep=waits.append)
        with pytest.raises(ServerError, match=said):
            model.answer([ASK])
    assert len(server.asked) == 4
    assert waits == [0.5, 1.0, 2.0], "each wait is twice the one before"


def test_a_server_that_is_too_slow_is_given_up():
    with faulty(stall) as server, pytest.raises(ServerError, match=r"longer than 0\.2 s"):
        client(server, timeout=0.2, retries=0).answer([ASK])


def test_a_server_that_is_not_there_is_told_with_its_address():
    absent = pytest.raises(ServerError, match=r"127\.0\.0\.1:\d+/v1 was asked 2 times.*refused")
    with refusing_port() as port, absent:
        ChatModel(ServerSettings(f"http://127.0.0.1:{port}/v1", model="base", retries=1), sleep=lambda _: None)


def test_a_wrong_model_name_is_told_at_once_with_the_nearest_one():
    with faulty(OK) as server:
        with pytest.raises(UnknownNameError, match="Did you mean 'base'"):
            client(server, model="bse")
        with pytest.raises(UnknownNameError, match=r"No model on the server .* named 'bridge'"):
            client(server, adapter="bridge")


@pytest.mark.parametrize("status", [400, 404, 422])
def test_what_no_retry_can_mend_is_not_retried(status):
    refusal = (status, '{"error": {"message": "regex is not supported"}}')
    with faulty(refusal) as server, pytest.raises(SettingError, match=r"'base'.*regex is not supported"):
        client(server).answer([ASK])
    assert len(server.asked) == 1


def test_a_missing_key_is_told_with_the_variable_to_set(monkeypatch):
    monkeypatch.delenv("VLM2VLA_API_KEY", raising=False)
    with faulty((401, "no key")) as server, pytest.raises(SettingError, match="VLM2VLA_API_KEY"):
        client(server).answer([ASK])


def test_the_key_comes_from_the_environment_and_is_in_no_setting(monkeypatch):
    monkeypatch.setenv("VLM2VLA_API_KEY", "s3cret")
    with faulty(OK) as server:
        model = client(server)
        model.answer([ASK])
    assert server.keys == ["Bearer s3cret"]
    assert "s3cret" not in repr(model.settings)


@pytest.mark.parametrize("kind", ["regex", "grammar"])
def test_the_grammar_is_sent_as_structured_outputs(kind):
    grammar = get_format("vlm2vla").grammar()
    with faulty((200, answer_of("[[0, 0, -8, 1]]"))) as server:
        client(server, constraint=kind).answer([Question("action", "Go.", (), grammar)])
        client(server, constraint="off").answer([Question("action", "Go.", (), grammar)])
    expected = grammar.regex if kind == "regex" else grammar.lark
    assert server.asked[0]["structured_outputs"] == {kind: expected}
    assert "structured_outputs" not in server.asked[1]


def test_an_adapter_that_changes_nothing_is_refused_before_the_first_question():
    with faulty(OK) as server, pytest.raises(SettingError, match="word for word the answers of the base model"):
        client(server, adapter="lora")


def test_several_questions_are_under_way_at_once_and_come_back_in_order():
    together = threading.Barrier(4, timeout=5)  # breaks unless four are there at the same time

    def wait_for_the_others(handler) -> None:
        together.wait()
        handler._send(200, json.dumps(GOOD))

    with faulty(wait_for_the_others) as server:
        stages = client(server, concurrency=4).answer([Question(str(k), "Go.") for k in range(4)])
    assert [stage.name for stage in stages] == list("0123")


@pytest.mark.parametrize(
    "wrong", [{"url": "ftp://x"}, {"model": ""}, {"constraint": "magic"}, {"timeout": 0}, {"retries": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises((SettingError, UnknownNameError)):
        ServerSettings(**({"model": "base"} | wrong))
