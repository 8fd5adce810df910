"""What servers do wrong ends in a counted retry, in a lost episode or in one sentence, never in a motion."""

from __future__ import annotations

import socket
import time

import gymnasium as gym
import numpy as np
import pytest
from ports import refusing_port
from remote_lane import need_remote, scripted, serving

from vlm2vla_sim.errors import BackendFaultError, ServerError, SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.policies.remote.arrays import pack_openpi, pack_vla_eval
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.policies.remote.openpi import EPISODES, OpenpiWire
from vlm2vla_sim.policies.remote.policy import RemotePolicy
from vlm2vla_sim.policies.remote.vla_eval import VlaEvalWire
from vlm2vla_sim.policies.remote.wire import Server
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import Outcome

need_remote()

import msgpack  # noqa: E402

SEEN = {"pixels": {"primary": np.zeros((48, 64, 3), np.uint8)}, "agent_pos": np.zeros(7, np.float32)}
FORWARD = np.array([[0.01, 0, 0, 0, 0, 0, 1]], np.float32)
TRUNCATED = b"\x82\x7e\x03\xe8" + bytes(20)
"""The head of a websocket frame of 1000 bytes, and 20 of them."""


def openpi(url: str, *, waits: list[float] | None = None, **server) -> RemotePolicy:
    convention = find_convention("openpi", "widowx")
    sleep = (waits if waits is not None else []).append
    wire = OpenpiWire(Server(url, **({"timeout": 2.0} | server)), convention, sleep=sleep)
    return RemotePolicy(wire, convention, None)


def vla_eval(url: str, name: str = "simpler", **server) -> RemotePolicy:
    convention = find_convention("vla-eval", name)
    wire = VlaEvalWire(Server(url, **({"timeout": 2.0} | server)), convention, sleep=lambda _: None)
    return RemotePolicy(wire, convention, None)


def once(policy: RemotePolicy):
    """The first decision of an episode."""
    try:
        policy.reset("put carrot on plate")
        return policy.act(SEEN)
    finally:
        policy.close()


# Ways an openpi server treats a client.


def well(connection) -> None:
    connection.send(pack_openpi({}))
    while True:
        connection.recv()
        connection.send(pack_openpi({"actions": FORWARD}))


def saying(answer, *, greeting=None):
    def treat(connection) -> None:
        connection.send(pack_openpi(greeting or {}))
        connection.recv()
        connection.send(answer)
        connection.recv()

    return treat


def hanging_up(connection) -> None:
    connection.send(pack_openpi({}))
    connection.recv()


def breaking_off(connection) -> None:
    connection.send(pack_openpi({}))
    connection.recv()
    connection.socket.sendall(TRUNCATED)
    connection.socket.shutdown(socket.SHUT_RDWR)


def stalling_in_a_frame(connection) -> None:
    connection.send(pack_openpi({}))
    connection.recv()
    connection.socket.sendall(TRUNCATED)
    time.sleep(0.8)


def silent(connection) -> None:
    time.sleep(0.8)


FORGED = msgpack.packb({b"actions": {b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": [1, 7]}})


@pytest.mark.parametrize(
    "fault",
    [hanging_up, breaking_off, saying(b"\xc1"), saying(FORGED), saying(msgpack.packb([1, 2]))],
    ids=["hangs up", "breaks off in a frame", "no msgpack", "an array of objects", "no map"],
)
def test_a_fault_that_passes_costs_one_counted_retry(fault):
    with scripted(fault, well) as url:
        decision = once(openpi(url))
    assert decision.stages[0].retries == 1
    np.testing.assert_allclose(decision.chunk.deltas, FORWARD)


@pytest.mark.parametrize("fault", [stalling_in_a_frame, silent], ids=["in a frame", "before the greeting"])
def test_a_server_that_stalls_is_given_up_and_asked_anew(fault):
    with scripted(fault, well) as url:
        decision = once(openpi(url, timeout=0.3))
    assert decision.stages[0].retries == 1
    with scripted(fault) as url, pytest.raises(ServerError, match=r"asked 1 times.*longer than 0\.3 s"):
        once(openpi(url, timeout=0.3, retries=0))


def test_a_fault_that_stays_is_one_sentence_after_the_allowed_tries():
    waits = []
    with scripted(hanging_up) as url, pytest.raises(ServerError, match=r"asked 3 times.*broke off"):
        once(openpi(url, waits=waits, retries=2))
    assert waits == [0.5, 1.0], "each wait is twice the one before"


def test_a_server_that_is_not_there_is_told_with_its_address():
    absent = pytest.raises(ServerError, match=r"ws://127\.0\.0\.1:\d+ was asked 2 times.*refused")
    with refusing_port() as port, absent:
        once(openpi(f"ws://127.0.0.1:{port}", retries=1))


def test_a_web_server_at_that_address_is_told_apart():
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Page(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with pytest.raises(ServerError, match="refused the connection"):
            once(openpi(f"ws://127.0.0.1:{server.server_address[1]}", retries=0))
        server.shutdown()


@pytest.mark.parametrize("status", [403, 407])
def test_behind_a_proxy_the_error_names_it_without_its_password(monkeypatch, status):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            self.send_error(status)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{address}")
        with pytest.raises(ServerError, match=rf"through the proxy http://{address}.*{status}") as error:
            once(openpi("wss://model.example", retries=0))
        server.shutdown()
    assert "s3cret" not in str(error.value)


def test_a_proxy_that_opens_the_way_and_hangs_up_is_named(monkeypatch):
    """It may do so before, while or after the handshake is sent: each is met in a number of attempts."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("https_proxy", f"http://{address}")
        for _ in range(40):
            with pytest.raises(ServerError, match=f"through the proxy http://{address} "):
                once(openpi("ws://model.example", retries=0))
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"actions": np.zeros((4, 8), np.float32)}, r"shape \(4, 8\); expected \(7,\)"),
        ({"actions": np.full((1, 7), np.nan)}, "not finite"),
        ({"action": FORWARD}, "not numbers"),
        ({}, "not numbers"),
    ],
)
def test_numbers_that_are_no_motion_are_one_sentence_and_are_not_asked_for_again(answer, said):
    with scripted(saying(pack_openpi(answer))) as url, pytest.raises(ServerError, match=said):
        once(openpi(url))


def test_an_error_of_the_server_is_passed_on_with_the_line_that_says_it():
    traceback = "Traceback (most recent call last):\n  File x\nKeyError: 'observation/wrist_image'"
    with scripted(saying(traceback)) as url, pytest.raises(ServerError, match=r"refuses.*KeyError: 'obs"):
        once(openpi(url))


def test_an_answer_of_any_size_is_not_read(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.remote.wire.MOST_ANSWER_BYTES", 1000)
    with scripted(saying(bytes(5000))) as url, pytest.raises(ServerError, match="more than 1,000 bytes in one answer"):
        once(openpi(url))


def test_the_key_comes_from_the_environment(monkeypatch):
    keys = []

    def listening(connection) -> None:
        keys.append(connection.request.headers.get("Authorization"))
        well(connection)

    monkeypatch.setenv("VLM2VLA_API_KEY", "s3cret")
    with scripted(listening) as url:
        once(openpi(url))
    assert keys == ["Api-Key s3cret"]


# A server that dies in the middle of an episode.


def test_openpis_own_server_keeps_nothing_so_that_the_episode_goes_on():
    def twice(connection) -> None:
        connection.send(pack_openpi({}))
        for _ in range(2):
            connection.recv()
            connection.send(pack_openpi({"actions": FORWARD}))

    with scripted(twice, well) as url:
        policy = openpi(url)
        policy.reset("put carrot on plate")
        assert [policy.act(SEEN).stages[0].retries for _ in range(4)] == [0, 0, 1, 0]
        policy.close()


def test_a_server_that_remembers_the_episode_cannot_go_on_with_it():
    def once_and_gone(connection) -> None:
        connection.send(pack_openpi({EPISODES: True}))
        connection.recv()
        connection.send(pack_openpi({"actions": FORWARD}))

    with scripted(once_and_gone, well) as url:
        policy = openpi(url)
        policy.reset("put carrot on plate")
        assert policy.act(SEEN) is not None
        with pytest.raises(BackendFaultError, match="lost in the middle of an episode"):
            policy.act(SEEN)
        policy.reset("put carrot on plate")
        assert policy.act(SEEN) is not None, "the next episode is another matter"
        policy.close()


def test_such_an_episode_is_an_error_of_its_own_and_no_failure_of_the_policy():
    class Mortal:
        def reset(self, instruction, seed=0):
            self.count = 0

        def act(self, observation):
            from vlm2vla_sim.policies.baselines import STAY, to_decision

            self.count += 1
            if self.count == 3:
                doomed[0].stop()
            from vlm2vla_sim.language.formats import get_format

            return to_decision(STAY, get_format("vlm2vla"), subtask="s", plan="p")

    doomed = []
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0", backend="point", image_size=(48, 64))
    with serving(Mortal, "openpi", rows=1) as server:

        class Door:
            def stop(self):
                for connection in server._server.connections:
                    connection.socket.shutdown(socket.SHUT_RDWR)

        doomed.append(Door())
        options = {"server": server.url, "convention": "vlm2vla", "retries": 0, "timeout": 2}
        result = run_episode(env, "openpi", spec=PolicySpec("openpi", options=options))
    env.close()
    assert result.outcome is Outcome.ERROR
    assert "lost in the middle of an episode" in result.reason
    assert result.steps == 2


# vla-eval.


def harness(*answers, spec=None, version=1, shift=0):
    """A vla-eval server that says hello and then these (type, payload) pairs; None for silence."""

    def treat(connection) -> None:
        left = list(answers)
        while True:
            message = msgpack.unpackb(connection.recv())
            answer = None
            if message["type"] == "hello":
                answer = ("hello", {"protocol_version": version, **({"action_spec": spec} if spec else {})})
            elif message["type"] == "observation":
                answer = left.pop(0) if len(left) > 1 else left[0]
            if answer is not None:
                kind, payload = answer
                number = message["seq"] + (shift if kind == "action" else 0)
                connection.send(pack_vla_eval({"type": kind, "payload": payload, "seq": number, "timestamp": 0.0}))

    return treat


def test_a_chunk_or_a_single_row_is_taken_as_it_comes():
    with scripted(harness(("action", {"actions": FORWARD[0]}))) as url:
        np.testing.assert_allclose(once(vla_eval(url)).chunk.deltas, FORWARD)
    with scripted(harness(("action", {"actions": np.repeat(FORWARD, 3, 0)}))) as url:
        assert len(once(vla_eval(url)).chunk.deltas) == 3
        assert len(once(vla_eval(url, "cogact")).chunk.deltas) == 1


@pytest.mark.parametrize(
    ("treat", "error", "said"),
    [
        (harness(("error", {"error": "observation_failed: OOM"})), ServerError, "refuses the observation.*OOM"),
        (harness(("action", {"actions": FORWARD}), version=2), SettingError, "uses version 2"),
        (
            harness(("action", {"actions": FORWARD}), shift=1),
            BackendFaultError,
            "numbered 4; expected 'action'",
        ),
        (harness(("hello", {})), BackendFaultError, "a message 'hello'"),
        (harness(("action", {"actions": np.zeros((2, 6))})), ServerError, r"shape \(2, 6\)"),
    ],
    ids=["error", "version", "number", "type", "shape"],
)
def test_what_a_vla_eval_server_does_wrong_is_one_sentence(treat, error, said):
    with scripted(treat) as url, pytest.raises(error, match=said):
        once(vla_eval(url, retries=0))


def test_a_server_whose_own_word_contradicts_the_convention_is_not_asked():
    spec = {"gripper": {"format": "binary_close_negative"}, "rotation": {"format": "axis_angle"}}
    with scripted(harness(("action", {"actions": FORWARD}), spec=spec)) as url:
        with pytest.raises(SettingError, match=r"its gripper as 'binary_close_negative'.*binary_close_positive"):
            once(vla_eval(url, "openvla"))
        assert once(vla_eval(url, "simpler")) is not None, "which expects nothing in particular"


def test_what_vla_evals_openvla_server_declares_is_what_the_convention_expects():
    spec = {"gripper": {"format": "binary_close_positive"}, "rotation": {"format": "axis_angle"}}
    closed = np.array([0, 0, 0, 0, 0, 0, 1.0], np.float32)
    with scripted(harness(("action", {"actions": closed}), spec=spec)) as url:
        assert once(vla_eval(url, "openvla")).chunk.deltas[0, 6] == 0
