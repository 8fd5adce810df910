"""POST /act: what is sent, and what its servers do wrong, which OpenVLA's own says with status 200."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from ports import refusing_port

from vlm2vla_sim.errors import ServerError
from vlm2vla_sim.policies.remote.arrays import from_json, to_json
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.policies.remote.factories import OpenvlaOptions
from vlm2vla_sim.policies.remote.openvla import OpenvlaWire
from vlm2vla_sim.policies.remote.policy import RemotePolicy
from vlm2vla_sim.policies.remote.wire import Server

IMAGE = np.full((480, 640, 3), 90, np.uint8)
SEEN = {"pixels": {"primary": IMAGE}, "agent_pos": np.zeros(7, np.float32)}
ROW = np.array([0.01, 0, -0.02, 0, 0, 0.1, 0.9])
OK = (200, to_json(ROW))


@contextlib.contextmanager
def acting(*script, reset=200):
    """A server with /act that answers from a script of (status, body), or of functions that are given the handler."""
    left, asked, resets = list(script), [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/reset":
                resets.append(self.headers.get("Authorization"))
                return self.answer(reset, b'{"status": "reset successful"}')
            asked.append(from_json(body))
            step = left.pop(0) if len(left) > 1 else left[0]
            return step(self) if callable(step) else self.answer(*step)

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked, resets
        server.shutdown()


def once(url: str, name: str = "openvla", **server):
    convention = find_convention("openvla", name)
    wire = OpenvlaWire(Server(url, **({"timeout": 2.0} | server)), convention, sleep=lambda _: None)
    policy = RemotePolicy(wire, convention, None)
    policy.reset("put carrot on plate")
    return policy.act(SEEN)


def test_openvla_is_shown_the_picture_it_was_trained_with_and_told_which_statistics():
    with acting(OK) as (url, asked, resets):
        decision = once(url)
    (question,) = asked
    assert set(question) == {"image", "instruction", "unnorm_key"}
    assert question["image"].shape == (224, 224, 3)
    assert question["image"].dtype == np.uint8
    assert question["instruction"] == "put carrot on plate"
    assert question["unnorm_key"] == "bridge_orig"
    assert len(resets) == 1
    np.testing.assert_allclose(decision.chunk.deltas, [[0.01, 0, -0.02, 0, 0, 0.1, 1]], atol=1e-7)


def test_the_bytes_are_those_of_json_numpy():
    sent = json.loads(to_json({"image": np.array([[1, 2]], np.uint8)}))
    assert sent == {"image": {"__numpy__": base64.b64encode(b"\x01\x02").decode(), "dtype": "|u1", "shape": [1, 2]}}


def test_octo_gets_its_larger_picture_and_a_reset_and_no_statistics():
    with acting(OK) as (url, asked, resets):
        once(url, "octo")
    assert set(asked[0]) == {"image", "instruction"}
    assert asked[0]["image"].shape == (256, 256, 3)
    assert len(resets) == 1


@pytest.mark.parametrize("status", [404, 405])
def test_openvlas_own_server_has_no_reset_and_needs_none(status):
    with acting(OK, reset=status) as (url, _, _):
        assert once(url).chunk is not None


def test_a_list_and_a_double_encoded_answer_are_read_too():
    with acting((200, json.dumps(ROW.tolist()).encode())) as (url, _, _):
        np.testing.assert_allclose(once(url).chunk.deltas[0, :3], ROW[:3], atol=1e-7)
    with acting((200, json.dumps(to_json(ROW).decode()).encode())) as (url, _, _):
        np.testing.assert_allclose(once(url).chunk.deltas[0, :3], ROW[:3], atol=1e-7)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b'"error"'), '"error" instead of an action.*unnorm_key'),
        ((200, b'{"error": "Server not ready"}'), "Server not ready"),
        ((200, to_json(ROW[:6])), r"shape \(6,\); expected \(7,\)"),
        ((200, b"[0, 0, 0, 0, 0, NaN, 1]"), "not finite"),
        ((200, b'[0, 0, 0, 0, 0, "0", 1]'), "not numbers"),
        ((200, b"null"), "not numbers"),
        ((400, b'{"detail": "Missing required fields"}'), r"refuses the request \(400\).*Missing required"),
        ((422, b"what?"), "422"),
    ],
)
def test_what_no_retry_can_mend_is_one_sentence_at_once(answer, said):
    with acting(answer) as (url, asked, _):
        with pytest.raises(ServerError, match=said):
            once(url)
        assert len(asked) == 1


def cut_short(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"__numpy__": ')


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


FORGED = json.dumps({"__numpy__": "gASVCg==", "dtype": "|O", "shape": [7]}).encode()


@pytest.mark.parametrize(
    "fault", [(500, b"OOM"), (503, b"loading"), (200, b'{"__numpy'), cut_short, hang_up, (200, FORGED)]
)
def test_a_fault_that_passes_costs_one_counted_retry(fault):
    with acting(fault, OK) as (url, _, _):
        decision = once(url)
    assert decision.stages[0].retries == 1


def test_a_fault_that_stays_is_one_sentence_after_the_allowed_tries():
    with acting((200, FORGED)) as (url, asked, _):
        with pytest.raises(ServerError, match=r"asked 3 times.*dtype '\|O'; expected a plain number"):
            once(url, retries=2)
        assert len(asked) == 3


def test_a_server_that_is_slow_or_absent_is_told_with_its_address():
    slow = pytest.raises(ServerError, match=r"longer than 0\.2 s")
    with acting(lambda handler: time.sleep(0.6)) as (url, _, _), slow:
        once(url, timeout=0.2, retries=0)
    absent = pytest.raises(ServerError, match=r"http://127\.0\.0\.1:\d+ was asked 1 times.*refused")
    with refusing_port() as port, absent:
        once(f"http://127.0.0.1:{port}", retries=0)


def test_an_answer_of_any_size_is_not_read(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.remote.openvla.MOST_ANSWER_BYTES", 1000)
    with acting((200, b"[" + b"0," * 5000 + b"0]")) as (url, _, _), pytest.raises(ServerError, match="1,000 bytes"):
        once(url, retries=0)


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("VLM2VLA_API_KEY", "s3cret")
    with acting(OK) as (url, _, resets):
        once(url)
    assert resets == ["Bearer s3cret"]


def test_a_fine_tuned_model_has_statistics_of_its_own():
    options = OpenvlaOptions(server="http://127.0.0.1:8000", convention="openvla", unnorm_key="my_data", execute=2)
    assert dict(options.meaning().extras) == {"unnorm_key": "my_data"}
    assert options.meaning().execute == 2
