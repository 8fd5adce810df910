"""The chat server on a socket: OpenAI's API, batches, and the gate in front of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from lane import need

need("remote", "starlette", "uvicorn", "httpx2")

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.language_action import LanguageActionPolicy  # noqa: E402
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings  # noqa: E402
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE  # noqa: E402
from vlm2vla_sim.serving.model_server import ModelServer, ServedModel, default_limits  # noqa: E402
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier  # noqa: E402
from vlm2vla_sim.types import Stage  # noqa: E402

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def request(content="hello", **fields) -> dict:
    return {"model": "base", "messages": [{"role": "user", "content": content}], **fields}


class Echo(FakeTextModel):
    """Says which model was asked what, so that a test can see what arrived."""

    def __init__(self) -> None:
        super().__init__({})
        self.batches: list[list[Question]] = []

    def answer(self, questions):
        self.batches.append(list(questions))
        return [self._say(q) for q in questions]

    def _say(self, question):
        for text in (*NONSENSE, "[[0, 0, -8, 1]]"):
            if question.grammar and re.fullmatch(question.grammar.regex, text):
                return Stage(question.stage, text, 3)
        return Stage(question.stage, f"{'adapter' if question.adapter else 'base'}: {question.prompt}", 3)


class Scripted:
    """Answers with one stage, or what it is told to raise."""

    def __init__(self, stage: Stage, **provenance) -> None:
        self.stage, self._provenance = stage, provenance

    def answer(self, questions):
        return [self.stage for _ in questions]

    def provenance(self):
        return self._provenance


def serving(model, adapter="lora", **limits) -> ModelServer:
    return ModelServer(ServedModel(model, "base", adapter), default_limits(**limits))


def scripted(stage=None, adapter="lora", **provenance) -> ModelServer:
    return serving(Scripted(stage or Stage("chat", "hi", 1), **provenance), adapter)


def client(server, **settings) -> ChatModel:
    return ChatModel(ServerSettings(server.url, **({"model": "base", "timeout": 5} | settings)), sleep=lambda _: None)


def post(server, **fields) -> dict:
    """The response to a completion request; urllib.error.HTTPError for a refusal."""
    headers = {"Content-Type": "application/json"}
    sent = urllib.request.Request(f"{server.url}/chat/completions", json.dumps(request(**fields)).encode(), headers)
    with urllib.request.urlopen(sent, timeout=5) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize(("finish", "sent"), [("stop", "stop"), ("length", "length"), ("", None)])
def test_the_server_sends_the_end_that_the_model_tells_and_no_other(finish, sent):
    with scripted(Stage("chat", "move", 3, finish=finish)) as server:
        answer = post(server)
    assert answer["choices"][0]["finish_reason"] == sent
    assert answer["usage"] == {"prompt_tokens": None, "completion_tokens": 3, "total_tokens": None}


def test_an_error_names_the_field_in_openai_s_form():
    with scripted() as server, pytest.raises(urllib.error.HTTPError) as refused:
        post(server, stop="x")
    error = json.loads(refused.value.read())["error"]
    refused.value.close()
    assert (error["param"], error["code"], refused.value.code) == ("stop", 400, 400)


def test_a_model_that_ignores_the_grammar_is_an_error_and_no_answer():
    with scripted(Stage("chat", "move down", 3)) as server:
        assert post(server, guided_regex="move .*")["choices"][0]["message"]["content"] == "move down"
        with pytest.raises(urllib.error.HTTPError) as broken:
            post(server, guided_regex="yes|no")
        broken.value.close()
        with pytest.raises(urllib.error.HTTPError) as other:
            post(server, guided_grammar='start: "yes" | "no"')
        other.value.close()
    assert (broken.value.code, other.value.code) == (500, 500)


def test_a_regular_expression_that_takes_python_for_ever_does_not_hold_the_server():
    with scripted(Stage("chat", 28 * "a", 28)) as server:
        assert post(server, guided_regex="(a?){28}a{28}")["choices"][0]["message"]["content"] == 28 * "a"


def test_the_list_of_models_tells_digests_and_the_parent():
    def models(server):
        with urllib.request.urlopen(f"{server.url}/models", timeout=5) as answer:
            assert answer.headers["Server"].startswith("vlm2vla_sim/")
            return [(m["id"], m["parent"], m["digest"]) for m in json.loads(answer.read())["data"]]

    with scripted(model_digest="aa", adapter_digest="bb") as server:
        assert models(server) == [("base", None, "aa"), ("lora", "base", "bb")]
    with scripted(adapter="") as server:
        assert models(server) == [("base", None, None)]


def test_our_server_gives_pictures_sampling_grammar_and_adapter_on_unchanged():
    echo = Echo()
    grammar = get_format("vlm2vla").grammar()
    with serving(echo) as server:
        model = client(server, adapter="lora")
        model.answer([Question("action", "Go.", (PICTURE, PICTURE[::-1]), grammar, Sampling(0.5, 0.9, 33), 11)])
        asked = echo.batches[-1][0]
        assert [np.array_equal(a, b) for a, b in zip(asked.images, (PICTURE, PICTURE[::-1]), strict=True)] == [True] * 2
        assert (asked.prompt, asked.sampling, asked.seed, asked.adapter) == ("Go.", Sampling(0.5, 0.9, 33), 11, True)
        assert asked.grammar.regex == grammar.regex
        assert model.answer([Question("plan", "Go.", adapter=False)])[0].text == "base: Go."


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"model": "nobody"}, 404, "There is no model 'nobody' on this server; it has base and lora."),
        ({"stream": True}, 400, "stream"),
        ({"messages": []}, 400, "one user message"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, 400, "content is text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]},
            400,
            "nothing is fetched",
        ),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
            ]}]},
            400,
            "cannot be read",
        ),
        ({"temperature": -1}, 400, "temperature"),
        ({"structured_outputs": {"json": {}}}, 400, "expected one of: regex"),
    ],
)  # fmt: skip
def test_our_server_refuses_what_it_does_not_offer_in_a_sentence(change, status, said):
    with serving(Echo()) as server:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            post(server, **change)
        body = json.loads(refusal.value.read())
        refusal.value.close()
    assert refusal.value.code == status
    assert said in body["error"]["message"]


def test_our_server_answers_together_what_came_in_meanwhile():
    class Slow(Echo):
        def answer(self, questions):
            time.sleep(0.15)
            return super().answer(questions)

    slow = Slow()
    with serving(slow) as server:
        client(server, concurrency=8, constraint="off").answer([Question("plan", str(k)) for k in range(8)])
    assert sum(map(len, slow.batches)) == 8
    assert len(slow.batches) < 8


def test_one_bad_question_does_not_spoil_those_asked_with_it():
    class Picky(Echo):
        def answer(self, questions):
            time.sleep(0.1)
            if any(q.prompt == "bad" for q in questions):
                raise SettingError("bad question")
            return super().answer(questions)

    with serving(Picky()) as server:
        model = client(server, retries=0)
        with pytest.raises(SettingError, match="bad question"):
            model.answer([Question("plan", word) for word in ("a", "bad", "b")])
        assert [s.text for s in model.answer([Question("plan", word, adapter=False) for word in "ab"])] == [
            "base: a",
            "base: b",
        ]


def test_our_server_stops_by_itself_when_nobody_asks():
    with serving(Echo(), idle=0.05) as server:
        assert server.wait(threading.Event()) is False


def test_the_loop_runs_over_a_server():
    probes = ["Hello."] * 2  # about pictures and about thinking
    script = FakeTextModel({"chat": [*probes, "1. grasp the carrot", "move down", "[[0, 0, -8, 1]]"]})
    with serving(script) as server:
        policy = LanguageActionPolicy(client(server, constraint="off"), get_format("vlm2vla"), FakeVerifier())
        policy.reset("put carrot on plate")
        decision = policy.act({"pixels": {"primary": PICTURE}})
    assert (decision.subtask, decision.plan, decision.action) == ("grasp the carrot", "move down", "[[0, 0, -8, 1]]")


# The socket.


def port_of(server) -> int:
    return int(server.url.removesuffix("/v1").rpartition(":")[2])


def raw(server, head: str, body: bytes = b"") -> bytes:
    """All that the server says until it closes the connection."""
    head = head.replace("Host: x", f"Host: 127.0.0.1:{port_of(server)}\nContent-Type: application/json")
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as line:
        line.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: line.recv(65536), b""))
    return b""


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 2\nContent-Length: 30",
        "Content-Length: -2",
        "Content-Length: \xb2",
        "Content-Length: 2\nTransfer-Encoding: chunked",
        "Content-Length: 99999999999999999999",
        "Content-Length: 9999999999",
    ],
)
def test_a_body_whose_length_is_in_doubt_is_refused_and_never_read_as_the_next_request(lines):
    with scripted() as server:
        said = raw(server, f"POST /v1/chat/completions HTTP/1.1\nHost: x\n{lines}", b"{}GET / HTTP/1.1\r\n\r\n")
    assert said.count(b"HTTP/1.1 ") == 1
    assert re.match(rb"HTTP/1.1 4(00|11|13) ", said)


def test_the_body_of_a_get_is_not_taken_for_the_next_request():
    inner = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    with scripted() as server:
        head = f"GET /health HTTP/1.1\nHost: x\nConnection: close\nContent-Length: {len(inner)}"
        assert raw(server, head, inner).count(b"HTTP/1.1 ") == 1


def test_after_a_refusal_the_connection_serves_the_next_request():
    with scripted() as server:
        line = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
        for fields, status in (({"stop": "x"}, 400), ({}, 200)):
            headers = {"Content-Type": "application/json"}
            line.request("POST", "/v1/chat/completions", json.dumps(request(**fields)), headers)
            response = line.getresponse()
            assert (response.status, bool(response.read())) == (status, True)
        line.close()


def test_unknown_paths_and_methods_are_refused_in_openai_s_form():
    with scripted() as server:
        line = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
        for method, path, status in (("GET", "/v1/engines", 404), ("GET", "/v1/chat/completions", 405)):
            line.request(method, path)
            response = line.getresponse()
            error = json.loads(response.read())["error"]
            assert (response.status, error["code"]) == (status, status)
        line.close()


# Requests that wait.


class Held(Echo):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def answer(self, questions):
        self.asked.set()
        assert self.go_on.wait(20)
        return super().answer(questions)


def send(server, content) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port_of(server)), timeout=10)
    body = json.dumps(request(content)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return line


def is_answered(line: socket.socket) -> bool:
    return bool(select.select([line], [], [], 0.2)[0])


def test_one_request_too_many_is_told_so_and_one_that_hangs_up_makes_room_and_is_not_asked():
    held = Held()
    with serving(held, requests=2) as server:
        first = send(server, "first")
        assert held.asked.wait(10)
        gone = send(server, "gone")
        deadline = time.monotonic() + 10
        full = 0
        while not full and time.monotonic() < deadline:
            try:
                client(server, retries=0, timeout=0.3, constraint="off").answer([Question("plan", "too many")])
            except Exception as error:
                full = "2 requests are being answered" in str(error)
        assert full
        gone.close()
        third = send(server, "third")
        while is_answered(third) and time.monotonic() < deadline:  # the place is not free yet
            third.close()
            third = send(server, "third")
        held.go_on.set()
        for line in (first, third):
            with line:
                assert line.recv(20).startswith(b"HTTP/1.1 200")
    assert [question.prompt for batch in held.batches for question in batch] == ["first", "third"]
