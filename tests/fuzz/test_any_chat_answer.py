"""Random answers to the chat client, random requests to the chat server: each is right, or refused with a sentence."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from fuzz_lane import cases
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlm2vla_sim.errors import ServerError
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE, PROBE
from vlm2vla_sim.serving.chat_request import KNOWN, MAX_TOKENS, NEUTRAL, Names, read_body, read_question
from vlm2vla_sim.serving.chat_values import GRAMMARS
from vlm2vla_sim.serving.refusal import RefusalError

LIMIT = 8
REGEX = "(go|stop) [0-9]{1,2}"
ASKED = Question(
    "action", "Go.", grammar=Grammar(REGEX, "start: /(go|stop) [0-9]{1,2}/"), sampling=Sampling(max_tokens=LIMIT)
)
FREE = Question("plan", "How?", sampling=Sampling(max_tokens=LIMIT))

JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.integers(10**300, 10**301),
        st.text(max_size=8),
        st.sampled_from(["stop", "length", "go 3", "[[0, 0, -8, 1]]", "12", "user"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def mostly(draw, good: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = JUNK) -> Any:
    """Three of four from `good`. (`st.one_of` would give every branch of `other` the weight of `good`.)"""
    return draw(other if draw(st.integers(0, 3)) == 0 else good)


# The client: what a server may send.


class Server:
    """A server on a socket that sends the bytes it is told to, and honours the grammar probe."""

    def __init__(self) -> None:
        self.body = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send(b'{"data": [{"id": "base"}]}')

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                probed = (asked.get("structured_outputs") or {}).get("regex") == PROBE.grammar.regex
                self.send(json.dumps(completion(NONSENSE[0])).encode() if probed else outer.body)

            def send(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        self.model = ChatModel(ServerSettings(url, "base", retries=0, timeout=10), sleep=lambda _: None)


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def completion(text: Any, finish: Any = "stop", tokens: Any = 3) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": {"completion_tokens": tokens}}


TEXTS = mostly(
    mostly(st.sampled_from(["go 3", "stop 12"]), st.sampled_from(["go", "go 300", " go 3", "go 3\n", "Hello!", ""])),
    st.one_of(st.text(max_size=8), JUNK),
)
FINISHES = mostly(
    st.sampled_from(["stop", "length", None]),
    st.one_of(st.sampled_from(["abort", "content_filter", "eos", "STOP"]), JUNK),
)
TOKENS = mostly(st.integers(-1, LIMIT + 1))


@st.composite
def answers(draw) -> bytes:
    """A completion with some of its parts replaced, removed or repeated; or its bytes cut or spoiled."""
    answer: Any = completion(draw(TEXTS), draw(FINISHES), draw(TOKENS))
    damage = draw(
        mostly(st.just("none"), st.sampled_from(["replace", "remove", "repeat", "cut", "spoil", "page", "junk"]))
    )
    if damage in ("replace", "remove"):
        holders = [answer, answer["choices"][0], answer["choices"][0]["message"], answer["usage"]]
        holder = draw(st.sampled_from(holders))
        key = draw(st.sampled_from(sorted(holder)))
        holder[key] = draw(JUNK)
        if damage == "remove":
            del holder[key]
    if damage == "repeat":
        answer["choices"] *= draw(st.sampled_from([0, 2, 3]))
    if damage == "junk":
        answer = draw(JUNK)
    body = json.dumps(answer).encode()
    if damage == "page":
        body = b"<html><title>Busy</title></html>"
    if damage == "cut":
        body = body[: draw(st.integers(0, len(body) - 1))]
    if damage == "spoil":
        place = draw(st.integers(0, len(body) - 1))
        body = body[:place] + draw(st.binary(min_size=1, max_size=3)) + body[place + 1 :]
    return body


def whole_answer(body: bytes, question: Question) -> tuple[str, str, int | None] | None:
    """Text, end and tokens, by the plain reading of the API; None where the body is no such answer."""
    try:
        answer = json.loads(body)
        (choice,) = answer["choices"] if isinstance(answer["choices"], list) else ()
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(text, str) or not (finish is None or (isinstance(finish, str) and finish in ("stop", "length"))):
        return None
    usage = answer.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    is_count = type(count) in (int, float) and 0 <= count < float("inf") and count == int(count)
    tokens = int(count) if is_count else None
    is_cut = finish == "length" or (finish is None and tokens is not None and tokens >= LIMIT)
    if question.grammar and not is_cut and not re.fullmatch(REGEX, text):
        return None
    return text, finish or "", tokens


@cases(280)
@given(answers(), st.booleans())
def test_an_answer_is_taken_as_it_is_meant_or_told_as_a_fault(server, body, constrained):
    server.body, question = body, ASKED if constrained else FREE
    expected = whole_answer(body, question)
    if expected is None:
        with pytest.raises(ServerError) as fault:
            server.model.answer([question])
        assert re.search(r"asked 1 times\. The last time: \S.*Is it running", str(fault.value), re.DOTALL)
        assert len(str(fault.value)) < 700
        return
    (stage,) = server.model.answer([question])
    assert (stage.text, stage.finish, stage.tokens) == expected


# The server: what a client may send.


def png() -> str:
    file = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


IMAGE = {"type": "image_url", "image_url": {"url": png()}}
PARTS = mostly(
    st.one_of(st.just(IMAGE), st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=6)})),
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": JUNK}),
        st.fixed_dictionaries({"type": st.just("image_url"), "image_url": JUNK}),
        st.just({**IMAGE, "detail": "low"}),
        JUNK,
    ),
)
CONTENTS = mostly(st.one_of(st.text(max_size=8), st.lists(PARTS, min_size=1, max_size=4)))
USER = st.fixed_dictionaries({"role": st.just("user"), "content": CONTENTS})
OTHER = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", 7]), "content": CONTENTS},
    optional={"name": st.text(max_size=3)},
)
MESSAGES = mostly(st.lists(USER, min_size=1, max_size=1), st.one_of(st.lists(OTHER, max_size=2), JUNK))
VALUES: dict[str, Any] = {
    "max_tokens": mostly(st.integers(1, MAX_TOKENS), st.sampled_from([-1, 0, MAX_TOKENS + 1, 1.0, True])),
    "max_completion_tokens": st.integers(0, 3),
    "temperature": mostly(st.floats(0, 2), st.floats(-0.5, 2.5)),
    "top_p": mostly(st.floats(0, 1), st.floats(-0.1, 1.1)),
    "seed": mostly(st.integers(-(2**63), 2**63 - 1), st.integers()),
    "user": st.text(max_size=3),
    "structured_outputs": st.fixed_dictionaries(
        {}, optional={"regex": st.sampled_from(["a|b", "(", ""]), "json": JUNK}
    ),
    "guided_regex": mostly(st.sampled_from(["a/b", "[0-9]{2}"]), st.one_of(st.just("a{2,1}"), st.text(max_size=5))),
    "guided_choice": st.lists(st.text(max_size=4), max_size=3),
    "guided_grammar": st.just('start: "a"'),
    "response_format": mostly(st.just({"type": "text"}), st.sampled_from([{"type": "json_object"}, {}])),
}
"""Values that are mostly honoured."""


@st.composite
def requests(draw) -> dict[str, Any]:
    """A request with a few fields, known ones and others, right and wrong."""
    request: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "hello"}]}
    if draw(st.booleans()):
        request["messages"] = draw(MESSAGES)
    for field in draw(st.lists(st.sampled_from(sorted(KNOWN - {"model", "messages"})), max_size=2)):
        neutral = st.sampled_from([*NEUTRAL.get(field, ()), None])
        request[field] = draw(mostly(VALUES.get(field, neutral)))
    if draw(st.integers(0, 7)) == 7:
        request[draw(st.text(max_size=6))] = draw(JUNK)
    return request


def is_seen(request: dict[str, Any], question: Question) -> bool:
    """Whether each field of a request that was accepted is in the question, or asks for nothing."""
    given = {field: value for field, value in request.items() if value is not None}
    (message,) = given.pop("messages")
    parts = message["content"]
    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
    sent = ["image" if part["type"] == "image_url" else part["text"] for part in parts]
    texts = "".join(part for part in question.parts() if isinstance(part, str)).replace("\n", "")
    seen = [
        given.pop("model") == "base",
        message.keys() == {"role", "content"},
        len(question.images) == sent.count("image"),
        texts == "".join(part for part in sent if part != "image").replace("\n", ""),
    ]
    limits = {given.pop(key) for key in ("max_tokens", "max_completion_tokens") if key in given}
    seen += [limits in (set(), {question.sampling.max_tokens})]
    seen += [given.pop("temperature", 0) == question.sampling.temperature]
    seen += [given.pop("top_p", 1) == question.sampling.top_p]
    seen += [given.pop("seed", 0) == question.seed, isinstance(given.pop("user", ""), str)]
    grammars = {field: given.pop(field) for field in GRAMMARS if field in given}
    asked = [value for value in grammars.values() if value != {"type": "text"}]
    seen += [(question.grammar is not None) is bool(asked)]
    return all(seen) and all(value in NEUTRAL[field] for field, value in given.items())


@cases(220)
@given(requests())
def test_a_request_is_honoured_field_by_field_or_refused_with_a_name(request):
    refused: RefusalError | None = None
    try:
        read = read_body(json.dumps(request).encode())
        question = read_question(read, Names("base", "lora", places_images=True))
    except RefusalError as refusal:
        refused = refusal
    else:
        assert is_seen(read, question), (request, question)
    if refused:
        said, top = str(refused), re.split(r"[.\[]", refused.field)[0]
        assert 400 <= refused.status < 500
        assert re.fullmatch(r"(?s)\S.*[.)]", said), said
        assert "twice" in said or refused.field[:100] in request or top in request or refused.field == ""
        assert refused.field or re.search("no number in JSON|not JSON|too large|field ''", said), said
