"""Servers that answer in other people's conventions: the scripted policy behind them solves the episode."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remote_lane import need_remote

from vlm2vla_sim.errors import ServerError
from vlm2vla_sim.policies.remote.conventions import CONVENTIONS
from vlm2vla_sim.types import Outcome

need_remote()
pytest.importorskip("zmq", reason="GR00T's protocol needs pyzmq: pip install 'vlm2vla_sim[groot]'")


def _load() -> Any:
    script = Path(__file__).parents[2] / "benchmarks" / "conventions.py"
    spec = importlib.util.spec_from_file_location("convention_benchmark", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARK = _load()


def test_every_published_convention_has_such_a_server():
    known = {(wire, name) for wire, table in CONVENTIONS.items() for name in table if wire != "lerobot"}
    assert set(BENCHMARK.MODELS) == {one for one in known if one[1] != "vlm2vla"}


@pytest.mark.parametrize(("wire", "name"), BENCHMARK.MODELS)
def test_an_episode_is_solved_in_every_convention(wire, name):
    with BENCHMARK.serving(wire, name) as (url, place):
        made = BENCHMARK.play(wire, name, url, place, episode=3, backend="point")
        asked = place.rows.asked
    assert made.outcome is Outcome.SUCCESS
    assert made.clipped_steps == 0
    rows = CONVENTIONS[wire][name].execute
    if rows == 1 and CONVENTIONS[wire][name].ensemble:
        assert len(asked) == made.steps, "a request for every control step"
    if name == "lap":
        assert made.steps == made.max_steps == 180
        words = [decision["action"] for decision in made.decisions]
        assert all(str(one).startswith(("move", "rotate", "open", "close", "hold")) for one in words), "its own words"
        assert {len(decision["deltas"]) for decision in made.decisions[:-1]} == {5}


@pytest.mark.parametrize(("wire", "name"), [("openpi", "lap"), ("openvla", "xvla"), ("groot", "groot")])
def test_an_episode_is_solved_with_the_twins_physics_too(wire, name):
    with BENCHMARK.serving(wire, name) as (url, place):
        made = BENCHMARK.play(wire, name, url, place, episode=3, backend="mujoco")
    assert made.outcome is Outcome.SUCCESS


# What the servers are asked, as their own code reads it.


def first_request(wire: str, name: str, **options: Any) -> Any:
    with BENCHMARK.serving(wire, name) as (url, place):
        BENCHMARK.play(wire, name, url, place, episode=0, backend="point", **options)
        return place.rows.asked


def test_lap_gets_a_nested_observation_with_a_frankas_axes():
    query = first_request("openpi", "lap")[0]
    assert set(query) == {"observation", "prompt", "frame_description"}
    assert set(query["observation"]) == {"base_0_rgb", "state"}
    assert query["observation"]["base_0_rgb"].shape == (224, 224, 3)
    assert query["frame_description"] == "end-effector frame"
    state = query["observation"]["state"]
    # The gripper starts pointing down, up to the home pose's few degrees: x forward, y to the right, open.
    np.testing.assert_allclose(state[3:9], [1, 0, 0, 0, -1, 0], atol=0.2)
    assert state[9] == 1


def test_x_vla_is_told_its_own_last_row_and_reads_arrays_from_texts():
    asked = first_request("openvla", "xvla")
    assert set(asked[0]) == {"proprio", "language_instruction", "image0", "domain_id", "steps"}
    np.testing.assert_array_equal(asked[0]["proprio"][3:], [1, 0, 0, 1, 0, 0, 0, *[0] * 10])
    second = asked[1]["proprio"]
    assert np.abs(second[:3] - asked[0]["proprio"][:3]).max() > 0.01, "where it told the arm to be, not where it is"
    np.testing.assert_array_equal(second[10:], 0)


def test_starvla_gets_a_list_of_examples_and_groot_a_batch_of_one():
    query = first_request("openpi", "starvla")[0]
    assert query["examples"][0]["lang"] == "put carrot on plate"
    assert query["examples"][0]["image"][0].shape == (224, 224, 3)
    assert (query["unnorm_key"], query["use_ddim"]) == ("oxe_bridge", True)
    observation = first_request("groot", "groot", history=3, history_interval=2)[-1]
    assert observation["video.image_0"].shape == (1, 3, 256, 256, 3)
    assert observation["state.pad"].tolist() == [[[0.0]]]
    assert observation["state.gripper"].dtype == np.float32
    assert observation["annotation.human.action.task_description"] == ["put carrot on plate"]


def test_vla_evals_x_vla_is_told_the_task_by_simplers_name():
    observation = first_request("vla-eval", "xvla")[0]
    assert observation["task_name"] == "widowx_carrot_on_plate"
    assert observation["states"].shape == (20,)


# What is refused.


class Normalised:
    """A model whose actions nobody has un-normalised: -1 .. 1."""

    asked: list[Any]

    def __init__(self) -> None:
        self.asked, self._random = [], np.random.default_rng(0)

    def answer(self) -> np.ndarray:
        return self._random.uniform(-1, 1, (4, 7)).astype(np.float32)


@pytest.mark.parametrize(("wire", "name"), [("openpi", "pi0-bridge"), ("openvla", "openvla"), ("groot", "groot")])
def test_normalised_actions_end_the_run_with_that_sentence(wire, name, monkeypatch):
    monkeypatch.setattr(BENCHMARK, "ScriptedRows", lambda env, convention: Normalised())
    with BENCHMARK.serving(wire, name) as (url, place), pytest.raises(ServerError) as refused:
        BENCHMARK.play(wire, name, url, place, episode=0, backend="point")
    assert "most likely normalised" in str(refused.value)
    assert "Un-normalise them on the server" in str(refused.value)
