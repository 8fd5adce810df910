"""Inspect Robots runs our tasks: conformant, with SIMPLER's success, and with our policies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("inspect_robots", reason="needs the package inspect-robots: make test-lerobot")

from inspect_robots import eval as evaluate
from inspect_robots.conformance import assert_embodiment_conformant
from inspect_robots.scene import Scene
from inspect_robots.types import Action, ActionChunk

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "inspect_robots_vlm2vla"))
import inspect_robots_vlm2vla as plugin

SIZE = {"height": 48, "width": 64}


def sent_by_the_scripted_policy(task: str) -> list[np.ndarray]:
    """The control steps of an episode that succeeds."""
    sent: list[np.ndarray] = []

    class Recorded(WidowXEnv):
        def step(self, action: np.ndarray) -> Any:
            sent.append(np.array(action))
            return super().step(action)

    assert run_episode(Recorded(task, image_size=None), "scripted", episode_id=0).success_at_end
    return sent


class Replay(plugin.LanguagePolicy):
    """Says control steps again."""

    def __init__(self, steps: list[np.ndarray]) -> None:
        super().__init__("hold")
        self._said = steps

    def act(self, observation: Any) -> ActionChunk:
        return ActionChunk([Action(step) for step in self._said])


def test_the_embodiment_declares_what_inspect_robots_requires():
    assert_embodiment_conformant(plugin.WidowXEmbodiment(**SIZE).info)


def test_an_episode_that_succeeds_here_succeeds_there_and_one_that_does_not_fails(tmp_path):
    body = plugin.WidowXEmbodiment(**SIZE)
    task = plugin.simpler_task("stack_cube", 1)
    rates = []
    for policy in (Replay(sent_by_the_scripted_policy("stack_cube")), plugin.LanguagePolicy("hold")):
        (log,) = evaluate(task, policy, body, log_dir=str(tmp_path))
        assert log.status == "success"
        rates.append(log.results.metrics["success_at_end"])
    body.close()
    assert rates == [1.0, 0.0]


def test_what_it_cannot_run_is_refused():
    with pytest.raises(SettingError, match="names no task and episode_id"):
        plugin.WidowXEmbodiment(**SIZE).reset(Scene("mine", "put carrot on plate"))
    with pytest.raises(SettingError, match="reads the simulator's truth"):
        plugin.LanguagePolicy("scripted")
    with pytest.raises(SettingError, match="has 24"):
        plugin.simpler_task("stack_cube", 25)
