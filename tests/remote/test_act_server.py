"""POST /act: AutoEval's template behaves so, and nothing of a request is dropped without a word."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from remote_lane import need_remote, serving

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy
from vlm2vla_sim.policies.remote.arrays import from_json, to_json
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.policies.remote.observations import read_proprio, write_proprio
from vlm2vla_sim.policies.remote.openvla import OpenvlaWire
from vlm2vla_sim.policies.remote.policy import RemotePolicy
from vlm2vla_sim.policies.remote.wire import Server
from vlm2vla_sim.serving.act import _Clients
from vlm2vla_sim.serving.server import Dispatcher, Limits, ServerProtocol
from vlm2vla_sim.types import ActionChunk, Decision

need_remote()

IMAGE = np.zeros((256, 256, 3), np.uint8)
ASK = {"image": IMAGE, "instruction": "put carrot on plate"}


class Counting:
    """A policy that moves by as many millimetres as it has decisions in this episode, and turns a little."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.states: list[Any] = []

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.instruction, self.count = instruction, 0

    def act(self, observation: dict[str, Any]) -> Decision:
        self.count += 1
        self.states.append(observation.get("agent_pos"))
        row = [0.001 * self.count, 0, 0, 0, 0, 0.1, 1]
        return Decision("", "", "", ActionChunk(np.array([row]), "", stepwise=True))


@contextlib.contextmanager
def acting(make: Any = Counting, convention: str = "autoeval", **limits: Any) -> Iterator[str]:
    with serving(make, "act", convention, **limits) as server:
        yield server.url


def post(url: str, query: Any, **options: Any) -> httpx2.Response:
    body = query if isinstance(query, bytes) else to_json(query)
    headers = {"Content-Type": "application/json"} | options.pop("headers", {})
    return httpx2.post(url, content=body, headers=headers, trust_env=False, timeout=10, **options)


def test_a_step_is_seven_numbers_in_json_numpy_and_autoevals_units():
    with acting() as url:
        answer = post(f"{url}/act", ASK)
        health = httpx2.get(f"{url}/health", trust_env=False)
    row = from_json(answer.content)
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, [0.001, 0, 0, 0, 0, 0.1, 1], atol=1e-7)
    assert (health.status_code, health.json()["status"]) == (200, "healthy")


def test_a_doubly_encoded_request_gets_a_doubly_encoded_answer():
    with acting() as url:
        answer = post(f"{url}/act", {"encoded": to_json(ASK).decode()})
    np.testing.assert_allclose(from_json(json.loads(answer.content))[0], 0.001)


def first(answer: httpx2.Response) -> float:
    return round(float(from_json(answer.content)[0]), 6)


def test_an_episode_goes_on_until_reset_or_another_instruction():
    with acting() as url:
        same = [first(post(f"{url}/act", ASK)) for _ in range(2)]
        assert post(f"{url}/reset", b"").json() == {"status": "reset successful"}
        after_reset = first(post(f"{url}/act", ASK))
        post(f"{url}/act", ASK)
        other = first(post(f"{url}/act", {**ASK, "instruction": "put spoon on towel"}))
    assert (same, after_reset, other) == ([0.001, 0.002], 0.001, 0.001)


def test_the_state_is_read_as_manipulator_gym_writes_it():
    policies: list[Counting] = []

    def make() -> Counting:
        policies.append(Counting())
        return policies[-1]

    # Pointing down is pitch pi/2 in the base's axes; 0.195 is half of an open gripper.
    state = np.array([0.25, 0.01, 0.19, 0, np.pi / 2, 0, 0, 0.195])
    with acting(make) as url:
        post(f"{url}/act", {**ASK, "proprio": state})
    (seen,) = policies[-1].states
    np.testing.assert_allclose(seen, [0.25, 0.01, 0.19, 0, 0, 0, 0.5], atol=1e-6)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.1, -0.2, 0.7), (-0.3, 0.4, -1.5)])
def test_the_state_survives_its_round_trip(turn):
    convention = find_convention("openvla", "autoeval")
    ours = np.array([0.3, -0.1, 0.1, *turn, 0.25], np.float32)
    np.testing.assert_allclose(read_proprio(write_proprio(ours, convention), convention), ours, atol=2e-4)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (b"{", "is not JSON"),
        ([1], "is a list; expected an object"),
        ({"instruction": "go"}, "no 'image', only: instruction"),
        ({"image": IMAGE}, "no 'instruction', only: image"),
        ({**ASK, "instruction": ""}, "The instruction is ''"),
        ({**ASK, "instruction": None}, "The instruction is 'None'"),
        ({**ASK, "image": IMAGE.astype(np.float32)}, "type float32; expected (H, W, 3) uint8"),
        ({**ASK, "image": [[1, 2], [3, 4]]}, "The image is list"),
        ({**ASK, "proprio": np.zeros(7)}, "shape (7,)"),
        ({**ASK, "proprio": np.full(8, np.nan)}, "expected 8 finite numbers"),
        ({**ASK, "unnorm_key": "fractal20220817_data"}, "unnorm_key is 'fractal20220817_data'"),
        ({**ASK, "temperature": 0.5, "wrist_image": IMAGE}, "does not know temperature, wrist_image"),
        ({"encoded": "{}", "image": IMAGE}, "holds nothing else"),
        ({"encoded": 7}, "holds nothing else"),
        ({**ASK, "seed": "7"}, "The seed is '7'; expected a whole number"),
        ({**ASK, "seed": -1}, "The seed is '-1'"),
        ({**ASK, "seed": True}, "The seed is 'True'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_a_sentence(query, said):
    with acting() as url:
        answer = post(f"{url}/act", query)
        assert (answer.status_code, first(post(f"{url}/act", ASK))) == (400, 0.001)
    assert said in answer.json()["detail"]


def test_openvlas_own_key_for_bridge_is_accepted():
    with acting() as url:
        assert post(f"{url}/act", {**ASK, "unnorm_key": "bridge_orig"}).status_code == 200


def test_a_bug_of_a_policy_is_status_500_and_the_server_goes_on(capsys):
    class Broken(Counting):
        def act(self, observation):
            raise ZeroDivisionError("no")

    with acting(Broken) as url:
        answer = post(f"{url}/act", ASK)
        assert httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    assert (answer.status_code, answer.json()) == (500, {"detail": "ZeroDivisionError: no"})
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_health_is_answered_while_a_policy_thinks():
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Counting):
        def act(self, observation):
            asked.set()
            assert go_on.wait(10)
            return super().act(observation)

    with acting(Slow) as url:
        thinking = threading.Thread(target=post, args=(f"{url}/act", ASK))
        thinking.start()
        assert asked.wait(5)
        assert httpx2.get(f"{url}/health", trust_env=False, timeout=5).status_code == 200
        go_on.set()
        thinking.join()


@pytest.mark.parametrize("name", ["openvla", "autoeval", "octo"])
def test_our_own_client_asks_it(name):
    convention = find_convention("openvla", name)
    seen = {"pixels": {"primary": np.zeros((480, 640, 3), np.uint8)}, "agent_pos": np.zeros(7, np.float32)}
    with acting(convention=name) as url:
        policy = RemotePolicy(OpenvlaWire(Server(url), convention), convention, None)
        rows = []
        for _ in range(2):
            policy.reset("put carrot on plate")
            rows += [policy.act(seen).chunk.deltas[0], policy.act(seen).chunk.deltas[0]]
    np.testing.assert_allclose([row[0] for row in rows], [0.001, 0.002, 0.001, 0.002], atol=1e-7)
    np.testing.assert_allclose(rows[0][3:], [0, 0, 0.1, 1], atol=1e-6)


def test_all_steps_of_a_decision_are_rows_where_they_are_asked_for():
    def make():
        return load_policy("random", PolicyContext("", 0, get_format("vlm2vla")))

    with acting(make, convention="vlm2vla", rows=0) as url:
        rows = from_json(post(f"{url}/act", ASK).content)
    assert rows.ndim == 2
    assert rows.shape[1] == 7


def test_the_name_of_a_tunnel_is_accepted_where_it_was_given():
    with acting(hosts=("robot.example",)) as url:
        assert post(f"{url}/act", ASK, headers={"Host": "robot.example"}).status_code == 200
        assert post(f"{url}/act", ASK, headers={"Host": "other.example"}).status_code == 403


def test_a_client_that_has_gone_makes_room_for_another():
    dispatcher = Dispatcher(Counting, find_convention("openvla", "autoeval"), Limits(connections=1, idle=0.2, rows=1))
    clients = _Clients(dispatcher)
    first = clients.find("10.0.0.1")
    assert clients.find("10.0.0.1") is first
    with pytest.raises(SettingError, match="1 clients have an episode"):
        clients.find("10.0.0.2")
    time.sleep(0.3)
    assert clients.find("10.0.0.2") is not first
    with pytest.raises(SettingError, match="1 clients have an episode"):
        clients.find("10.0.0.1")


def test_a_protocol_is_for_websockets_or_for_http():
    with pytest.raises(SettingError, match="either `handle`, for websockets, or `app`"):
        ServerProtocol()
