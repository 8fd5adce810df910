"""Our server answers errors as its wire does, keeps its limits, and never listens where it was not told to."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest
from remote_lane import need_remote, serving

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy
from vlm2vla_sim.policies.remote.arrays import pack_openpi, pack_vla_eval, unpack
from vlm2vla_sim.policies.remote.conventions import Convention, find_convention
from vlm2vla_sim.policies.remote.openpi import EPISODES
from vlm2vla_sim.policies.remote.wire import TEXT_KEY
from vlm2vla_sim.serving import openpi
from vlm2vla_sim.serving.server import Dispatcher, Limits, PolicyServer

need_remote()

import msgpack  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

IMAGE = np.zeros((48, 64, 3), np.uint8)
ASK = {"observation/image": IMAGE, "prompt": "put carrot on plate"}


def hold():
    return load_policy("hold", PolicyContext("", 0, get_format("prose")))


def client(server, **options):
    return connect(server.url, **({"compression": None, "max_size": None, "open_timeout": 5, "proxy": None} | options))


def answer_to(socket_, question: bytes | str):
    socket_.send(question)
    answer = socket_.recv(timeout=5)
    return answer if isinstance(answer, str) else unpack(answer)


def test_it_speaks_first_and_then_answers_in_the_convention():
    with serving(hold, "openpi", "pi0-bridge") as server, client(server) as ask:
        assert unpack(ask.recv(timeout=5))[EPISODES] is True
        answer = answer_to(ask, pack_openpi({"observation/primary_image": IMAGE, "prompt": "put carrot on plate"}))
    np.testing.assert_array_equal(answer["actions"], [[0, 0, 0, 0, 0, 0, 1]])
    assert answer["actions"].dtype == np.float32
    assert answer[TEXT_KEY]["action"] == "open gripper"
    assert answer["server_timing"]["infer_ms"] >= 0


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("hello", "a text; expected a map in msgpack"),
        (b"\xc1", "not msgpack"),
        (msgpack.packb([1]), "is a list; expected a map"),
        (
            msgpack.packb({b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": [1]}),
            "has dtype '|O'; expected",
        ),
        (pack_openpi({"prompt": "go"}), "no 'observation/image', only: prompt"),
        (pack_openpi({"observation/image": IMAGE}), "The instruction is 'None'"),
        (pack_openpi({**ASK, "prompt": ""}), "The instruction is ''"),
        (pack_openpi({**ASK, "prompt": "x" * 3000}), "1 to 2000 characters"),
        (pack_openpi({**ASK, "observation/image": IMAGE.astype(np.float32)}), "type float32; expected (H, W, 3) uint8"),
        (pack_openpi({**ASK, "observation/image": IMAGE.transpose(2, 0, 1)}), "shape (3, 48, 64)"),
        (pack_openpi({**ASK, "observation/image": IMAGE[:8]}), "16 to 4096 pixels"),
        (pack_openpi({**ASK, "observation/image": "cat.png"}), "The image is str"),
        (pack_openpi({**ASK, "observation/state": np.full(7, np.nan)}), "expected 7 finite numbers"),
        (pack_openpi({**ASK, "observation/state": np.zeros(3)}), "shape (3,)"),
    ],
)
def test_openpi_is_told_what_is_wrong_in_a_text_and_then_left(question, said):
    with serving(hold, "openpi") as server:
        with client(server) as ask:
            ask.recv(timeout=5)
            answer = answer_to(ask, question)
            assert isinstance(answer, str)
            assert said in answer
            with pytest.raises(ConnectionClosed) as closed:
                ask.recv(timeout=5)
            assert closed.value.rcvd.code == 1011
        with client(server) as ask:
            ask.recv(timeout=5)
            assert "actions" in answer_to(ask, pack_openpi(ASK)), "the server lives on"


def message(kind, payload, number=1) -> bytes:
    return pack_vla_eval({"type": kind, "payload": payload, "seq": number, "timestamp": 0.0})


def test_vla_eval_is_told_what_is_wrong_in_a_message_with_its_number_and_may_go_on():
    with serving(hold, "vla-eval") as server, client(server) as ask:
        assert answer_to(ask, message("hello", {"protocol_version": 1}))["payload"]["protocol_version"] == 1
        ask.send(message("episode_start", {"task": {"name": "x"}}, 2))
        for number, (payload, said) in enumerate(
            [
                ({}, "has no images"),
                (
                    {"images": {"left": IMAGE, "right": IMAGE}, "task_description": "go"},
                    "left, right; expected 'primary'",
                ),
                ({"images": {"primary": IMAGE}}, "The instruction is 'None'"),
                ({"images": {"primary": 3}, "task_description": "go"}, "The image is int"),
            ],
            start=3,
        ):
            answer = answer_to(ask, message("observation", payload, number))
            assert (answer["type"], answer["seq"]) == ("error", number)
            assert said in answer["payload"]["error"]
        assert answer_to(ask, message("dance", {}, 8))["type"] == "error"
        good = answer_to(ask, message("observation", {"images": {"top": IMAGE}, "task_description": "go"}, 9))
        assert (good["type"], good["seq"]) == ("action", 9)
        assert good["payload"]["actions"].shape == (7,), "vla-eval's benchmarks take one step"
        ask.send(message("episode_end", {"metrics": {}}, 10))
        assert answer_to(ask, b"\xc1")["type"] == "error"
        with pytest.raises(ConnectionClosed) as closed:
            ask.recv(timeout=5)
        assert closed.value.rcvd.code == 1007


def test_the_gripper_is_declared_with_its_ends_and_the_rotation_in_vla_evals_words():
    with serving(hold, "vla-eval", "openvla") as server, client(server) as ask:
        spec = answer_to(ask, message("hello", {}))["payload"]["action_spec"]
    assert spec["rotation"]["format"] == "euler_xyz"
    assert spec["gripper"]["description"] == "absolute; 1 closed, -1 open"


class Broken:
    def reset(self, instruction, seed=0):
        return

    def act(self, observation):
        raise ZeroDivisionError("a bug of ours")


@pytest.mark.parametrize("wire", ["openpi", "vla-eval"])
def test_a_bug_of_the_policy_is_told_to_the_client_and_written_down_here(wire, capsys):
    with serving(Broken, wire) as server, client(server) as ask:
        if wire == "openpi":
            ask.recv(timeout=5)
            answer = answer_to(ask, pack_openpi(ASK))
        else:
            seen = {"images": {"primary": IMAGE}, "task_description": "go"}
            answer = answer_to(ask, message("observation", seen))["payload"]["error"]
    assert answer == "ZeroDivisionError: a bug of ours"
    assert "raise ZeroDivisionError" in capsys.readouterr().err


def test_a_policy_that_cannot_be_made_is_told_too(capsys):
    def make():
        raise SettingError("There is no such model.")

    with serving(make, "openpi") as server, client(server) as ask:
        assert ask.recv(timeout=5) == "There is no such model."


# Limits.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_it_listens_to_the_network_only_when_told_in_as_many_words(host):
    dispatcher = Dispatcher(hold, find_convention("openpi", "vlm2vla"), Limits())
    with pytest.raises(SettingError, match=r"without a key.*--expose"):
        PolicyServer(openpi.handle, dispatcher, host=host)


def test_told_so_it_does():
    dispatcher = Dispatcher(hold, find_convention("openpi", "vlm2vla"), Limits())
    with PolicyServer(openpi.handle, dispatcher, host="0.0.0.0", expose=True) as server:
        port = server.url.rpartition(":")[2]
        with connect(f"ws://127.0.0.1:{port}", proxy=None) as ask:
            assert ask.recv(timeout=5)


def test_a_port_that_is_taken_is_one_sentence():
    with serving(hold, "openpi") as server:
        dispatcher = Dispatcher(hold, find_convention("openpi", "vlm2vla"), Limits())
        with pytest.raises(SettingError, match=r"cannot listen on 127\.0\.0\.1:\d+"):
            PolicyServer(openpi.handle, dispatcher, port=int(server.url.rpartition(":")[2]))


def test_a_message_beyond_the_limit_is_not_read():
    with serving(hold, "openpi", message=20_000) as server, client(server) as ask:
        ask.recv(timeout=5)
        with pytest.raises(ConnectionClosed) as closed:
            answer_to(ask, pack_openpi({**ASK, "observation/image": np.zeros((200, 200, 3), np.uint8)}))
        assert closed.value.rcvd.code == 1009


def test_one_client_too_many_is_sent_away_and_may_come_back():
    with serving(hold, "openpi", connections=1) as server:
        with client(server) as first:
            first.recv(timeout=5)
            with client(server) as second, pytest.raises(ConnectionClosed) as closed:
                second.recv(timeout=5)
            assert closed.value.rcvd.code == 1013
        for _ in range(50):
            with client(server) as again:
                try:
                    again.recv(timeout=5)
                    return
                except ConnectionClosed:
                    time.sleep(0.02)
        pytest.fail("the seat of a client that has gone stays taken")


def test_a_silent_client_is_left():
    with serving(hold, "openpi", idle=0.3) as server, client(server) as ask:
        ask.recv(timeout=5)
        with pytest.raises(ConnectionClosed) as closed:
            ask.recv(timeout=5)
        assert closed.value.rcvd.code == 1001
        assert "No request for 0.3 s" in closed.value.rcvd.reason


def test_it_stops_by_itself_when_nobody_asks_and_at_once_when_told():
    with serving(hold, "openpi", idle=0.3) as server:
        assert server.wait(threading.Event()) is False
    with serving(hold, "openpi") as server:
        told = threading.Event()
        told.set()
        assert server.wait(told) is True


def test_no_web_page_may_ask():
    with serving(hold, "openpi") as server, pytest.raises(InvalidStatus) as refusal:
        client(server, origin="https://example.org").__enter__()
    assert refusal.value.response.status_code == 403


def test_a_key_is_required_where_one_is_set_under_either_of_its_schemes():
    with serving(hold, "openpi", key="s3cret") as server:
        for given in (None, {"Authorization": "Api-Key wrong"}):
            with pytest.raises(InvalidStatus) as refusal:
                client(server, additional_headers=given).__enter__()
            assert refusal.value.response.status_code == 401
        for scheme in ("Api-Key", "Bearer"):
            with client(server, additional_headers={"Authorization": f"{scheme} s3cret"}) as ask:
                assert ask.recv(timeout=5)


def test_a_further_name_is_this_server_and_no_other():
    with serving(hold, "openpi", hosts=("policy.example.org",)) as server:
        port = int(server.url.rpartition(":")[2])
        for name, status in (("policy.example.org", 200), ("evil.example", 403)):
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            asked.request("GET", "/health", headers={"Host": name})
            assert asked.getresponse().status == status
            asked.close()


def test_a_handshake_that_does_not_come_ends_the_connection():
    with serving(hold, "openpi", handshake=0.3) as server, socket.socket() as silent:
        silent.settimeout(5)
        silent.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        silent.sendall(b"GET / HTTP/1.1\r\n")
        assert silent.recv(100) == b""


@pytest.mark.parametrize(("path", "body"), [("/healthz", "OK\n"), ("/health", '{"status": "ok"}\n')])
def test_it_says_that_it_is_there(path, body):
    with serving(hold, "openpi") as server:
        asked = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=5)
        asked.request("GET", path)
        response = asked.getresponse()
        assert (response.status, response.read().decode()) == (200, body)
        asked.close()


@pytest.mark.parametrize("garbage", [b"", b"GET", b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_somebody_who_speaks_something_else_does_no_harm(garbage, capfd):
    with serving(hold, "openpi") as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as other:
            other.sendall(garbage)
        with client(server) as ask:
            ask.recv(timeout=5)
            assert "actions" in answer_to(ask, pack_openpi(ASK))
    assert capfd.readouterr() == ("", "")


def test_a_client_that_vanishes_in_the_middle_of_a_message_does_no_harm():
    with serving(hold, "openpi") as server:
        with client(server) as gone:
            gone.recv(timeout=5)
            gone.socket.sendall(b"\x82\xfe\x03\xe8abcd")
            gone.socket.shutdown(socket.SHUT_RDWR)
        with client(server) as ask:
            ask.recv(timeout=5)
            assert "actions" in answer_to(ask, pack_openpi(ASK))


def test_clients_have_episodes_of_their_own_at_the_same_time():
    def make():
        return load_policy("random", PolicyContext("", 0, get_format("vlm2vla")))

    def ask(server, seed, said):
        with client(server) as own:
            own.recv(timeout=5)
            for _ in range(5):
                said.append(answer_to(own, pack_openpi({**ASK, "vlm2vla/seed": seed}))[TEXT_KEY]["action"])

    with serving(make, "openpi") as server:
        heard = {seed: [] for seed in (1, 2, 3)}
        threads = [threading.Thread(target=ask, args=(server, seed, said)) for seed, said in heard.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        for seed, said in heard.items():
            alone: list[str] = []
            ask(server, seed, alone)
            assert said == alone
            assert len(said) == 5


def test_an_episode_begins_with_another_instruction_or_when_asked_for():
    resets = []

    class Counting:
        def reset(self, instruction, seed=0):
            resets.append(instruction)

        def act(self, observation):
            return None

    with serving(Counting, "openpi") as server, client(server) as ask:
        ask.recv(timeout=5)
        for more in ({}, {}, {"prompt": "stack it"}, {"prompt": "stack it", "reset": True}):
            assert answer_to(ask, pack_openpi({**ASK, **more}))[TEXT_KEY]["done"] is True
    assert resets == ["put carrot on plate", "stack it", "stack it"]


@pytest.mark.parametrize(
    "change",
    [{"message": 10}, {"connections": 0}, {"rows": -1}, {"idle": 0.0}, {"idle": float("nan")}, {"handshake": 0}],
)
def test_limits_that_make_no_sense_are_one_sentence(change):
    with pytest.raises(SettingError, match="The limits are"):
        Limits(**change)


def test_poses_are_not_served():
    with pytest.raises(SettingError, match="absolute poses"):
        Dispatcher(hold, Convention(about="poses", source="here", rotation="rotvec", absolute=True), Limits())


def test_json_of_the_health_check_is_json():
    from vlm2vla_sim.serving.handshakes import HEALTH

    assert json.loads(HEALTH["/health"]) == {"status": "ok"}
