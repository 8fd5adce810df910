"""The wires are those of the packages as they are published: their clients ask us, their servers answer us."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from remote_lane import PEERS, need_peers, need_remote, serving

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy
from vlm2vla_sim.policies.remote.conventions import find_convention
from vlm2vla_sim.policies.remote.images import resize
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.serving.action_stream import ActionStream
from vlm2vla_sim.types import Outcome

need_remote()
PYTHON = need_peers()


def random_policy():
    return load_policy("random", PolicyContext("", 0, get_format("vlm2vla")))


def peer(*words: str) -> list:
    """What a part of `peers.py` prints, to its end."""
    done = subprocess.run([PYTHON, str(PEERS), *words], capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_clients_of_autoeval_and_openvla_get_an_array_of_seven_numbers():
    with serving(random_policy, "act", "autoeval") as server:
        reset, *answers = peer("act_client", server.url, "3")
    assert reset == {"status": "reset successful"}
    del answers[3]
    assert {(one["type"], tuple(one["shape"])) for one in answers} == {("ndarray", (7,))}
    episodes = [one["action"] for one in answers]
    assert episodes[:3] == episodes[3:]  # the same seed: /reset began the episode again
    assert np.abs(episodes).max() > 0


@contextlib.contextmanager
def peer_server(*words: str) -> Iterator[tuple[str, list]]:
    """A server of theirs: its address, and a list that holds what it was asked once it has ended."""
    command = [PYTHON, str(PEERS), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        heard: list = []
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline()), heard
            said, _ = server.communicate(timeout=20)
            heard += [json.loads(line) for line in said.splitlines()]
        finally:
            server.kill()


def sent_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (480, 640, 3), np.uint8)


def in_process(count: int, *, rows: int) -> list[np.ndarray]:
    """The same answers without a wire."""
    session = ActionStream(random_policy(), rows=rows)
    session.reset("put carrot on plate", 5)
    return [session.next({"pixels": {"primary": sent_image(0)}}).steps for _ in range(count)]


def test_openpi_client_gets_the_actions_of_the_policy_and_errors_as_it_expects_them():
    with serving(random_policy, "openpi", rows=4) as server:
        metadata, *answers, error = peer("openpi_client", server.url, "5")
    assert "convention" in metadata
    # Its state says gripper closed, and so does ours.
    session = ActionStream(random_policy(), rows=4)
    session.reset("put carrot on plate", 5)
    closed = {"agent_pos": np.zeros(7, np.float32)}
    for answer in answers:
        np.testing.assert_array_equal(np.array(answer["actions"], np.float32), session.next(closed).steps)
        assert answer["dtype"] == "<f4"
    assert "no 'observation/image', only: prompt" in error


def test_openpi_clients_chunk_broker_walks_through_our_chunks():
    with serving(random_policy, "openpi", rows=3) as server:
        rows = peer("openpi_broker", server.url, "3")
    np.testing.assert_array_equal(np.array(rows, np.float32), np.concatenate(in_process(2, rows=3)))


@pytest.mark.parametrize("size", [(480, 640), (300, 200)])
def test_pictures_are_padded_as_openpi_client_pads_them(size):
    (theirs,) = peer("openpi_pad", *map(str, size))
    ours = resize(sent_image(1)[: size[0], : size[1]], find_convention("openpi", "widowx"))
    np.testing.assert_array_equal(ours, np.array(theirs, np.uint8))


def play(policy: str, url: str, convention: str, **options):
    env = WidowXEnv("carrot_on_plate", backend="point", image_size=(480, 640))
    options = {"server": url, "convention": convention, **options}
    result = run_episode(env, policy, spec=PolicySpec(policy, options=options))
    assert result.outcome is Outcome.FAILURE
    assert result.steps == 60
    return result


def expect(result, row) -> None:
    for decision in result.decisions:
        for delta in decision["deltas"]:
            np.testing.assert_allclose(delta, row, atol=1e-5)


def test_an_episode_with_openpis_own_codec_on_the_other_side():
    with peer_server("openpi_server") as (url, heard):
        result = play("openpi", url, "pi0-bridge")
    expect(result, [0.01, 0, -0.02, 0, 0, 0.1, 0])
    assert len(heard) == 15, "four rows of each answer"
    instruction, shape, dtype, total, state = heard[0]
    assert (instruction, shape, dtype) == ("put carrot on plate", [224, 224, 3], "|u1")
    assert total > 0
    assert len(state) == 8
    assert state[6] == 0
    assert state[7] == 1, "it starts open"


def test_vla_evals_own_runner_plays_episodes_against_us():
    with serving(random_policy, "vla-eval") as server:
        warnings, *rest, error = peer("harness", server.url, "20")
    assert warnings == [], "what we declare is what its specification calls it"
    actions = [line["action"] for line in rest if "action" in line]
    results = [line for line in rest if "metrics" in line]
    expected = np.concatenate(in_process(20, rows=1))
    assert len(actions) == 40
    for episode in (actions[:20], actions[20:]):
        np.testing.assert_array_equal(np.array(episode, np.float32), expected)
    assert [result["steps"] for result in results] == [20, 20]
    assert "has no images" in error


@pytest.mark.parametrize(("chunk", "asked"), [("1", 60), ("3", 60), ("buffered", 20)])
def test_an_episode_with_a_model_server_of_vla_evals(chunk, asked):
    with peer_server("vla_eval_server", chunk) as (url, heard):
        result = play("vla-eval", url, "openvla")
    expect(result, [0.01, 0, -0.02, 0, 0, 0.1, 0])
    start, *questions = heard
    assert start == {"start": "put carrot on plate"}
    assert len(questions) == asked
    instruction, shape, dtype, total, step = questions[0]
    assert (instruction, shape, dtype, step) == ("put carrot on plate", [480, 640, 3], "|u1", 0)
    assert total > 0


def test_an_episode_with_json_numpy_on_the_other_side():
    with peer_server("act_server") as (url, heard):
        result = play("openvla", url, "openvla")
    expect(result, [0.01, 0, -0.02, 0, 0, 0.1, 1])
    assert len(heard) == 60
    assert heard[0][:4] == ["put carrot on plate", "bridge_orig", [224, 224, 3], "|u1"]
