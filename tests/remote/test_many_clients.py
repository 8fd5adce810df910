"""Many episodes on one policy server: each has a client of its own there, and its own instruction."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import statistics
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from remote_lane import need_remote, serving

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, check_together, load_policy
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.models.http_client import HttpClient
from vlm2vla_sim.types import ActionChunk, Decision

need_remote()

WIRES = {"openpi": "openpi", "openvla": "act", "vla-eval": "vla-eval"}
"""Policy -> the wire of the server that it asks."""
TASKS = ("SpoonOnTowel", "CarrotOnPlate", "StackCube")


class Followed:
    """Moves by its instruction and the number of its decision in this episode; its class remembers who was asked."""

    live = most = 0
    heard: ClassVar[list[list[str]]] = []
    """For each episode, the instruction of each decision."""

    def __init__(self) -> None:
        type(self).live += 1
        type(self).most = max(self.most, self.live)

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.instruction = instruction
        self.episode: list[str] = []
        self.heard.append(self.episode)

    def act(self, observation: dict[str, Any]) -> Decision:
        self.episode.append(self.instruction)
        length = (zlib.crc32(self.instruction.encode()) % 9 + len(self.episode) % 5) / 1000
        return Decision("", "", "", ActionChunk(np.array([[length, 0, 0, 0, 0, 0, 1]]), "", stepwise=True))

    def close(self) -> None:
        type(self).live -= 1


class Together:
    """A policy whose first decision waits until all others have begun their episodes as well."""

    def __init__(self, policy: Any, barrier: threading.Barrier) -> None:
        self.policy, self.barrier = policy, barrier

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.policy.reset(instruction, seed)
        self.barrier.wait()

    def act(self, observation: dict[str, Any]) -> Decision | None:
        return self.policy.act(observation)


@contextlib.contextmanager
def followed(wire: str, **limits: Any) -> Iterator[str]:
    Followed.live = Followed.most = 0
    Followed.heard.clear()
    with serving(Followed, wire, **limits) as server:
        yield server.url


def wait_until_all_have_left() -> None:
    """A websocket server notices a moment later."""
    deadline = time.monotonic() + 10
    while Followed.live:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def play(task: str, policy: str, url: str, barrier: threading.Barrier) -> list[Any]:
    """The rows of all decisions of one episode."""
    options = {"server": url, "convention": "vlm2vla"}
    client = load_policy(policy, PolicyContext("", 0, get_format("vlm2vla"), options=options))
    env = gym.make(f"vlm2vla_sim:vlm2vla/WidowX{task}-v0", backend="point", image_size=(48, 64))
    try:
        result = run_episode(env, Together(client, barrier), episode_id=0, seed=0)
    finally:
        close_policy(client)
        env.close()
    assert result.steps == 60, result.reason
    return [decision["deltas"] for decision in result.decisions]


@pytest.mark.parametrize("policy", WIRES)
def test_episodes_at_the_same_time_are_those_of_one_after_the_other(policy):
    with followed(WIRES[policy]) as url:
        alone = [play(task, policy, url, threading.Barrier(1)) for task in TASKS]
        wait_until_all_have_left()
        Followed.most = 0
        barrier = threading.Barrier(len(TASKS), timeout=30)
        with concurrent.futures.ThreadPoolExecutor(len(TASKS)) as pool:
            together = list(pool.map(lambda task: play(task, policy, url, barrier), TASKS))
    assert together == alone
    assert len({str(rows[0]) for rows in alone}) > 1
    assert Followed.most == len(TASKS)
    episodes = [episode for episode in Followed.heard if episode]
    assert len(episodes) == 2 * len(TASKS)
    assert all(len(set(episode)) == 1 for episode in episodes)


def test_a_client_that_ends_makes_room_for_the_next():
    with followed("act", connections=1) as url:
        for task in TASKS[:2]:
            play(task, "openvla", url, threading.Barrier(1))
    assert Followed.live == 0


@contextlib.contextmanager
def other_server(status: int) -> Iterator[str]:
    """A server of POST /act that is not ours. status: of its answer to POST /reset."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"status": "reset successful"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_keeps_one_episode_is_asked_by_one_at_a_time(tmp_path):
    """AutoEval's template and Octo's server have POST /reset; OpenVLA's has not and keeps nothing."""
    options: dict[str, Any] = {"convention": "autoeval"}
    with followed("act", convention="autoeval") as url:
        check_together("openvla", options | {"server": url})
    assert Followed.live == 0
    with other_server(404) as url:
        check_together("openvla", options | {"server": url})
    with other_server(200) as url:
        settings = RunSettings(policy="openvla", policy_options=options | {"server": url}, tasks=("stack_cube",))
        with pytest.raises(SettingError, match=r"does not tell clients apart.*\(--concurrency 1\)"):
            run_suite(dataclasses.replace(settings, backend="point", episodes=2), out=tmp_path / "run", workers=2)
    assert not (tmp_path / "run").exists()


def test_a_kept_connection_answers_at_once():
    """Not after the 40 ms for which one side waits for the other with Nagle's algorithm; quiet, it is 1 ms."""
    with followed("act") as url:
        client = HttpClient(url, timeout=5, max_bytes=1000)
        took = []
        for _ in range(15):
            started = time.perf_counter()
            client.get("health")
            took.append(time.perf_counter() - started)
    assert statistics.median(took) < 0.03
