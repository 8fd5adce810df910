"""An episode of a suite on a real robot, with an operator who arranges the scene and labels the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym

from vlm2vla_sim.errors import EpisodeAbortedError
from vlm2vla_sim.evaluation.operator.episode_log import apply_label
from vlm2vla_sim.evaluation.operator.prompts import Operator
from vlm2vla_sim.evaluation.operator.session import MAX_FAULTS
from vlm2vla_sim.evaluation.setup import widowx
from vlm2vla_sim.types import EpisodeResult, Outcome


def run_attended(
    run: Callable[[], EpisodeResult], env: Callable[[], gym.Env[Any, Any]], operator: Operator, number: int
) -> EpisodeResult:
    """An episode of a suite on a real robot: the operator arranges the scene, `run` runs, the operator labels.

    env: the current environment, which a fault replaces. After `MAX_FAULTS` attempts with a fault the result is an
    error. A stop by the operator, between two control steps too, ends the whole run (KeyboardInterrupt, as Ctrl-C).
    """
    faults = 0
    while True:
        try:
            operator.wait_for_scene(number, f"Episode {number}: {widowx(env()).task_description!r}. Arrange the scene.")
        except EpisodeAbortedError as stop:
            raise KeyboardInterrupt(str(stop)) from stop
        result = run()
        if result.outcome is Outcome.ERROR and result.policy_crash:
            return result
        if result.outcome is Outcome.ERROR:
            faults += 1
            if faults < MAX_FAULTS:
                continue
            return dataclasses.replace(result, reason=f"{result.reason} ({faults} attempts)")
        if result.outcome is Outcome.ABORTED:
            raise KeyboardInterrupt(result.reason)
        known = result.outcome is Outcome.SUCCESS if widowx(env()).status.scene is not None else None
        label = operator.judge(number, known)
        if label.word == "abort":
            raise KeyboardInterrupt("The operator stopped the run.")
        if label.word != "redo":
            return apply_label(result, label, known=known is not None)
